/* The results of a judging, for whoever has the link to them: files to save, and answers to withdraw. */

import { find, initTheme, make } from "../pages/dom.js";
import { saveAnswer } from "./client.js";
import { request } from "./token.js";

const FILES = { "ratings.csv": "Ratings", "qrels.txt": "Qrels (TREC)", "answers.csv": "Answers (CSV)", "headlines.csv": "Headlines (CSV)", "people.csv": "People (CSV)", "preferences.csv": "Preferences (CSV)", "progress.csv": "Progress (CSV)", "runs.csv": "Runs (CSV)" };
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

const range = ({ low, high }, show) => `${show(low)} to ${show(high)}`;

const nameClass = (name, number) => (number ? "number" : name === "headline" ? name : "word");

function drawTable(rows, columns, picked) {
  const head = Object.entries(columns).map(([name, { label, number = true }]) => make("th", { scope: "col", class: nameClass(name, number) }, label ?? name));
  const body = rows.map(row => make("tr", {}, picked.key && pickCell(row, picked), Object.entries(columns).map(([name, { show = String, number = true }]) => make("td", { class: nameClass(name, number) }, row[name] == null ? "–" : show(row[name])))));
  const table = make("table", { id: picked.table }, make("thead", {}, make("tr", {}, picked.key && make("td"), head)), make("tbody", {}, body));
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": picked.label }, table);
}

const pickCell = (row, picked) => make("td", {}, make("input", { type: "checkbox", name: picked.key, value: row[picked.id], "aria-label": row[picked.title] }));

/* A table with a box in each row, and a button that withdraws the answers of the rows that are ticked. */
function drawPicked(rows, columns, picked) {
  const button = make("button", { class: "tool", type: "button", disabled: true, click: () => confirmWithdrawal(picked.key) }, picked.ask);
  const drawn = make("div", { change: () => { button.disabled = !list(picked.key).length; } }, drawTable(rows, columns, picked), make("p", {}, button));
  return [make("h2", {}, picked.heading), drawn];
}

const list = key => [...new Set([...document.querySelectorAll(`input[name=${key}]:checked`)].map(box => box.value))];

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

const isThere = (name, { pairs, strengths, rated }) => (name === "runs.csv" ? strengths.length || rated.length : pairs.length || !["preferences.csv", "progress.csv"].includes(name));
const drawFiles = results => make("p", { class: "answers start", id: "files" }, "Save", Object.entries(FILES).filter(([name]) => isThere(name, results)).map(([name, label]) => make("button", { class: "tool", type: "button", click: save(name) }, label)));

function drawWithdrawals(rows) {
  if (!rows.length) return [];
  const items = rows.map(({ number, reason, people, articles, n_answers: n }, i) => make("li", {},
    `${several(n, "answer")}${people.length ? ` of ${people.map(one => `r${one}`).join(", ")}` : ""}${articles.length ? ` about ${several(articles.length, "headline")}` : ""}: ${reason} `,
    i === 0 && make("button", { class: "tool", type: "button", id: "undo", click: doing(() => restore(number)) }, "Undo")));
  return [make("h2", {}, "Withdrawn answers"), make("ul", { id: "withdrawals" }, items)];
}

const drawProgress = ({ answered, planned }) => answered > 0 && make("p", { id: "progress" }, `${answered} of ${planned} planned answers.`);

/* The commands that choose a weight by these answers. */
function drawTuning({ pairs, rated, tuning }) {
  const commands = Object.entries(tuning);
  if (!commands.length || !(pairs.length || rated.length)) return [];
  return [
    make("h2", {}, "The best weight by these answers"),
    make("p", {}, "Save the ratings where the runs were started: there this chooses the weight that people want, and reports its gain with an interval by cross-validation. Pictures that nobody saw count as the lowest."),
    ...commands.flatMap(([name, command]) => [make("p", {}, `${name}:`), make("pre", { class: "command" }, command)]),
  ];
}

/* The sentence about two runs: who is preferred, and what would tell them apart. */
const judge = ({ first_run: first, second_run: second, low, high }) => (low > 0 ? `${second} is preferred` : high < 0 ? `${first} is preferred` : "The answers do not tell the runs apart");

function tellMore({ power, n_more: more }) {
  if (power == null) return "";
  const missing = more == null ? "; more headlines alone, with these people, would not make it 80 %" : more > 0 ? `; about ${more} more answers for 80 %` : "";
  return `Another survey like this one would tell them apart with ${share(power)} probability${missing}.`;
}

