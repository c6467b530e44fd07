/* A tip beside a picture of a strip, while the pointer or the keyboard's focus is on it. */

import { make } from "./dom.js";

const HOVER = 100;  // milliseconds: pictures that scroll past the pointer are not hovered over

/* Show `describe(item)`, elements, beside the items of strips in a container. Returns a function that hides the tip. */
export function initTip(container, describe) {
  const tip = make("div", { class: "tip", id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  let hovering;
  function show(item) {
    tip.replaceChildren(...describe(item));
    tip.hidden = false;
    const box = item.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, box.left + box.width / 2 - width / 2))}px`;
    tip.style.top = `${box.bottom + height + 10 < innerHeight ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
  }
  function hide() {
    clearTimeout(hovering);
    tip.hidden = true;
  }
  function awaitHover() {
    hide();
    hovering = setTimeout(() => {
      const item = container.querySelector(".strip li:hover");
      if (item && !document.querySelector("dialog[open]")) show(item);
    }, HOVER);
  }
  container.addEventListener("mouseover", awaitHover);
  container.addEventListener("mouseleave", hide);
  container.addEventListener("focusin", event => { const item = event.target.closest(".strip li"); if (item && event.target.matches(":focus-visible")) show(item); });
  container.addEventListener("focusout", hide);
  container.addEventListener("click", hide);
  addEventListener("scroll", awaitHover, { passive: true });
  return hide;
}
