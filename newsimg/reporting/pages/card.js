/* A headline with its candidates before and after reranking, and why they have their scores. */

import { digits, findFolded, make } from "./dom.js";
import { openViewer } from "./viewer.js";

const LONG = 400;  // letters of a headline that is shown in part

/* A picture in a box, whole. options: {marked, label, open: function called on click or Enter}. */
export function drawPicture(picture, rank, options = {}) {
  const { marked, label, open } = options;
  const none = () => make("span", { class: "none" }, "cannot be read");
  const image = picture.thumb ? make("img", { src: picture.thumb, alt: "", decoding: "async" }) : none();
  if (picture.thumb) image.addEventListener("error", () => image.replaceWith(none()));
  return make(open ? "button" : "span", { class: marked ? "picture marked" : "picture", type: open && "button", "aria-label": open && (label ?? picture.id), click: open ?? null },
    image, rank ? make("span", { class: "rank" }, String(rank)) : null, marked ? make("span", { class: "flag" }, "editor’s") : null);
}

/* A bar from the least to the largest of a range. */
export function drawTrack(value, [low, high], className = "") {
  const share = high > low ? (value - low) / (high - low) : 1;
  return make("span", { class: "track" }, make("i", { class: className, style: `left:0;width:${(4 + 96 * share).toFixed(1)}%` }));
}

/* Least and largest end of the stacked bars of some candidates, zero included. */
export function spanShares(candidates) {
  const sums = candidates.filter(one => one.shares).flatMap(({ shares: [a, b] }) =>
    [Math.min(a, 0) + Math.min(b, 0), Math.max(a, 0) + Math.max(b, 0)]);
  return [Math.min(0, ...sums), Math.max(0, ...sums)];
}

/* Left edge and width, in percent, of the stacked shares of retrieval and reranker, negative ones to the left of zero. */
export function placeShares(shares, [low, high]) {
  const place = value => 100 * (high > low ? (value - low) / (high - low) : 0);
  let up = 0, down = 0;
  return shares.map(share => {
    const from = share < 0 ? down + share : up;
    share < 0 ? (down += share) : (up += share);
    return [place(from), place(from + Math.abs(share)) - place(from)];
  });
}

/* The shares of retrieval and reranker, stacked. */
export function drawShares(shares, span) {
  const bars = placeShares(shares, span).map(([left, width], i) => make("i", { class: i ? "rerank" : "retrieval", style: `left:${left.toFixed(2)}%;width:${width.toFixed(2)}%` }));
  return make("span", { class: "track" }, ...bars, span[0] < 0 ? make("i", { class: "zero", style: `left:${placeShares([0], span)[0][0].toFixed(2)}%` }) : null);
}

/* ▲ or ▼ and the number of ranks; '=' for none. */
export function drawMove(before, after) {
  const by = before - after;
  if (!by) return make("span", { class: "move same", title: "did not move" }, "=");
  return make("span", { class: `move ${by > 0 ? "good" : "bad"}`, title: `was ${before}` }, `${by > 0 ? "▲" : "▼"}${Math.abs(by)}`);
}

const nameRow = (name, ...cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map(cell => make("td", {}, cell ?? "")));
const drawTable = (title, ...rows) => make("table", {}, make("caption", {}, title), ...rows);
const rangeOf = values => [Math.min(...values), Math.max(...values)];

/* Why a candidate has its score: the shares that add up to the fused score, raw scores, components,
   members of an ensemble, captions. `data` is the page's: components, settings. */
