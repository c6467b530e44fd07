/* The comparison of runs: a card for each headline, with the first pictures of each run. */

import { drawCard, drawEditors, drawStrip, drawTitle, listItems } from "./card.js";
import { drawTables } from "./comparison_head.js";
import { count, find, fold, make, readHash, writeHash } from "./dom.js";
import { keepArticle, listenControls, makeList } from "./list.js";

const data = JSON.parse(find("data").textContent);
const judged = Boolean(data.judged), RUNS = data.names.map((name, i) => i);
document.documentElement.style.setProperty("--runs", RUNS.length);

/* Pairs to choose from: the tested ones, then the others. */
const PAIRS = [...data.pairs];
for (const a of RUNS) for (const b of RUNS) if (a < b && !PAIRS.some(pair => pair.includes(a) && pair.includes(b))) PAIRS.push([a, b]);

/* What two runs do with the editor's picture. Each headline is one of them, so their numbers add up. */
const OUTCOMES = {
  won: ["won", "good", "only the second run ranks the editor’s picture first"],
  lost: ["lost", "bad", "only the first run ranks the editor’s picture first"],
  both: ["both find", "", "both runs rank the editor’s picture first"],
  neither: ["both miss", "", "neither run ranks the editor’s picture first"],
  unknown: ["not known", "", "no run knows an editor’s picture of the headline"],
};
const FIRSTS = {
  differs: ["differs", "changed", "the two runs rank other pictures first"],
  same: ["same", "", "the two runs rank the same picture first"],
};
/* Of runs with task.min_confidence. */
const CERTAINTIES = {
  unsure: ["unsure", "", "at least one of the two runs leaves the headline without a picture, as its confidence is below task.min_confidence"],
  sure: ["sure", "", "neither of the two runs leaves the headline without a picture"],
};
const best = (headline, run) => Math.min(...headline.relevant.map(one => one[2][run] ?? Infinity));
data.headlines.forEach((headline, position) => {
  headline.position = position;
  headline.folded = fold(`${headline.title} ${headline.id}`);
  headline.ranks = RUNS.map(run => best(headline, run));
});
const bound = rank => Math.min(rank, data.depth + 1);

/* Classify all headlines by the chosen pair. */
function classify([a, b]) {
  for (const headline of data.headlines) {
    const [before, after] = [headline.ranks[a], headline.ranks[b]], [own, other] = [a, b].map(run => headline.runs[run].map(one => one[0]));
    headline.outcome = !headline.relevant.length ? "unknown" : before === 1 ? (after === 1 ? "both" : "lost") : after === 1 ? "won" : "neither";
    headline.certainty = [a, b].some(run => headline.unsure.includes(run)) ? "unsure" : "sure";
    headline.first = own[0] === other[0] ? "same" : "differs";
    headline.rise = headline.relevant.length ? bound(before) - bound(after) : 0;
    // Pictures that only one of the runs shows; among equal ones those in other places.
    headline.unlike = other.filter(ref => !own.includes(ref)).length + other.filter((ref, i) => ref !== own[i]).length / 10;
    headline.article = null;
  }
}
const inOrder = (a, b) => a.position - b.position;
const SORTS = {
  data: ["in the data’s order", inOrder],
  ...judged && {
    rises: ["biggest rises first", (a, b) => b.rise - a.rise || inOrder(a, b)],
    falls: ["biggest falls first", (a, b) => a.rise - b.rise || inOrder(a, b)],
  },
  unlike: ["most different first", (a, b) => b.unlike - a.unlike || inOrder(a, b)],
};
const FILTERS = [["all", ["all", "", "all headlines of this page"], () => true, ""],
  ...Object.entries(OUTCOMES).filter(([key]) => judged && (key !== "unknown" || data.headlines.some(one => !one.relevant.length)))
    .map(([key, text]) => [key, text, one => one.outcome === key, "editor’s picture"]),
  ...Object.entries(FIRSTS).map(([key, text]) => [key, text, one => one.first === key, "first picture"]),
  ...Object.entries(CERTAINTIES).filter(() => data.headlines.some(one => one.unsure.length)).map(([key, text]) => [key, text, one => one.certainty === key, "confidence"])]
  .map(([key, text, test, group]) => ({ key, text, test, group }));
const DEFAULTS = { pair: "0", filter: "all", q: "", sort: "data" };
const state = { ...DEFAULTS, found: [] };

const number = run => make("span", { class: "number" }, String(run + 1));
const showRank = rank => Number.isFinite(rank) ? `#${rank}` : "not a candidate";

function drawRun(headline, run) {
  const rows = headline.runs[run], scores = rows.map(row => row[3]).filter(score => score != null), name = `${run + 1}: ${data.names[run]}`;
  const own = {
    relevant: headline.relevant, after: rows.map(row => row[0]), range: [undefined, [Math.min(...scores), Math.max(...scores)]],
    candidates: Object.fromEntries(rows.map(([ref, retrieval, rerank, fused], i) => [ref, { after: i + 1, retrieval, rerank, fused: fused ?? NaN }])),
  };
  const rank = headline.ranks[run];
  const found = !headline.relevant.length ? "" : rank === 1 ? make("span", { class: "good" }, " · finds the editor’s picture") : ` · editor’s picture ${showRank(rank)}`;
  const unsure = headline.unsure.includes(run) && make("span", { class: "bad", title: "its confidence is below task.min_confidence" }, " · unsure: left without a picture");
  return drawStrip([number(run), make("b", {}, data.names[run]), found, unsure || ""], listItems(own, "after", name, data), "run");
}

