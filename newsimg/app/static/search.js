/* The search page: its state is in the URL, and nothing is kept on the server for it. */

import { drawPicture } from "/pages/card.js";
import { count, find, initTheme, isTyping, make, readHash, writeHash } from "/pages/dom.js";
import { initTip } from "/pages/tip.js";
import { get, post, save, upload } from "./client.js";
import { drawResult } from "./results.js";

const POLL = 300, PAUSE = 250;  // milliseconds: between questions after the state; after the last key or step before searching or writing the URL
const FILTERS = ["licence", "author", "source", "name"], SOUGHT = ["q", "upload", "like", "r", "k", ...FILTERS];
const ASK = "Type a headline, or choose a picture.";
const start = await get("/search/start");
const suited = name => start.rerankers[name] ?? start.rerankers[start.reranker];
let defaults = {}, state = {}, facts = null;  // facts: what is known once the data are read
let shown = null;  // {key, result, settings, drawn} of the pictures on the page
let running = null;  // the search that is waited for
const settings = { reranker: "", normalisation: "", weight: 0 };

/* State */

function readState() {
  const hash = readHash();
  const reranker = Object.hasOwn(start.rerankers, hash.r ?? "") ? hash.r : start.reranker, [normalisation, weight] = suited(reranker);
  defaults = { q: start.headline, r: start.reranker, n: normalisation, w: weight, k: start.top_k };
  const w = Number(hash.w ?? weight);
  state = { q: hash.upload || hash.like ? "" : hash.q ?? defaults.q, upload: hash.upload ?? "", like: hash.like ?? "", r: reranker,
    n: start.normalisations.includes(hash.n) ? hash.n : normalisation, w: w >= 0 && w <= 1 ? w : weight, k: Number(hash.k ?? start.top_k),
    ...Object.fromEntries(FILTERS.map(name => [name, hash[name] ?? ""])) };
  showState();
}
const keyOf = () => JSON.stringify(SOUGHT.map(name => state[name]));
let lastKey = null, writing;
function writeState() {
  clearTimeout(writing);
  const [normalisation, weight] = suited(state.r), key = keyOf();
  if (lastKey !== null && key !== lastKey) history.pushState(null, "", location.href);  // 'back' leads to the search before
  lastKey = key;
  writeHash(state, { ...defaults, n: normalisation, w: weight });
}
/* Browsers refuse many changes of the URL in a short time. */
function writeStateSoon() {
  clearTimeout(writing);
  writing = setTimeout(writeState, PAUSE);
}
function showState() {
  for (const [id, value] of Object.entries({ headline: state.q, reranker: state.r, normalisation: state.n, weight: state.w, value: state.w, top_k: state.k,
    ...Object.fromEntries(FILTERS.map(name => [name, state[name]])) })) if (find(id).value !== String(value)) find(id).value = value;
  const n = FILTERS.filter(name => state[name]).length;
  find("showFilters").textContent = n ? `Filters (${n})` : "Filters";
  if (n) toggle("filters", true);
}

/* Searching */

const body = () => ({ headline: state.q, upload: state.upload, like: state.like, reranker: state.r, top_k: state.k,
  filter: Object.fromEntries(FILTERS.filter(name => state[name].trim()).map(name => [name, [state[name].trim()]])) });

async function search() {
  running?.abort();
  const own = running = new AbortController(), key = keyOf();
  writeState();
  if (!state.q.trim() && !state.upload && !state.like) { running = null; return tell(ASK); }
  find("results").setAttribute("aria-busy", "true");
  const since = performance.now(), waiting = setInterval(() => say(describeWait((performance.now() - since) / 1000)), POLL);
  try {
    const result = await post("/search/results", body(), own.signal);
    if (running !== own) return;
    tell("");
    show(result, key, (performance.now() - since) / 1000);
  } catch (error) {
    if (error.name !== "AbortError" && running === own) { tell(error.message); say(""); }
  } finally {
    clearInterval(waiting);
    if (running === own) { running = null; find("results").setAttribute("aria-busy", "false"); }
  }
}

function show(result, key, seconds) {
  const isPair = !result.sought;
  hideTip();
  for (const id of ["reranker", "normalisation", "weight", "value"]) find(id).disabled = !isPair;
  const about = askFacts(result.pictures);
  const drawn = drawResult(find("results"), result, settings, { actions: similar, facts: about });
  shown = { key, result, drawn, seconds };
  showSought(result.sought);
  sort();
  document.title = `${(isPair ? state.q.trim().slice(0, 80) : "Similar pictures")} – newsimg search`;
}