export function drawWhy(candidate, headline, data) {
  const all = Object.values(headline.candidates), { weight, normalisation } = data.settings ?? {};
  const spread = of => rangeOf(all.map(of));
  const parts = [];
  if (candidate.shares) {
    const span = spanShares(all), [retrieval, rerank] = candidate.shares, normal = normalisation && normalisation !== "none" ? ` (${normalisation})` : "";
    const total = nameRow("fused", drawShares(candidate.shares, span), digits(candidate.fused));
    total.className = "sum";
    parts.push(drawTable(`shares of the fused score${normal}`,
      nameRow(weight == null ? "retrieval" : `retrieval × ${formatWeight(1 - weight)}`, drawShares([retrieval, 0], span), digits(retrieval)),
      nameRow(weight == null ? "reranker" : `reranker × ${formatWeight(weight)}`, drawShares([0, rerank], span), digits(rerank)), total));
  }
  parts.push(drawTable("raw scores",
    candidate.retrieval != null && nameRow("retrieval", drawTrack(candidate.retrieval, headline.range?.[0] ?? spread(one => one.retrieval)), digits(candidate.retrieval)),
    candidate.rerank != null && nameRow("reranker", drawTrack(candidate.rerank, spread(one => one.rerank), "rerank"), digits(candidate.rerank)),
    !candidate.shares && candidate.fused != null && nameRow("fused", drawTrack(candidate.fused, headline.range?.[1] ?? spread(one => one.fused)), digits(candidate.fused))));
  const members = Object.entries(candidate.members ?? {});
  const components = (data.components ?? []).map((name, i) => [name, i]).filter(([name]) => candidate.components && !(name in (candidate.members ?? {})));
  if (components.length) parts.push(drawTable("what the reranker scores", ...components.map(([name, i]) =>
    nameRow(name, drawTrack(candidate.components[i], spread(one => one.components[i]), "rerank"), digits(candidate.components[i])))));
  if (members.length) parts.push(drawTable("members of the ensemble: share × normalised score", ...members.map(([name, [share, score]]) =>
    nameRow(name, `${formatWeight(share)} × ${digits(score)}`, digits(share * score)))));
  if (headline.captions?.length) parts.push(make("p", { class: "label" }, "captions of the headline"),
    make("ul", {}, ...headline.captions.map((caption, i) => make("li", { dir: "auto", class: i === candidate.caption ? "best" : null }, caption, i === candidate.caption ? " (matches best)" : ""))));
  if (headline.truncated) parts.push(make("p", {}, describeCut(headline.truncated)));
  for (const [name, text] of Object.entries(candidate.explanations ?? {})) {
    parts.push(make("p", { class: "label" }, `${name}, in the model's words`), make("p", { dir: "auto" }, text));
  }
  return make("div", { class: "why" }, ...parts);
}

export const formatWeight = weight => String(Number(weight.toFixed(4)));

export function describeCut(truncated) {
  return typeof truncated === "number" ? `The backbone read the first ${truncated} tokens of this headline only.` : "The backbone read only the beginning of this headline.";
}

/* A row of pictures. items: [{picture, rank, marked, label, score: elements below it, open, ref}]. */
export function drawStrip(label, items, className = "") {
  return make("section", { class: `stage ${className}` }, make("p", { class: "label" }, ...[label].flat()),
    make("ol", { class: "strip" }, ...items.map(item => make("li", { "data-ref": item.ref },
      drawPicture(item.picture, item.rank, item), item.score ? make("span", { class: "score" }, item.score) : null))));
}

/* The headline, with the folded text `sought` marked; of a long one the first lines. */
export function drawTitle(title, sought = "") {
  const heading = make("h2", { dir: "auto" }), at = findFolded(title, sought);
  if (at) heading.append(title.slice(0, at[0]), make("mark", {}, title.slice(...at)), title.slice(at[1]));
  else heading.textContent = title;
  if (title.length > LONG && !(at && at[0] > LONG / 2)) heading.className = "long";
  return heading;
}

const isRelevant = (headline, ref) => (headline.relevant ?? []).some(one => one[0] === ref);

