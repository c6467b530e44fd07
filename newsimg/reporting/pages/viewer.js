/* The picture view: the whole picture in a dialog, with what is known of it. */

import { count, make } from "./dom.js";

const LABELS = { title: "title", caption: "caption", author: "author", credit: "credit", licence: "licence", date: "date", place: "place", keywords: "keywords", source: "source", page_url: "page" };
const view = { dialog: null, items: [], position: 0, options: {} };

/* Open the picture view.

   items: [{picture, label, detail}]; `detail` is an element, or a function that draws one.
   position: of the item shown first; the arrow keys step through the others.
   options: {base: URL that relative paths are resolved against if the page's own does not do,
             onClose(position), actions(item) -> elements beside 'Copy id'}. */
export function openViewer(items, position, options = {}) {
  if (!view.dialog) buildViewer();
  Object.assign(view, { items, options, opener: document.activeElement });
  showItem(position);
  if (!view.dialog.open) view.dialog.showModal();
}

function buildViewer() {
  view.status = make("p", { role: "status" });
  view.figure = make("figure");
  view.side = make("aside", { tabindex: "0", "aria-label": "About the picture" });
  view.dialog = make("dialog", { class: "viewer", "aria-label": "Picture" }, view.figure, view.side);
  view.dialog.addEventListener("close", () => {
    if (view.opener?.isConnected) view.opener.focus();
    view.options.onClose?.(view.position);
  });
  view.dialog.addEventListener("click", event => { if (event.target === view.dialog) view.dialog.close(); });
  view.dialog.addEventListener("keydown", event => {
    const to = { ArrowLeft: view.position - 1, ArrowRight: view.position + 1, Home: 0, End: view.items.length - 1 }[event.key];
    if (to === undefined || event.target.matches("input, textarea")) return;
    event.preventDefault();
    showItem(to);
  });
  document.body.append(view.dialog);
}

function showItem(position) {
  if (position < 0 || position >= view.items.length) return;
  view.position = position;
  const { picture, label, detail } = view.items[position];
  const step = (by, name, text) => make("button", { type: "button", class: `step ${name}`, "aria-label": by < 0 ? "Previous picture" : "Next picture",
    disabled: !view.items[position + by], hidden: !view.items[position + by], click: () => showItem(view.position + by) }, text);
  view.status.textContent = "";
  view.figure.replaceChildren(drawWhole(picture), step(-1, "back", "‹"), step(1, "on", "›"));
  view.side.replaceChildren(
    make("p", { class: "label" }, `${label ?? "Picture"} · ${position + 1} of ${view.items.length}`),
    make("h2", { dir: "auto" }, picture.metadata?.title || picture.id), drawTools(picture), view.status, drawFacts(picture),
    ...[typeof detail === "function" ? detail() : detail].filter(Boolean));
  view.side.scrollTop = 0;
  // A button that has gone takes the focus with it.
  if (view.dialog.open && !view.dialog.contains(document.activeElement)) view.side.focus();
}

/* Where the whole picture may be: its path from the page, the same from where the page was written, the thumbnail. */
function listSources(picture) {
  const sources = [];
  for (const base of [document.baseURI, view.options.base]) {
    if (picture.full && base && URL.canParse(picture.full, base)) sources.push(new URL(picture.full, base).href);
  }
  if (picture.thumb) sources.push(picture.thumb);
  return [...new Set(sources)];
}

function drawWhole(picture) {
  const sources = listSources(picture), image = make("img", { alt: picture.metadata?.title || picture.id });
  image.addEventListener("error", () => {
    sources.shift();
    if (sources.length) image.src = sources[0];
    else image.replaceWith(make("p", { class: "none" }, "This picture cannot be read."));
    if (view.items[view.position].picture !== picture) return;
    if (sources[0] === picture.thumb && sources.length) view.status.textContent = picture.full ? "The picture’s file cannot be loaded; this is its thumbnail." : "This is the thumbnail.";
    updateLinks(sources[0]);
  });
  if (!sources.length) return make("p", { class: "none" }, "This picture cannot be read.");
  if (!picture.full) view.status.textContent = "This is the thumbnail.";
  image.src = sources[0];
  return image;
}

function drawTools(picture) {
  const name = picture.id.split("/").pop(), [source] = listSources(picture);
  const tools = make("div", { class: "tools" },
    make("button", { type: "button", class: "tool", click: () => copyText(picture.id) }, "Copy id"),
    make("a", { class: "tool", "data-open": true, target: "_blank", rel: "noopener" }, "Open"),
    make("a", { class: "tool", "data-download": true, download: name, target: "_blank", rel: "noopener" }, "Download"),
    ...(view.options.actions?.(view.items[view.position]) ?? []),
    make("button", { type: "button", class: "tool", click: () => view.dialog.close() }, "Close"));
  updateLinks(source, tools);
  return tools;
}

function updateLinks(source, tools = view.side) {
  const open = tools.querySelector("[data-open]"), download = tools.querySelector("[data-download]");
  open.hidden = !source || source.startsWith("data:");  // browsers do not open data: addresses
  download.hidden = !source;
  for (const link of [open, download]) source ? link.setAttribute("href", source) : link.removeAttribute("href");
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    view.status.textContent = `Copied ${text}`;
  } catch {
    view.status.textContent = `The browser does not allow copying; the id is ${text}`;
  }
}

/* Format a size in bytes. */
export function formatBytes(bytes) {
  return bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function drawFacts(picture) {
  const facts = [["id", picture.id]];
  if (picture.width) facts.push(["size", `${count(picture.width)} × ${count(picture.height)} pixels${picture.bytes ? `, ${formatBytes(picture.bytes)}` : ""}`]);
  for (const [key, value] of Object.entries(picture.metadata ?? {})) if (value != null && value !== "") facts.push([LABELS[key] ?? key, value]);
  return make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, drawValue(value))]));
}

/* A link for http(s) only; any other text stays text. */
function drawValue(value) {
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  return /^https?:\/\//i.test(text) && URL.canParse(text) ? make("a", { href: text, target: "_blank", rel: "noopener noreferrer" }, text) : text;
}