/* Size and metadata of pictures, for the picture view; thumbnails come first. */
async function askFacts(pictures) {
  const byKey = new Map(Object.values(pictures).map(picture => [picture.key, picture]));
  try {
    const found = await post("/pictures/about", { keys: [...byKey.keys()] });
    for (const [key, { width, height, bytes, metadata }] of Object.entries(found)) Object.assign(byKey.get(key), { width, height, bytes, metadata });
  } catch { /* the view shows the id alone */ }
}

/* Sort the pictures that are shown by the settings; no request, but for weights that are not linear. */
let asking = 0;
async function sort() {
  if (!shown) return;
  Object.assign(settings, { reranker: state.r, normalisation: state.n, weight: state.w });
  const own = ++asking, { result, drawn } = shown;
  if (!result.sought && !result.normalised[state.n]) {
    try {
      const { fused } = await post("/search/fused", { ...body(), weight: state.n, value: state.w });
      if (own === asking) drawn.sort(fused);
    } catch (error) { tell(error.message); }
  } else drawn.sort();
  showCommand();
  saySoon();
}

const similar = ({ picture }) => [make("button", { type: "button", class: "tool", click: event => {
  event.target.closest("dialog").close();
  change({ q: "", upload: "", like: picture.id });
} }, "Similar to this")];

function showSought(picture) {
  find("sought").hidden = !picture;
  find("headline").placeholder = picture ? "Headline instead of the picture" : "Headline";
  if (picture) find("sought").replaceChildren(drawPicture(picture), make("span", {}, "similar to ", make("span", { class: "name" }, state.like || "your picture")),
    make("button", { type: "button", class: "tool", "aria-label": "Search for a headline again", click: () => { change({ upload: "", like: "", q: start.headline || facts?.headlines[0] || "" }); find("headline").focus(); } }, "×"));
}

/* Change what is searched for, and search. */
function change(values) {
  Object.assign(state, values);
  showState();
  search();
}

async function searchFile(file) {
  if (!file) return;
  say("The picture is being read …");
  try {
    if (file.size > 20_000_000) throw new Error(`A picture may have 20 MB, this one has ${(file.size / 1e6).toFixed(1)}.`);
    change({ q: "", like: "", upload: (await upload(file)).key });
  } catch (error) { tell(error.message); say(""); }
}

/* Texts */

const say = text => { find("status").textContent = text; };
function tell(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}
let saying;
function saySoon() {
  clearTimeout(saying);
  saying = setTimeout(() => {
    if (running || !shown) return;
    const { result, drawn, seconds } = shown, n = result.n_candidates, total = facts ? ` of ${count(facts.n_images)} pictures` : "";
    const moved = result.sought ? "" : ` · ${count(drawn.count())} moved by the reranker`;
    say(`${count(n)} ${n === 1 ? "candidate" : "candidates"}${total}${moved} · found in ${seconds.toFixed(2)} s`);
  }, PAUSE);
}
let step = "";
const describeWait = seconds => facts?.values ? `Searching … ${seconds.toFixed(0)} s` : `Data and models are being loaded … ${step}`;

function showCommand() {
  const { commands, command_end, no_command } = shown?.result ?? {};
  find("command").textContent = commands ? `${commands[state.n]}${state.w}${command_end}` : no_command ?? "";
  find("copy").hidden = !commands;
}

/* The state of the server, until all is loaded. */
async function watch() {
  try {
    const found = await get("/search/status");
    if (found.state === "failed") return tell(`${found.message} (The server has ended.)`);
    step = found.step ?? "";
    if (found.state === "ready" && !facts) {
      facts = found;
      if (!find("headline").value && !state.upload && !state.like && found.headlines.length) change({ q: found.headlines[0] });
    }
    if (found.values) {
      find("examples").replaceChildren(...found.headlines.map(value => make("option", { value })));
      showValues(facts.values = found.values);
      return running || shown || say(ASK);
    }
    if (!running && !shown) say(describeWait(0));
  } catch (error) { if (facts) return; tell(error.message); return; }
  setTimeout(watch, POLL);
}
function showValues(values) {
  for (const [name, known] of Object.entries(values)) find(`${name}s`).replaceChildren(...known.map(value => make("option", { value })));
  for (const name of FILTERS) if (name !== "name") find(name).closest("label").hidden = !values[name] && !state[name];
}

