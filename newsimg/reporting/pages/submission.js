/* The preview of a submission: pictures by run, and their crops. */
import { make, find, count, fold, initTheme, readHash, writeHash, isTyping } from "./dom.js";
import { openViewer } from "./viewer.js";
import { MODES, findBox, moveBox, scaleBox, isCrop, placePicture } from "./crops.js";

const page = JSON.parse(find("data").textContent);
const STORED = `newsimg-crops-${page.key}`;
const LONGEST = 4000;  // characters of crops in the URL
const STEP = 0.02;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const entries = page.runs.flatMap(run => run.entries.map(([id, ref, rank, replaced, shownBy, crop]) => ({
  run, id, rank, replaced, shownBy, shot: page.shots[ref], written: crop ?? page.crop,
  title: page.titles[id] ?? "", key: JSON.stringify([run.approach, id, page.shots[ref].id]),
})));
const byKey = Map.groupBy?.(entries, entry => entry.key) ?? groupByKey();
const changes = new Map();  // key -> crop that differs from the zip's
const defaults = { run: "", show: "all", q: "" };
const state = { ...defaults };

function groupByKey() {
  const groups = new Map();
  for (const entry of entries) groups.set(entry.key, [...(groups.get(entry.key) ?? []), entry]);
  return groups;
}

const cropOf = entry => changes.get(entry.key) ?? entry.written;
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const toRow = (key, crop) => { const [run, article_id, image_id] = JSON.parse(key); return { run, article_id, image_id, crop }; };

/* Crops that differ from the default, of shown pictures and of those that the page leaves out. */
function listCrops() {
  const rows = [...byKey].map(([key, [entry]]) => toRow(key, cropOf(entry))).filter(row => !isSame(row.crop, page.crop));
  return { version: page.version, crops: [...rows, ...page.others] };
}

function keepChanges() {
  const text = changes.size ? JSON.stringify([...changes]) : null;
  try { text ? localStorage.setItem(STORED, text) : localStorage.removeItem(STORED); } catch { /* no storage in a sandboxed frame */ }
  writeHash({ ...state, crops: text && text.length <= LONGEST ? text : null }, defaults);
}

/* The URL's crops take precedence over those kept by the browser. */
function readChanges() {
  let text = readHash().crops;
  try { text ??= localStorage.getItem(STORED); } catch { /* likewise */ }
  try {
    for (const [key, crop] of JSON.parse(text ?? "[]")) {
      const entry = byKey.get(key)?.[0];
      if (entry && isCrop(entry.shot, crop) && !isSame(crop, entry.written)) changes.set(key, crop);
    }
  } catch { /* not written by this page */ }
}

/* Change the crop of a picture wherever the run shows it. */
function setCrop(entry, crop) {
  if (isSame(crop, entry.written)) changes.delete(entry.key);
  else changes.set(entry.key, crop);
  byKey.get(entry.key).forEach(drawCrop);
}

function finish() {
  keepChanges();
  drawChanged();
}

function drawChanged() {
  const listed = listCrops().crops.length;
  find("changed").textContent = `${count(changes.size)} ${changes.size === 1 ? "crop" : "crops"} changed on this page`;
  find("kept").textContent = `The file will have ${count(listed)} ${listed === 1 ? "crop" : "crops"} other than ${page.crop}.`
    + (changes.size ? " The zip changes when the command is run; until then, this browser keeps the changes." : "");
  find("saving").hidden = !listed && !changes.size;
  find("filters").lastChild.querySelector("b").textContent = count(entries.filter(entry => changes.has(entry.key)).length);
}

/* Cards: a card is drawn when it comes near the window. */

function drawCard(entry) {
  entry.card = make("article", { class: "shot" });
  entry.card.entry = entry;
  near.observe(entry.card);
  return entry.card;
}

