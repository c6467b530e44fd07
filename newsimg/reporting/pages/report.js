/* The report: a card for each headline, drawn as it comes into view. */

import { drawCard, drawTitle, drawWhy } from "./card.js";
import { count, find, fold, make, readHash, writeHash } from "./dom.js";
import { keepArticle, listenControls, makeList } from "./list.js";
import { drawCurve, drawMeasures } from "./report_head.js";
import { initTip } from "./tip.js";

const data = JSON.parse(find("data").textContent);
const judged = Boolean(data.judged), cards = find("cards");

/* What may become of the editor's picture. Each headline is one of them, so their numbers add up. */
const OUTCOMES = {
  helped: ["helped", "good", "the editor’s picture comes first only after reranking"],
  hurt: ["hurt", "bad", "the editor’s picture comes first only before reranking"],
  first: ["stays first", "", "the editor’s picture comes first before and after"],
  up: ["up", "", "its rank is better, but it comes first neither before nor after"],
  down: ["down", "", "its rank is worse, and it comes first neither before nor after"],
  same: ["same rank", "", "its rank is the same, and it is not the first"],
  absent: ["not a candidate", "", "the editor’s picture is not among the candidates, so reranking cannot find it"],
  unknown: ["not known", "", "the data does not name an editor’s picture for the headline"],
};
const FIRSTS = {
  changed: ["changed", "changed", "another picture comes first after reranking"],
  kept: ["unchanged", "", "the same picture comes first before and after"],
};

const best = ranks => Math.min(...ranks.map(rank => rank ?? Infinity));
function classify(headline) {
  const known = headline.relevant ?? [], before = best(known.map(one => one[2])), after = best(known.map(one => one[3]));
  if (!known.length) return "unknown";
  if (before === Infinity) return "absent";
  if (before === 1 || after === 1) return after > 1 ? "hurt" : before > 1 ? "helped" : "first";
  return after < before ? "up" : after > before ? "down" : "same";
}
data.headlines.forEach((headline, position) => {
  headline.position = position;
  headline.outcome = classify(headline);
  headline.first = headline.before[0] === headline.after[0] ? "kept" : "changed";
  headline.folded = fold(`${headline.title} ${headline.id}`);
  // How far the editor's picture moved; where that is not known, any of the pictures shown.
  const moves = judged ? (headline.relevant ?? []).map(([, , before, after]) => (before == null ? 0 : Math.abs(before - after)))
    : Object.values(headline.candidates).map(one => Math.abs(one.before - one.after));
  headline.moved = Math.max(0, ...moves);
});
const inOrder = (a, b) => a.position - b.position;
const SORTS = {
  data: inOrder,
  close: (a, b) => a.gap - b.gap || inOrder(a, b),
  clear: (a, b) => b.gap - a.gap || inOrder(a, b),
  moved: (a, b) => b.moved - a.moved || inOrder(a, b),
};

/* Filters: [key, [name, class, meaning], test, group]. */
const FILTERS = [["all", ["all", "", "all headlines of this page"], () => true, ""],
  ...Object.entries(OUTCOMES).filter(() => judged).map(([key, text]) => [key, text, one => one.outcome === key, "editor’s picture"]),
  ...Object.entries(FIRSTS).map(([key, text]) => [key, text, one => one.first === key, "first picture"])]
  .map(([key, text, test, group]) => ({ key, text, test, group, n: data.headlines.filter(test).length }))
  .filter(({ key, n }) => n || key !== "unknown");
const DEFAULTS = { filter: "all", q: "", sort: "data" };
const state = { ...DEFAULTS, found: [] };

function drawHead() {
  find("warning").textContent = data.warning ?? "";
  find("warning").hidden = !data.warning;
  find("facts").append(...data.facts.map(fact => make("span", {}, fact)));
  if (data.measures?.length) {
    find("measures").append(make("tbody", {}, ...drawMeasures(data.measures)));
    find("measures").hidden = false;
  }
  if (data.curve) {
    find("curve").append(...drawCurve(data.curve));
    find("curve").hidden = false;
  }
  for (const group of ["", "editor’s picture", "first picture"]) {
    const own = FILTERS.filter(filter => filter.group === group);
    if (!own.length) continue;
    find("filters").append(make("div", { class: "choices", role: "group", "aria-label": group || "Show headlines" }, group && make("span", { class: "of" }, group),
      ...own.map(({ key, text: [name, , meaning], n }) => make("button", { type: "button", "data-filter": key, title: meaning, click: () => change({ filter: key }) }, `${name} `, make("b", {}, count(n))))));
  }
  find("meanings").append(...FILTERS.flatMap(({ text: [name, , meaning], n }) => [make("dt", {}, name), make("dd", {}, `${meaning} (${count(n)})`)]));
  if (data.headlines.length < data.n_headlines) {
    find("cut").hidden = false;
    find("cut").textContent = `${count(data.headlines.length)} of ${count(data.n_headlines)} headlines are shown, so that the page stays small; queries.csv or results.parquet has all.`;
  }
}

function describeBadge({ outcome, first }) {
  if (!judged) return { text: FIRSTS[first][0], className: FIRSTS[first][1], title: FIRSTS[first][2] };
  const [text, className, title] = OUTCOMES[outcome], also = first === "changed" && !["helped", "hurt"].includes(outcome);
  return { text: also ? `${text} · first changed` : text, className: className || (also ? "changed" : ""), title };
}

const list = makeList(cards, find("filters").closest(".bar"));
const draw = (headline, sought) => drawCard(headline, data, { badge: describeBadge(headline), sought, lazy: true });

function update() {
  const sought = fold(state.q.trim()), filter = FILTERS.find(one => one.key === state.filter);
  state.found = data.headlines.filter(one => filter.test(one) && one.folded.includes(sought)).sort(SORTS[state.sort]);
  hideTip();
  list.show(state.found.map(headline => keepArticle(headline, sought, draw, drawTitle)));
  for (const button of find("filters").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.filter === state.filter);
  find("sort").value = state.sort;
  if (find("search").value !== state.q) find("search").value = state.q;
  const total = data.headlines.length, shown = state.found.length;
  find("count").textContent = `${count(shown)} of ${count(total)}`;
  const how = [state.filter !== "all" && `${filter.group}: ${filter.text[0]}`, sought && `search: ${state.q.trim()}`].filter(Boolean);
  find("printed").textContent = how.length ? `${count(shown)} of ${count(total)} headlines (${how.join("; ")})` : `${count(shown)} headlines`;
  find("empty").hidden = shown > 0;
}

/* Change the state, draw it, and bring the first headline into view. */
function change(values) {
  Object.assign(state, values);
  writeHash({ filter: state.filter, q: state.q, sort: state.sort }, DEFAULTS);
  update();
  list.reveal();
}
function readState() {
  const { filter, q, sort } = readHash();
  Object.assign(state, { filter: FILTERS.some(one => one.key === filter) ? filter : "all", q: q ?? "", sort: Object.hasOwn(SORTS, sort ?? "") ? sort : "data" });
}

const hideTip = initTip(cards, item => {
  const { headline } = item.closest(".card"), candidate = headline.candidates[item.dataset.ref];
  return [make("h3", { class: "label" }, `${data.pictures[item.dataset.ref].id}: #${candidate.before} → #${candidate.after}`), drawWhy(candidate, headline, data)];
});
listenControls(list, { state, filters: FILTERS, sorts: Object.keys(SORTS), change, refresh: () => { readState(); update(); } });
drawHead();
readState();
update();
