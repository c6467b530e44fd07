/* The results of a judging, for whoever has the link to them. */

import { find, make } from "/pages/dom.js";
import { request } from "./token.js";

const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
const share = value => (value == null ? "–" : `${(100 * value).toFixed(0)} %`);

function drawTable(rows, columns) {
  const head = Object.entries(columns).map(([name, { label, number = true }]) => make("th", { scope: "col", class: number && "number" }, label ?? name));
  const body = rows.map(row => make("tr", {}, Object.entries(columns).map(([name, { show = String, number = true }]) => make("td", { class: number && "number" }, row[name] == null ? "–" : show(row[name])))));
  return make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
}

function draw({ runs, preference, rated, needed, headlines, people }) {
  const [first, second] = runs, results = find("results"), points = { show: one => one.toFixed(2) };
  if (rated.length) {
    return results.append(
      make("h2", { id: "rated" }, "Mean rating of the first picture, with 95 % intervals"),
      drawTable(rated, { run: { number: false }, n_articles: { label: "headlines" }, mean: points, mean_low: { label: "low", ...points }, mean_high: { label: "high", ...points } }),
    );
  }
  if (!preference) return results.append(make("p", {}, "There are no answers yet."));
  const { value, low, high } = preference;
  const clear = low > 0 ? `${second} is preferred` : high < 0 ? `${first} is preferred` : "the answers do not tell the runs apart";
  results.append(
    make("p", { id: "preference" }, `${clear}: ${signed(value)} (95 % interval ${signed(low)} to ${signed(high)}; +1: always ${second}, −1: always ${first})`),
    make("p", {}, `${preference.n_answers} answers to ${preference.n_articles} headlines. Left side chosen: ${share(preference.left_share)}. Same answer with sides swapped: ${share(preference.repeat_agreement)}. Attention checks passed: ${share(preference.check_share)}.`),
    make("p", {}, needed && `${needed[0].toUpperCase()}${needed.slice(1)}.`),
    make("h2", {}, "Headlines, those with the most disagreement first"),
    drawTable(headlines, { headline: { label: "headline", number: false }, first: { label: first }, second: { label: second }, tie: {}, neither: { label: "neither fits" }, preference: { show: signed }, disagreement: { show: one => one.toFixed(2) } }),
    make("h2", {}, "People"),
    drawTable(people, { rater: { number: false }, n_answers: { label: "answers" }, checks_passed: { label: "checks passed", show: share }, repeat_agreement: { label: "same answer again", show: share }, median_seconds: { label: "seconds", show: one => one.toFixed(1) } }),
  );
}

request("/judge/results").then(answer => answer.json()).then(draw).catch(error => {
  find("message").textContent = error.message;
  find("message").hidden = false;
});
