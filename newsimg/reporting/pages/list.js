/* A long list of cards: drawn as they come into view, with keys to step through them. */

import { find, initTheme, isTyping, make } from "./dom.js";

const CHUNK = 12;  // cards that the browser skips together while they are out of view
const FILLING = 5;  // milliseconds of a frame for drawing cards
const SLOWING = 0.8;  // of the assumed speed, per frame without movement

/* A list in the element `cards`, below the sticky `bar`. Articles are those of `drawCard` with `lazy`.

   Returns {show(articles), fill(article), fillAll(), step(by), stepPicture(by), reveal()}. */
export function makeList(cards, bar) {
  let shown = [], queue = new Set(), lastY = 0, speed = 0;
  /* Cards are drawn when they come near; only those of near chunks are observed. */
  const near = new IntersectionObserver(entries => {
    const come = entries.filter(one => one.isIntersecting).map(one => one.target), gone = entries.filter(one => !one.isIntersecting).map(one => one.target);
    const isIdle = !queue.size;
    queue = new Set([...come, ...queue]);  // the latest first: earlier ones may be passed by
    gone.forEach(article => queue.delete(article));
    if (isIdle && queue.size) requestAnimationFrame(fillSome);
  }, { rootMargin: "1000px 0px" });
  function fillSome() {
    const end = performance.now() + FILLING;
    // Of the last frames, as the page does not move in every frame while a wheel is turned.
    speed = Math.max(Math.min(Math.abs(scrollY - lastY), 2 * innerHeight), speed * SLOWING);
    lastY = scrollY;
    // What passes by so fast cannot be seen.
    const isFast = speed > innerHeight / 2;
    for (const article of isFast ? [] : queue) {
      fill(article);
      if (performance.now() > end) break;
    }
    if (queue.size) requestAnimationFrame(fillSome);
  }
  const far = new IntersectionObserver(entries => entries.filter(one => one.isIntersecting).forEach(({ target }) => {
    far.unobserve(target);
    for (const article of target.children) near.observe(article);
  }), { rootMargin: "2000px 0px" });
  function fill(article) {
    near.unobserve(article);
    queue.delete(article);
    article.fill();
  }
  function show(articles) {
    shown = articles;
    const chunks = [];
    for (let i = 0; i < articles.length; i += CHUNK) chunks.push(make("div", { class: "chunk" }, articles.slice(i, i + CHUNK)));
    cards.replaceChildren(...chunks);
    chunks.forEach(chunk => far.observe(chunk));
  }

  /* Bring the first card into view, unless it is. */
  function reveal() {
    const first = shown[0], top = first?.getBoundingClientRect().top;
    if (first && (top < bar.getBoundingClientRect().bottom || top > innerHeight * 0.6)) first.scrollIntoView({ block: "start" });
  }
  /* The first card that is not above the sticky bar. */
  function findTop() {
    const isBelow = element => element.getBoundingClientRect().bottom > bar.getBoundingClientRect().bottom;
    const chunk = [...cards.children].find(isBelow);
    const first = chunk && [...chunk.children].find(isBelow);
    return first ? shown.indexOf(first) : shown.length;
  }
  function step(by) {
    const active = document.activeElement.closest(".card"), isAbove = cards.getBoundingClientRect().top > 0;
    const from = active ? shown.indexOf(active) : isAbove && by > 0 ? -1 : findTop();
    const next = shown[from + by];
    if (!next) return;
    fill(next);
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "start" });
  }
  /* Move the focus from picture to picture of the focused card; false without one. */
  function stepPicture(by) {
    const card = document.activeElement.closest(".card");
    if (!card) return false;
    const buttons = [...card.querySelectorAll(".strip button")], at = buttons.indexOf(document.activeElement);
    (at < 0 ? buttons[0] : buttons[at + by])?.focus();
    return true;
  }
  new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0}px`)).observe(bar);
  return { show, fill, fillAll: () => shown.forEach(fill), step, stepPicture, reveal };
}

/* The article of a headline: made once by `draw`; only its title changes, by what is searched for. */
export function keepArticle(headline, sought, draw, drawTitle) {
  if (!headline.article) headline.article = draw(headline, sought);
  else if (headline.sought !== sought) headline.article.querySelector("h2").replaceWith(drawTitle(headline.title, sought));
  headline.sought = sought;
  return headline.article;
}

/* Listen to the controls and keys of a page with a list.

   page: {state, filters: [{key}], sorts: their keys, change(values), refresh(): called when the hash has changed, keys: {key: function} of the page alone}. */
export function listenControls(list, { state, filters, sorts, change, refresh, keys = {} }) {
  find("search").addEventListener("input", event => change({ q: event.target.value }));
  find("sort").addEventListener("change", event => change({ sort: event.target.value }));
  find("reset").addEventListener("click", () => change({ filter: "all", q: "" }));
  find("help").addEventListener("click", () => find("keys").showModal());
  addEventListener("hashchange", refresh);
  addEventListener("beforeprint", list.fillAll);
  initTheme(find("theme"));
  addEventListener("keydown", event => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) { find("search").blur(); change({ q: "" }); return; }
    if (isTyping(event)) return;
    if (event.key === "/") find("search").focus();
    else if (event.key === "j") list.step(1);
    else if (event.key === "k") list.step(-1);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") { if (!list.stepPicture(event.key === "ArrowRight" ? 1 : -1)) return; }
    else if (filters[event.key - 1]) change({ filter: filters[event.key - 1].key });
    else if (event.key === "s") change({ sort: sorts[(sorts.indexOf(state.sort) + 1) % sorts.length] });
    else if (event.key === "d") find("theme").click();
    else if (event.key === "?") find("keys").showModal();
    else if (Object.hasOwn(keys, event.key)) keys[event.key]();
    else return;
    event.preventDefault();
  });
}
