/* The pictures of a search, before and after reranking: drawn once, then sorted in place. */

import { describeCut, drawMove, drawShares, drawStrip, drawTrack, drawWhy, placeShares, spanShares } from "/pages/card.js";
import { digits, make } from "/pages/dom.js";
import { openViewer } from "/pages/viewer.js";
import { interpolate, rankScores } from "./fusion.js";

const FACTS = 1000;  // milliseconds that the picture view waits for a picture's facts
const AFTERWARDS = 500;  // milliseconds until pictures below the screen are loaded
const LABELS = { before: "Before: retrieval", after: "After: reranked", similar: "Similar pictures" };

/* Draw a result into `main`.

   result: the server's answer; settings: {reranker, normalisation, weight}, which may be changed before `sort()`.
   options: {actions(item): further buttons of the picture view, facts: a promise that is settled when facts of pictures are known}.
   Returns {sort(fused), count(), describe(ref)}: `count` is of the pictures that moved, `describe` draws why a picture has its score, `sort` draws the order of `settings`, of given fused scores for a weight that is not linear. */
export function drawResult(main, result, settings, options) {
  const { headline, pictures } = result, candidates = headline.candidates, refs = headline.before, isPair = !result.sought;
  const data = { components: result.components, settings };
  const relevant = new Map((headline.relevant ?? []).map(one => [one[0], one]));
  const order = { before: refs, after: refs };
  let facts = options.facts;

  function open(stage, ref) {
    const shown = order[stage].map((one, i) => ({ picture: pictures[one], label: `${labelOf(stage)}, rank ${i + 1}`, detail: () => drawWhy(candidates[one], headline, data) }));
    const show = () => openViewer(shown, order[stage].indexOf(ref), { actions: options.actions });
    facts ? Promise.race([facts, new Promise(done => setTimeout(done, FACTS))]).then(show, show) : show();
  }
  Promise.resolve(facts).finally(() => { facts = null; });

  const labelOf = stage => isPair ? LABELS[stage] : LABELS.similar;
  const labelItem = (stage, ref, rank, score) => `${labelOf(stage)}, rank ${rank}: ${pictures[ref].id}, score ${digits(score)}${relevant.has(ref) ? ", the editor’s" : ""}`;
  const range = headline.range[0];
  function drawStage(stage) {
    const section = drawStrip(labelOf(stage), refs.map((ref, i) => ({ ref, picture: pictures[ref], rank: i + 1, marked: relevant.has(ref),
      label: labelItem(stage, ref, i + 1, candidates[ref].retrieval), open: () => open(stage, ref),
      score: [drawTrack(candidates[ref].retrieval, range), digits(candidates[ref].retrieval)] })), stage);
    for (const item of section.querySelectorAll("li")) {
      const { id } = pictures[item.dataset.ref];
      item.querySelector("img")?.setAttribute("loading", "lazy");
      item.append(make("span", { class: "name", title: id }, id));
    }
    return section;
  }

  if (!isPair) for (const candidate of Object.values(candidates)) delete candidate.rerank, delete candidate.fused;
  const stages = isPair ? [drawStage("before"), drawStage("after")] : [drawStage("before")];
  const notes = [];
  if (headline.truncated) notes.push(describeCut(headline.truncated));
  for (const [ref, id] of headline.relevant ?? []) if (!refs.includes(ref)) notes.push(`The editor’s picture ${id} is ${ref == null ? "not among the pictures" : "not among the candidates"}.`);
  main.className = isPair ? "wrap paired" : "wrap";
  main.replaceChildren(...notes.map(note => make("p", { class: "note" }, note)), ...stages);
  // Further pictures are loaded after those on the screen, and before the slider brings them there.
  setTimeout(() => main.querySelectorAll("img[loading]").forEach(image => image.removeAttribute("loading")), AFTERWARDS);
  const describe = ref => [make("h3", { class: "label" }, `${pictures[ref].id}${isPair ? `: #${candidates[ref].before} → #${candidates[ref].after}` : ""}`), drawWhy(candidates[ref], headline, data)];
  if (!isPair) return { sort() {}, count: () => 0, describe };

  const list = stages[1].querySelector("ol");
  const items = new Map([...list.children].map(item => [item.dataset.ref, { item, rank: item.querySelector(".rank"), button: item.querySelector("button"), ...fillScore(item.querySelector(".score")) }]));

  function sort(given) {
    const normalised = result.normalised[settings.normalisation], weight = settings.weight;
    const fused = normalised ? interpolate(...normalised, weight) : given;
    const ranked = rankScores(fused);
    order.after = ranked.map(i => refs[i]);
    ranked.forEach((i, rank) => Object.assign(candidates[refs[i]], { after: rank + 1, fused: fused[i],
      shares: normalised ? [(1 - weight) * normalised[0][i], weight * normalised[1][i]] : undefined }));
    const span = spanShares(refs.map(ref => candidates[ref])), range = [Math.min(...fused), Math.max(...fused)];
    headline.range[1] = range;
    for (const [ref, item] of items) {
      const candidate = candidates[ref], { before, after, shares } = candidate;
      if (item.after !== after) {
        item.rank.textContent = item.after = after;
        item.move.replaceWith(item.move = drawMove(before, after));
      }
      if (shares && item.bars && span[0] === item.low) placeShares(shares, span).forEach(([left, width], i) => Object.assign(item.bars[i].style, { left: `${left}%`, width: `${width}%` }));
      else {
        item.track.replaceWith(item.track = shares ? drawShares(shares, span) : drawTrack(candidate.fused, range, "rerank"));
        item.bars = shares && item.track.children;
        item.low = span[0];
      }
      item.value.data = digits(candidate.fused);
      item.button.setAttribute("aria-label", labelItem("after", ref, after, candidate.fused));
    }
    arrange(list, order.after.map(ref => items.get(ref).item));
  }
  return { sort, count: () => order.after.filter((ref, i) => ref !== refs[i]).length, describe };
}

/* Parts of a score that are changed in place, as this is done at each step of the slider. */
function fillScore(score) {
  const move = make("span"), track = make("span"), value = document.createTextNode("");
  score.replaceChildren(move, track, value);
  return { move, track, value };
}

/* Bring the children of a list into an order; only those that move are touched, and the focus stays. */
function arrange(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  children.forEach((child, i) => { if (list.children[i] !== child) list.insertBefore(child, list.children[i]); });
  focused?.focus({ preventScroll: true });
}
