/* The head of the comparison: tables of measures, tests and differing settings. */

import { make } from "./dom.js";

const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
const showP = p => p < 0.0001 ? "< 0.0001" : p.toFixed(4);

function drawHeadTable(caption, heads, rows) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map(head => make("th", { scope: "col" }, ...[head].flat())))), make("tbody", {}, ...rows)));
}

/* Tables of {names, folders, measures, tests, differences}; `number(run)` draws the number of a run. */
export function drawTables({ names, folders, measures, tests, differences }, number) {
  const interval = (low, high, show) => make("td", { class: "interval" }, `[${show(low)}, ${show(high)}]`);
  const runs = drawHeadTable("runs", ["run", ...measures.flatMap(({ name }) => [name, "95 % interval"])], names.map((name, i) =>
    make("tr", {}, make("th", { scope: "row", title: folders[i] }, number(i), name), ...measures.flatMap(({ values }) => {
      const [value, low, high] = values[i];
      return [make("td", { class: "gain" }, value.toFixed(4)), interval(low, high, bound => bound.toFixed(3))];
    }))));
  const tables = [runs];
  if (tests.length) tables.push(drawHeadTable("differences", ["runs", "measure", "difference", "95 % interval", "p"], tests.map(({ first, second, measure, value, low, high, p }) =>
    make("tr", {}, make("th", { scope: "row", class: "pair" }, number(second), "against ", number(first)), make("td", {}, measure),
      make("td", { class: `gain ${value > 0 ? "good" : value < 0 ? "bad" : "same"}` }, signed(value)), interval(low, high, signed), make("td", {}, showP(p))))));
  const keys = Object.entries(differences);
  if (keys.length) tables.push(drawHeadTable("what differs between the configs", ["option", ...names.map((name, i) => [number(i)])],
    keys.map(([key, values]) => make("tr", {}, make("th", { scope: "row" }, key), ...values.map(value => make("td", {}, value || "–"))))));
  return tables;
}
