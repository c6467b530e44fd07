/* The judging page: a headline, two pictures, and an answer that is on disk before the next question comes. */

import { find, initTheme, isTyping } from "../pages/dom.js";
import { request } from "./token.js";

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", ArrowUp: "neither", h: "headline_unclear", p: "picture_unusable" };
const state = { question: null, busy: true, shownAt: 0 };

/* Until the next pictures are shown, keys and buttons do nothing: no answer is given to a picture that was not seen. */
function setBusy(busy) {
  state.busy = busy;
  find("question").setAttribute("aria-busy", busy);
}

async function run(work) {
  setBusy(true);
  find("message").hidden = true;
  try {
    await show(await (await work()).json());
  } catch (error) {
    find("message").textContent = error.message;
    find("message").hidden = false;
  } finally {
    setBusy(false);
  }
}

async function show({ question, guidelines, answered, left, can_undo: canUndo }) {
  find("guidelinesText").textContent = guidelines;
  find("progress").textContent = `${answered} answered, ${left} left`;
  find("undo").disabled = find("undoLast").disabled = !canUndo;
  find("question").hidden = !question;
  find("done").hidden = Boolean(question);
  state.question = question;
  if (!question) return;
  find("headline").textContent = question.headline;
  find("lead").textContent = question.lead;
  find("lead").hidden = !question.lead;
  const single = question.kind === "rate";
  find("pair").classList.toggle("single", single);
  find("right").hidden = find("sides").hidden = single;
  find("points").hidden = !single;
  find("left").setAttribute("aria-label", single ? "The picture" : "The left picture fits better");
  await Promise.all((single ? ["left"] : ["left", "right"]).map(side => draw(question.assignment, side)));
  find("headline").focus();
  state.shownAt = performance.now();
}

async function draw(assignment, side) {
  const picture = find(`${side}Picture`);
  URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");  // one that cannot be read must not leave the last question's in its place
  const blob = await (await request(`judge/pictures/${assignment}/${side}`)).blob();
  picture.src = URL.createObjectURL(blob);
  await picture.decode();
}

const answer = choice => {
  if (state.busy || !state.question) return;
  const isPoints = /^[1-5]$/.test(choice), isOther = ["headline_unclear", "picture_unusable"].includes(choice);
  if (!isOther && isPoints !== (state.question.kind === "rate")) return;
  const seconds = (performance.now() - state.shownAt) / 1000;
  run(() => request("judge/answer", { assignment: state.question.assignment, choice, seconds }));
};

const undo = () => state.busy || run(() => request("judge/undo", {}));

function showWhole() {
  const whole = find("pair").classList.toggle("whole");
  find("whole").setAttribute("aria-pressed", whole);
}

for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => answer(button.dataset.choice));
find("undo").addEventListener("click", undo);
find("undoLast").addEventListener("click", undo);
find("whole").addEventListener("click", showWhole);
addEventListener("keydown", event => {
  if (isTyping(event) || event.repeat) return;
  const choice = KEYS[event.key] ?? (/^[1-5]$/.test(event.key) ? event.key : undefined);
  if (choice) answer(choice);
  else if (event.key === "z") undo();
  else if (event.key === "u") showWhole();
  else return;
  event.preventDefault();
});
const folded = "newsimg-guidelines-folded", guidelines = find("guidelines");
try { guidelines.open = !localStorage.getItem(folded); } catch { /* no storage */ }
guidelines.addEventListener("toggle", () => {
  try { guidelines.open ? localStorage.removeItem(folded) : localStorage.setItem(folded, "1"); } catch { /* no storage */ }
});
initTheme(find("theme"));
run(() => request("judge/next"));