/* Controls */

function toggle(id, open = find(id).hidden) {
  find(id).hidden = !open;
  document.querySelector(`[aria-controls="${id}"]`).setAttribute("aria-expanded", open);
}
for (const [id, names] of [["reranker", Object.keys(start.rerankers)], ["normalisation", start.normalisations]]) find(id).append(...names.map(name => make("option", { value: name }, name)));
find("top_k").max = start.max_top_k;
find("warning").textContent = start.warning;
find("warning").hidden = !start.warning;

const readControls = () => Object.fromEntries([["k", Number(find("top_k").value)], ...FILTERS.map(name => [name, find(name).value])]);
let soon;
/* Search for what the controls say, and `values`. */
function submit(values = {}) {
  clearTimeout(soon);
  const q = find("headline").value;
  change({ ...readControls(), ...(q.trim() || !(state.upload || state.like) ? { q, upload: "", like: "" } : {}), ...values });
}
find("form").addEventListener("submit", event => { event.preventDefault(); submit(); });
find("top_k").addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(() => { if (find("top_k").value) submit(); }, PAUSE); });
find("headline").addEventListener("input", event => { if (event.inputType === "insertReplacementText" || !event.inputType) submit(); });  // an example was chosen
find("reranker").addEventListener("change", event => { const [n, w] = suited(event.target.value); submit({ r: event.target.value, n, w }); });
find("normalisation").addEventListener("change", event => weigh({ n: event.target.value }));
find("weight").addEventListener("input", event => weigh({ w: Number(event.target.value) }));
find("value").addEventListener("input", event => { const w = Number(event.target.value); if (event.target.value && w >= 0 && w <= 1) weigh({ w }); });
find("value").addEventListener("change", showState);
function weigh(values) {
  Object.assign(state, values);
  const kept = document.activeElement;
  for (const [id, value] of [["weight", state.w], ["value", state.w], ["normalisation", state.n]]) if (find(id) !== kept && find(id).value !== String(value)) find(id).value = value;
  sort();
  writeStateSoon();
}
find("showFilters").addEventListener("click", () => toggle("filters"));
find("showCommand").addEventListener("click", () => toggle("drawer"));
find("clear").addEventListener("click", () => submit(Object.fromEntries(FILTERS.map(name => [name, ""]))));
find("choose").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", event => { searchFile(event.target.files[0]); event.target.value = ""; });
find("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(find("command").textContent); say("The command is copied."); } catch { say("The browser does not allow copying: select the command."); }
});
for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", async () => {
  if (!shown) return tell("There is nothing to save yet: search first.");
  try { await save("/search/export", { ...body(), weight: state.n, value: state.w, kind: button.dataset.kind }); } catch (error) { tell(error.message); }
});
addEventListener("paste", event => { const [file] = event.clipboardData?.files ?? []; if (file) { event.preventDefault(); searchFile(file); } });
addEventListener("dragover", event => { if (event.dataTransfer.types.includes("Files")) { event.preventDefault(); find("drop").hidden = false; } });
addEventListener("dragleave", event => { if (!event.relatedTarget) find("drop").hidden = true; });
addEventListener("drop", event => {
  find("drop").hidden = true;
  if (event.dataTransfer.files.length) { event.preventDefault(); searchFile(event.dataTransfer.files[0]); }
});
addEventListener("keydown", event => { if (event.key === "/" && !isTyping(event)) { event.preventDefault(); find("headline").select(); } });
addEventListener("beforeprint", () => {
  const how = shown?.result.sought ? "similar pictures" : `reranker ${state.r}, normalisation ${state.n}, weight ${state.w}`;
  find("printed").textContent = `${state.q || state.like || "A picture"}: ${how}, ${find("status").textContent}`;
});
addEventListener("popstate", () => {
  readState();
  lastKey = keyOf();
  if (shown?.key === lastKey && !running) sort(); else search();
});
initTheme(find("theme"));
const hideTip = initTip(find("results"), item => shown.drawn.describe(item.dataset.ref));
readState();
lastKey = keyOf();
watch();
if (state.q || state.upload || state.like) search();