/* The items of one stage, "before" or "after", for `drawStrip`. */
export function listItems(headline, stage, label, data) {
  const after = stage === "after", refs = headline[stage], candidates = headline.candidates;
  const span = spanShares(Object.values(candidates));
  const items = refs.map(ref => {
    const candidate = candidates[ref], rank = candidate[stage], marked = isRelevant(headline, ref);
    const value = after ? candidate.fused : candidate.retrieval;
    const bar = after && candidate.shares ? drawShares(candidate.shares, span) : drawTrack(value, headline.range?.[after ? 1 : 0] ?? [0, value], after ? "rerank" : "");
    const picture = data.pictures[ref];
    return { ref, picture, rank, marked, score: [after && candidate.before ? drawMove(candidate.before, candidate.after) : null, bar, digits(value)],
      label: `${label}, rank ${rank}: ${picture.id}, score ${digits(value)}${marked ? ", the editor’s" : ""}` };
  });
  const shown = items.map(item => ({ picture: item.picture, label: `${label}, rank ${item.rank}`, detail: () => drawWhy(candidates[item.ref], headline, data) }));
  items.forEach((item, i) => { item.open = () => openViewer(shown, i, { base: data.base }); });
  return items;
}

const describeMove = (before, after) => before == null ? "not among the candidates" : before === after ? `stays #${after}` : [`#${before} → `, make("b", {}, `#${after}`), " ", drawMove(before, after)];

/* The editors' pictures of a headline; `describe` writes what follows the id in `relevant` below each. */
export function drawEditors(headline, data, describe = describeMove) {
  const known = headline.relevant ?? [], shown = known.filter(([ref]) => ref != null).map(([ref]) => ({ picture: data.pictures[ref], label: "Editor’s picture",
    detail: () => headline.candidates?.[ref] ? drawWhy(headline.candidates[ref], headline, data) : null }));
  let position = 0;
  const parts = known.map(([ref, id, ...ranks]) => {
    if (ref == null) return make("p", { class: "path" }, `${id} is not among the pictures`);
    const i = position++;
    return make("div", {}, drawPicture(data.pictures[ref], null, { marked: true, label: `Editor’s picture: ${id}`, open: () => openViewer(shown, i, { base: data.base }) }),
      make("p", { class: "path", title: id }, describe(...ranks)));
  });
  if (!parts.length) parts.push(make("p", { class: "path" }, "not known"));
  return make("div", { class: "editors", role: "group", "aria-label": "Editor’s picture" }, make("p", { class: "label" }, "Editor’s picture"), ...parts,
    headline.gap == null ? null : make("p", { class: "gap" }, `first leads by ${digits(headline.gap)}`));
}

/* The card of a headline.

   data: the page's; its `pictures`, `components`, `settings`, `base` and `judged` are used.
   options: {badge: {text, className, title}, sought: folded text to mark, before, after: labels,
             lazy: whether the body is drawn later, by `article.fill()`,
             editors, strips: functions that return the elements of the body, instead of the editors' pictures
             and of the candidates before and after}. */
export function drawCard(headline, data, options = {}) {
  const { badge, sought, lazy, before = "Before: retrieval", after = "After: reranked" } = options;
  const drawStages = () => [["before", before], ["after", after]].filter(([stage]) => headline[stage]).map(([stage, label]) => drawStrip(label, listItems(headline, stage, label, data), stage));
  const { editors = () => drawEditors(headline, data), strips = drawStages } = options;
  const heading = drawTitle(headline.title, sought);
  const article = make("article", { class: "card", tabindex: "-1", "data-id": headline.id },
    make("header", {}, heading, make("span", { class: "id", dir: "auto" }, headline.id),
      headline.confidence == null ? null : make("span", { class: "id", title: "Probability that the first picture is the right one" }, `confidence ${(100 * headline.confidence).toFixed(0)} %`), badge ? make("span", { class: `badge ${badge.className ?? ""}`, title: badge.title }, badge.text) : null));
  if (heading.className === "long") article.append(make("button", { type: "button", class: "tool", click: event => { heading.classList.remove("long"); event.target.remove(); } }, "Show the whole headline"));
  article.headline = headline;
  article.fill = () => {
    article.fill = () => {};
    if (headline.truncated) article.append(make("p", { class: "cut" }, describeCut(headline.truncated)));
    article.append(make("div", { class: data.judged ? "body judged" : "body" }, data.judged ? editors() : null, make("div", {}, ...strips())));
  };
  if (!lazy) article.fill();
  return article;
}