function draw(headline, sought) {
  const [text, className, title] = judged ? OUTCOMES[headline.outcome] : FIRSTS[headline.first];
  const also = judged && headline.first === "differs" && !["won", "lost"].includes(headline.outcome);
  return drawCard(headline, data, {
    sought, lazy: true,
    badge: { text: judged ? (also ? `${text} · first differs` : text) : `first ${text}`, className: className || (also ? "changed" : ""), title },
    editors: () => drawEditors(headline, data, ranks => ranks.map((rank, run) => make("span", {}, number(run), showRank(rank ?? Infinity)))),
    strips: () => RUNS.map(run => drawRun(headline, run)),
  });
}

const list = makeList(find("cards"), find("filters").closest(".bar"));

function drawHead() {
  find("warning").textContent = data.warning ?? "";
  find("warning").hidden = !data.warning;
  find("facts").append(...data.facts.map(fact => make("span", {}, fact)));
  find("tables").append(...drawTables(data, number));
  find("testing").textContent = data.note;
  find("sort").append(...Object.entries(SORTS).map(([value, [name]]) => make("option", { value }, name)));
  find("pair").append(...PAIRS.map(([a, b], i) => make("option", { value: i }, `${b + 1} against ${a + 1}: ${data.names[b]} | ${data.names[a]}`)));
  for (const group of ["", "editor’s picture", "first picture", "confidence"]) {
    const own = FILTERS.filter(filter => filter.group === group);
    if (!own.length) continue;
    find("filters").append(make("div", { class: "choices", role: "group", "aria-label": group || "Show headlines" }, group && make("span", { class: "of" }, group),
      ...own.map(({ key, text: [name, , meaning] }) => make("button", { type: "button", "data-filter": key, title: meaning, click: () => change({ filter: key }) }, `${name} `, make("b")))));
  }
  find("meanings").append(...FILTERS.flatMap(({ text: [name, , meaning] }) => [make("dt", {}, name), make("dd", {}, meaning)]));
  if (data.headlines.length < data.n_headlines) {
    find("cut").hidden = false;
    find("cut").textContent = `${count(data.headlines.length)} of ${count(data.n_headlines)} headlines are shown, so that the page stays small; those for which the runs differ come first.`;
  }
}

let classified = null;
function update() {
  const pair = PAIRS[state.pair], sought = fold(state.q.trim()), filter = FILTERS.find(one => one.key === state.filter);
  if (classified !== pair) {
    classify(pair);
    for (const one of FILTERS) find("filters").querySelector(`[data-filter="${one.key}"] b`).textContent = count(data.headlines.filter(one.test).length);
    classified = pair;
  }
  state.found = data.headlines.filter(one => filter.test(one) && one.folded.includes(sought)).sort(SORTS[state.sort][1]);
  list.show(state.found.map(headline => keepArticle(headline, sought, draw, drawTitle)));
  for (const button of find("filters").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.filter === state.filter);
  find("sort").value = state.sort;
  find("pair").value = state.pair;
  if (find("search").value !== state.q) find("search").value = state.q;
  const total = data.headlines.length, shown = state.found.length, [a, b] = pair;
  find("count").textContent = `${count(shown)} of ${count(total)}`;
  const how = [state.filter !== "all" && `${filter.group}: ${filter.text[0]}, run ${b + 1} against run ${a + 1}`, sought && `search: ${state.q.trim()}`].filter(Boolean);
  find("printed").textContent = how.length ? `${count(shown)} of ${count(total)} headlines (${how.join("; ")})` : `${count(shown)} headlines`;
  find("empty").hidden = shown > 0;
}

/* Change the state, draw it, and bring the first headline into view. */
function change(values) {
  Object.assign(state, values);
  const { pair, filter, q, sort } = state;
  writeHash({ pair, filter, q, sort }, DEFAULTS);
  update();
  list.reveal();
}
function readState() {
  const { pair = "0", filter, q, sort } = readHash();
  Object.assign(state, { pair: Object.hasOwn(PAIRS, pair) ? pair : "0", filter: FILTERS.some(one => one.key === filter) ? filter : "all",
    q: q ?? "", sort: Object.hasOwn(SORTS, sort ?? "") ? sort : "data" });
}

find("pair").addEventListener("change", event => change({ pair: event.target.value }));
listenControls(list, { state, filters: FILTERS, sorts: Object.keys(SORTS), change, refresh: () => { readState(); update(); },
  keys: { p: () => change({ pair: String((Number(state.pair) + 1) % PAIRS.length) }) } });
drawHead();
readState();
update();