function drawPair(pair) {
  const { first_run: first, second_run: second, preference: value } = pair;
  return [make("p", { id: "preference" }, `${judge(pair)}: ${signed(value)} (95 % interval ${range(pair, signed)}; +1: always ${second}, −1: always ${first})`), make("p", {}, tellMore(pair))];
}

/* The runs by strength, and every pair of them. */
function drawRanking({ pairs, strengths }) {
  const ranked = strengths.map((row, i) => ({ ...row, rank: i + 1, interval: range(row, signed) }));
  const interval = { label: "95 % interval" }, listed = pairs.map(row => {
    const [better, other] = row.preference < 0 ? [row.first_run, row.second_run] : [row.second_run, row.first_run];
    const value = Math.abs(row.preference), turned = row.preference < 0 ? { low: -row.high, high: -row.low } : row;
    return { ...row, pair: `${better} over ${other}`, clear: row.low > 0 || row.high < 0 ? "yes" : "no", value, interval: range(turned, signed) };
  });
  return [
    make("h2", {}, "Runs by strength"),
    ranked.length ? drawTable(ranked, { rank: {}, run: { number: false }, strength: { show: signed }, interval, preferred: { label: "preferred to an average run", show: share } }, { label: "Strengths", table: "strengths" })
      : make("p", {}, "The answers so far do not connect all runs."),
    make("h2", {}, "Every pair of runs"),
    make("p", {}, "Mean over the headlines in which the two show different pictures, of +1 where a person prefers the first-named run, −1 where the other, and 0 where neither. Each interval is that of its pair alone. Power: the probability that another survey like this one would tell the two apart; – if no number of answers would make it 80 %, with these people."),
    drawTable(listed, { pair: { label: "runs", number: false }, value: { label: "preference", show: signed }, interval, clear: { label: "told apart", number: false }, n_answers: { label: "answers" }, n_articles: { label: "headlines" }, power: { label: "power", show: share }, n_more: { label: "more answers for 80 %" } }, { label: "Preferences", table: "pairs" }),
  ];
}

function drawMeasured(results) {
  const { runs, pairs, quality, rated, n_answers: n } = results;
  if (rated.length) {
    const low = { label: "low", ...points }, high = { label: "high", ...points };
    return [make("h2", { id: "rated" }, "Mean rating of the first picture, with 95 % intervals"), drawTable(rated, { run: { number: false }, n_articles: { label: "headlines" }, mean: points, mean_low: low, mean_high: high }, { label: "Mean ratings" })];
  }
  if (!pairs.length) return [make("p", { id: "none" }, "There are no answers yet.")];
  const told = runs.length === 2 ? `${several(pairs[0].n_answers, "answer")} to ${several(pairs[0].n_articles, "headline")}` : several(n, "answer");
  const about = make("p", { id: "quality" }, `${told}. Left side chosen: ${share(quality.left_share)}. Same answer with sides swapped: ${share(quality.repeat_agreement)}. Attention checks passed: ${share(quality.check_share)}.`);
  return runs.length === 2 ? [...drawPair(pairs[0]), about] : [about, ...drawRanking(results)];
}

/* What is shown of each headline: the mean rating of each run, or the answers to a pair of pictures. */
function chooseColumns({ runs, rated }) {
  if (rated.length) return { ...Object.fromEntries(runs.map(run => [`mean/${run}`, { label: run, ...points }])), n_answers: { label: "answers" } };
  const others = { tie: {}, neither: { label: "neither fits" }, preference: { show: signed } };
  if (runs.length === 2) return { first: { label: runs[0] }, second: { label: runs[1] }, ...others };
  const names = { label: "picture of", number: false, show: one => one.replaceAll("+", "+\u200b") }, count = { label: "preferred" };
  return { first_runs: names, first: count, second_runs: names, second: count, ...others };
}

function draw(results) {
  const { headlines, people, withdrawals } = results, title = { headline: { label: "headline", number: false } };
  const shown = [drawProgress(results), drawMeasured(results), drawFiles(results), drawTuning(results)];
  if (headlines.length) shown.push(drawPicked(headlines, { ...title, ...chooseColumns(results), disagreement: points }, { key: "articles", id: "article_id", title: "headline", label: "Headlines", heading: "Headlines, those with the most disagreement first", ask: "Withdraw answers to the ticked headlines" }));
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
