/* The results of a judging, for whoever has the link to them: files to save, and answers to withdraw. */

import { find, initTheme, make } from "../pages/dom.js";
import { saveAnswer } from "./client.js";
import { request } from "./token.js";

const FILES = { "ratings.csv": "Ratings", "qrels.txt": "Qrels (TREC)", "answers.csv": "Answers (CSV)", "headlines.csv": "Headlines (CSV)", "people.csv": "People (CSV)", "progress.csv": "Progress (CSV)" };
const points = { show: one => one.toFixed(2) };
const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
const share = value => (value == null ? "–" : `${(100 * value).toFixed(0)} %`);
const several = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

const tell = (id, text) => { find(id).textContent = text; find(id).hidden = !text; };

/* What a button does: its error is shown, and nothing happens twice at once. */
const doing = work => async event => {
  const button = event.currentTarget ?? event.submitter;
  button.disabled = true;
  tell("message", "");
  try { await work(event); } catch (error) { tell("message", error.message); }
  button.disabled = false;
};

function drawTable(rows, columns, picked) {
  const head = Object.entries(columns).map(([name, { label, number = true }]) => make("th", { scope: "col", class: number && "number" }, label ?? name));
  const body = rows.map(row => make("tr", {}, pickCell(row, picked), Object.entries(columns).map(([name, { show = String, number = true }]) => make("td", { class: number && "number" }, row[name] == null ? "–" : show(row[name])))));
  const table = make("table", {}, make("thead", {}, make("tr", {}, picked && make("td"), head)), make("tbody", {}, body));
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": picked?.label ?? "Mean ratings" }, table);
}

const pickCell = (row, picked) => picked && make("td", {}, make("input", { type: "checkbox", name: picked.key, value: row[picked.id], "aria-label": row[picked.title] }));

/* A table with a box in each row, and a button that withdraws the answers of the rows that are ticked. */
function drawPicked(rows, columns, picked) {
  const button = make("button", { class: "tool", type: "button", disabled: true, click: () => confirmWithdrawal(picked.key) }, picked.ask);
  const drawn = make("div", { change: () => { button.disabled = !list(picked.key).length; } }, drawTable(rows, columns, picked), make("p", {}, button));
  return [make("h2", {}, picked.heading), drawn];
}

const list = key => [...document.querySelectorAll(`input[name=${key}]:checked`)].map(box => box.value);

function confirmWithdrawal(key) {
  const values = list(key), content = key === "people" ? values.map(one => Number(one.slice(1))) : values;
  const named = key === "people" ? values.join(", ") : several(values.length, "headline");
  find("what").textContent = key === "people" ? `Withdraw all answers of ${named}?` : `Withdraw all answers about ${named}?`;
  find("reason").value = "";
  find("form").onsubmit = event => {
    event.preventDefault();
    withdraw({ [key]: content, reason: find("reason").value.trim() }).finally(() => find("confirm").close());
  };
  find("confirm").showModal();
}

async function withdraw(body) {
  tell("message", "");
  try {
    const { withdrawn } = await (await request("judge/withdraw", body)).json();
    await load();
    tell("done", `${several(withdrawn, "answer")} withdrawn.`);
  } catch (error) { tell("message", error.message); }
}

async function restore(number) {
  const { restored, left } = await (await request("judge/restore", { withdrawal: number })).json();
  await load();
  tell("done", `${several(restored, "answer")} count again.${left ? ` ${several(left, "other")} stay withdrawn, as their pairs were given to other people meanwhile.` : ""}`);
}

const save = name => doing(async () => saveAnswer(await request(`judge/export/${name}`), name));

const drawFiles = isPairs => make("p", { class: "answers start", id: "files" }, "Save", Object.entries(FILES).filter(([name]) => isPairs || name !== "progress.csv").map(([name, label]) => make("button", { class: "tool", type: "button", click: save(name) }, label)));

