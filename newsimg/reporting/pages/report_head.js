/* The head of the report: measures with intervals, and the curve over the weight. */

import { formatWeight } from "./card.js";
import { make } from "./dom.js";

const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);

/* One row per measure: {name, before, after, low, high, p}; the interval and p may be missing. */
export function drawMeasures(measures) {
  return measures.map(({ name, before, after, low, high, p }) => {
    const gain = after - before, way = gain > 0 ? "good" : gain < 0 ? "bad" : "same";
    const test = low == null ? "" : `95 % [${signed(low)}, ${signed(high)}], ${p < 0.0001 ? "p < 0.0001" : `p = ${p.toFixed(4)}`}`;
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, `${before.toFixed(4)} → ${after.toFixed(4)}`),
      make("td", { class: `gain ${way}` }, signed(gain)), make("td", { class: "test" }, test));
  });
}

const WIDTH = 200, HEIGHT = 64;

function makeSvg(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/* The curve {name, points: [[weight, value]], weight, value, best: [low, high, value]} with the run's weight marked. */
export function drawCurve({ name, points, weight, value, best }) {
  const values = points.map(point => point[1]), low = Math.min(...values), high = Math.max(...values);
  const x = at => (at * WIDTH).toFixed(1), y = of => (HEIGHT - 4 - (high > low ? (of - low) / (high - low) : 0.5) * (HEIGHT - 8)).toFixed(1);
  const summary = `${name} is ${value.toFixed(4)} at this run’s weight ${formatWeight(weight)}; the best, ${best[2].toFixed(4)}, is at ${[...new Set(best.slice(0, 2).map(formatWeight))].join(" to ")}.`;
  const svg = makeSvg("svg", { width: WIDTH, height: HEIGHT + 16, viewBox: `0 0 ${WIDTH} ${HEIGHT + 16}`, role: "img", "aria-label": `${name} over the weight. ${summary}` });
  svg.append(makeSvg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
    makeSvg("path", { class: "line", d: points.map(([at, of], i) => `${i ? "L" : "M"}${x(at)} ${y(of)}`).join("") }),
    makeSvg("line", { class: "own", x1: x(weight), x2: x(weight), y1: 0, y2: HEIGHT }),
    makeSvg("text", { x: 0, y: HEIGHT + 13 }, "weight 0"), makeSvg("text", { x: WIDTH, y: HEIGHT + 13, "text-anchor": "end" }, "1"));
  return [svg, make("figcaption", {}, summary)];
}