function fillCard(entry) {
  if (entry.frame) return;
  const { shot, card } = entry;
  entry.image = make("img", { src: shot.thumb, alt: "", draggable: "false" });
  entry.frame = make("div", {
    class: `frame ${shot.width * 260 > shot.height * 460 ? "wide" : "tall"}`, tabindex: "0", role: "slider", "aria-label": `Crop of ${shot.id} for: ${entry.title || entry.id}`,
    "aria-valuemin": "0", "aria-valuemax": "100", keydown: event => onKey(event, entry), pointerdown: event => onDrag(event, entry),
  }, entry.image);
  entry.select = make("select", { class: "field", "aria-label": `Crop of ${shot.id}`, change: event => {
    setCrop(entry, event.target.value === "hand" ? findBox(shot, cropOf(entry)) ?? findBox(shot, "center") : event.target.value);
    finish();
  } }, ...MODES.map(mode => make("option", { value: mode }, mode)), make("option", { value: "hand" }, "by hand"));
  entry.whole = make("button", { type: "button", class: "tool", "aria-label": `Whole picture ${shot.id}`, click: () => openWhole(entry) }, "whole");
  entry.mark = make("span", { class: "mark" });
  card.append(...[
    entry.frame,
    make("h3", {}, entry.title || `Article ${entry.id}`),
    make("p", {}, `${entry.id} · ${shot.id} · rank ${entry.rank}`),
    entry.shownBy && make("p", { class: "replaced" }, `Next best: run ${entry.shownBy} shows ${entry.replaced}`),
    make("div", { class: "crop" }, entry.select, entry.whole, entry.mark),
  ].filter(Boolean));
  drawCrop(entry);
}

function drawCrop(entry) {
  if (!entry.frame) return;
  const crop = cropOf(entry);
  placePicture(entry.image, entry.shot, crop);
  const byHand = Array.isArray(crop), isChanged = changes.has(entry.key);
  entry.select.value = byHand ? "hand" : crop;
  entry.mark.textContent = isChanged ? "changed" : "";
  entry.card.classList.toggle("changed", isChanged);
  const [left, top, right, bottom] = findBox(entry.shot, crop) ?? [0, 0, 1, 1];
  const at = (low, high) => Math.round(high - low < 1 ? 100 * low / (1 - high + low) : 50);
  entry.frame.setAttribute("aria-valuenow", right - left < 1 ? at(left, right) : at(top, bottom));
  entry.frame.setAttribute("aria-valuetext", byHand ? `by hand, ${at(left, right)} % from the left, ${at(top, bottom)} % from the top` : crop);
}

/* Open the whole picture, uncropped; the arrow keys step through the shown ones. */
function openWhole(entry) {
  const shown = entries.filter(isShown);
  openViewer(shown.map(({ shot, title, id, rank }) => ({ picture: shot, label: `Rank ${rank}`, detail: () => make("p", { dir: "auto" }, title || `Article ${id}`) })), shown.indexOf(entry), { base: page.base });
}

function onKey(event, entry) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") { event.preventDefault(); openWhole(entry); return; }
  const box = findBox(entry.shot, cropOf(entry)) ?? findBox(entry.shot, "center");
  let crop;
  if (ARROWS[event.key]) crop = moveBox(box, ...ARROWS[event.key].map(part => part * STEP * (event.shiftKey ? 5 : 1)));
  else if (event.key === "+" || event.key === "=") crop = scaleBox(entry.shot, box, 1 / 1.1);
  else if (event.key === "-") crop = scaleBox(entry.shot, box, 1.1);
  else if (event.key === "0") crop = entry.written;
  else return;
  event.preventDefault();
  setCrop(entry, crop);
  finish();
}

function onDrag(event, entry) {
  if (event.button) return;
  const { frame, shot } = entry, before = changes.get(entry.key);
  const box = findBox(shot, cropOf(entry)) ?? findBox(shot, "center");
  const area = frame.getBoundingClientRect();
  const controller = new AbortController(), { signal } = controller;
  let moved = false;
  frame.setPointerCapture(event.pointerId);
  frame.addEventListener("pointermove", move => {
    const [right, down] = [(event.clientX - move.clientX) / area.width, (event.clientY - move.clientY) / area.height];
    moved ||= Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) > 3;  // else a click, not a drag
    if (moved) setCrop(entry, moveBox(box, right, down));
  }, { signal });
  const end = () => { controller.abort(); if (moved) finish(); };
  frame.addEventListener("pointerup", () => { end(); if (!moved) openWhole(entry); }, { signal });
  frame.addEventListener("pointercancel", () => {  // the browser scrolls instead
    if (moved && before === undefined) changes.delete(entry.key);
    else if (moved) changes.set(entry.key, before);
    byKey.get(entry.key).forEach(drawCrop);
    end();
  }, { signal });
}