function drawWithdrawals(rows) {
  if (!rows.length) return [];
  const items = rows.map(({ number, reason, people, articles, n_answers: n }, i) => make("li", {},
    `${several(n, "answer")}${people.length ? ` of ${people.map(one => `r${one}`).join(", ")}` : ""}${articles.length ? ` about ${several(articles.length, "headline")}` : ""}: ${reason} `,
    i === 0 && make("button", { class: "tool", type: "button", id: "undo", click: doing(() => restore(number)) }, "Undo")));
  return [make("h2", {}, "Withdrawn answers"), make("ul", { id: "withdrawals" }, items)];
}

const drawProgress = ({ answered, planned }) => answered > 0 && make("p", { id: "progress" }, `${answered} of ${planned} planned answers.`);

/* The commands that choose a weight by these answers. */
function drawTuning({ preference, rated, tuning }) {
  const commands = Object.entries(tuning);
  if (!commands.length || !(preference || rated.length)) return [];
  return [
    make("h2", {}, "The best weight by these answers"),
    make("p", {}, "Save the ratings where the runs were started: there this chooses the weight that people want, and reports its gain with an interval by cross-validation. Pictures that nobody saw count as the lowest."),
    ...commands.flatMap(([name, command]) => [make("p", {}, `${name}:`), make("pre", { class: "command" }, command)]),
  ];
}

function drawMeasured({ runs: [first, second], preference, rated, needed }) {
  if (rated.length) {
    const low = { label: "low", ...points }, high = { label: "high", ...points };
    return [make("h2", { id: "rated" }, "Mean rating of the first picture, with 95 % intervals"), drawTable(rated, { run: { number: false }, n_articles: { label: "headlines" }, mean: points, mean_low: low, mean_high: high })];
  }
  if (!preference) return [make("p", { id: "none" }, "There are no answers yet.")];
  const { value, low, high } = preference;
  const clear = low > 0 ? `${second} is preferred` : high < 0 ? `${first} is preferred` : "The answers do not tell the runs apart";
  return [
    make("p", { id: "preference" }, `${clear}: ${signed(value)} (95 % interval ${signed(low)} to ${signed(high)}; +1: always ${second}, −1: always ${first})`),
    make("p", {}, `${preference.n_answers} answers to ${preference.n_articles} headlines. Left side chosen: ${share(preference.left_share)}. Same answer with sides swapped: ${share(preference.repeat_agreement)}. Attention checks passed: ${share(preference.check_share)}.`),
    make("p", {}, needed && `${needed[0].toUpperCase()}${needed.slice(1)}.`),
  ];
}

function draw(results) {
  const { runs: [first, second], rated, headlines, people, withdrawals } = results, title = { headline: { label: "headline", number: false } };
  const sides = extra => ({ first: { label: first, ...extra }, second: { label: second, ...extra } });
  const counts = rated.length ? { ...sides(points), n_answers: { label: "answers" } } : { ...sides({}), tie: {}, neither: { label: "neither fits" }, preference: { show: signed } };
  const shown = [drawProgress(results), drawMeasured(results), drawFiles(Boolean(results.preference)), drawTuning(results)];
  if (headlines.length) shown.push(drawPicked(headlines, { ...title, ...counts, disagreement: points }, { key: "articles", id: "article_id", title: "headline", label: "Headlines", heading: "Headlines, those with the most disagreement first", ask: "Withdraw answers to the ticked headlines" }));
  if (people.length) shown.push(drawPicked(people, { rater: { number: false }, n_answers: { label: "answers" }, checks_passed: { label: "checks passed", show: share }, repeat_agreement: { label: "same answer again", show: share }, median_seconds: { label: "seconds", show: one => one.toFixed(1) } }, { key: "people", id: "rater", title: "rater", label: "People", heading: "People", ask: "Withdraw answers of the ticked people" }));
  find("results").replaceChildren(...shown.flat().filter(Boolean), ...drawWithdrawals(withdrawals));
}

async function load() {
  draw(await (await request("judge/results")).json());
  tell("done", "");
}

find("cancel").addEventListener("click", () => find("confirm").close());
initTheme(find("theme"));
load().catch(error => { tell("done", ""); tell("message", error.message); });
