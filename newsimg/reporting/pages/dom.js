/* Elements, text, the theme and the state in the URL: what all pages use. */

export const find = id => document.getElementById(id);

/* Create an element. Strings become text, so that no headline or id is ever read as HTML;
   null, undefined and false are left out; `true` is an attribute without a value. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child != null && child !== false));
  return element;
}

/* Format a score. */
export function digits(value) {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(1);
  return size > 0 && size < 0.001 ? value.toExponential(1) : value.toFixed(4);
}

export const count = number => number.toLocaleString("en");

/* Lower case without accents, for searching. */
export const fold = text => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/* Return [start, end) of the folded text `sought` in `text`, or null. */
export function findFolded(text, sought) {
  if (!sought || !fold(text).includes(sought)) return null;
  let folded = "";
  const starts = [];
  let position = 0;
  for (const letter of text) {  // by code points: folding may change the length
    const plain = fold(letter);
    for (let i = 0; i < plain.length; i++) starts.push(position);
    folded += plain;
    position += letter.length;
  }
  starts.push(text.length);
  const at = folded.indexOf(sought);
  return at < 0 ? null : [starts[at], starts[at + sought.length]];
}

/* Light or dark: as the system's, until the button is used; the choice is kept by the browser. */
export function initTheme(button) {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", isDark());
  try { root.dataset.theme = localStorage.getItem("newsimg-theme") || root.dataset.theme || ""; } catch { /* no storage in a sandboxed frame */ }
  if (!["light", "dark"].includes(root.dataset.theme)) delete root.dataset.theme;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("newsimg-theme", root.dataset.theme); } catch { /* likewise */ }
    show();
  });
  show();
}

/* The page's state in the URL's hash: {name: text}. */
export const readHash = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/* Write what differs from `defaults` to the hash, without a new entry in the history. */
export function writeHash(values, defaults = {}) {
  const kept = Object.entries(values).filter(([name, value]) => value != null && String(value) !== String(defaults[name] ?? ""));
  const hash = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  try { history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* refused in a sandboxed frame */ }
}

/* Whether a key press is for a control or an open dialog, not for the page's shortcuts. */
export const isTyping = event => event.ctrlKey || event.metaKey || event.altKey || Boolean(document.querySelector("dialog[open]"))
  || event.target.matches?.("input:not([type=range], [type=checkbox], [type=radio]), select, textarea");