/* Filters. */

const filters = {
  all: ["all", () => true],
  replaced: ["next best", entry => entry.shownBy],
  changed: ["changed", entry => changes.has(entry.key)],
};

const isShown = entry => (!state.run || entry.run.name === state.run) && filters[state.show][1](entry)
  && (!state.q || fold(`${entry.title} ${entry.id} ${entry.shot.id}`).includes(fold(state.q)));

function show() {
  let shown = 0;
  for (const run of page.runs) {
    let inRun = 0;
    for (const entry of run.drawn) {
      entry.card.hidden = !isShown(entry);
      inRun += !entry.card.hidden;
    }
    run.section.hidden = !inRun;
    shown += inRun;
  }
  for (const button of find("filters").children) button.setAttribute("aria-pressed", button.dataset.show === state.show);
  find("count").textContent = shown === entries.length ? `${count(shown)} pictures` : `${count(shown)} of ${count(entries.length)} pictures`;
  find("empty").hidden = shown > 0;
  keepChanges();
}

function setFilter(values) {
  Object.assign(state, values);
  find("run").value = state.run;
  find("search").value = state.q;
  show();
}

function cropAll(crop) {
  for (const entry of entries.filter(isShown)) setCrop(entry, crop ?? entry.written);
  finish();
  show();
}

function save() {
  const text = `${JSON.stringify(listCrops(), null, 1)}\n`;
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "crops.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const near = new IntersectionObserver(seen => {
  for (const { target, isIntersecting } of seen) if (isIntersecting) { fillCard(target.entry); near.unobserve(target); }
}, { rootMargin: "600px" });

function start() {
  document.title = `newsimg submission: ${page.group}`;
  find("facts").append(...page.facts.map(fact => make("span", {}, fact)));
  for (const [id, text] of [["warning", page.warning], ["cut", page.cut]]) { find(id).textContent = text ?? ""; find(id).hidden = !text; }
  find("command").textContent = page.command;
  find("run").append(make("option", { value: "" }, "all runs"), ...page.runs.map(run => make("option", { value: run.name }, run.name)));
  find("filters").append(...Object.entries(filters).map(([name, [label, test]]) => make("button", {
    type: "button", "data-show": name, click: () => setFilter({ show: name }) }, `${label} `, make("b", {}, count(entries.filter(test).length)))));
  find("all").append(...[...MODES, null].map(mode => make("button", { type: "button", click: () => cropAll(mode) }, mode ?? "as written")));
  for (const run of page.runs) {
    run.drawn = entries.filter(entry => entry.run === run);
    run.section = make("section", { class: "run", "aria-label": run.name },
      make("h2", {}, run.name, make("small", {}, `${count(run.n_entries)} pictures, ${count(run.n_replaced)} next best`)),
      make("div", { class: "shots" }, ...run.drawn.map(drawCard)));
    find("runs").append(run.section);
  }
  find("run").addEventListener("change", event => setFilter({ run: event.target.value }));
  find("search").addEventListener("input", event => setFilter({ q: event.target.value }));
  find("reset").addEventListener("click", () => setFilter(defaults));
  find("save").addEventListener("click", save);
  find("copy").addEventListener("click", async () => {
    getSelection().selectAllChildren(find("command"));
    try { await navigator.clipboard.writeText(page.command); } catch { document.execCommand("copy"); }
  });
  addEventListener("keydown", event => {
    if (event.key === "/" && !isTyping(event)) { event.preventDefault(); find("search").focus(); }
  });
  addEventListener("beforeprint", () => entries.forEach(fillCard));
  initTheme(find("theme"));
  const { run = "", show: shown = "all", q = "" } = readHash();
  readChanges();
  drawChanged();
  setFilter({ run: page.runs.some(one => one.name === run) ? run : "", show: Object.hasOwn(filters, shown) ? shown : "all", q });
}

start();
