// Small pieces of interface that all pages share. Text from other people only ever becomes text nodes, never markup.

/** Makes an element. `text`, `class`, `on<event>` functions and plain attributes; `false` and null attributes are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `img/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** A round button of a control bar: icon, and a label that small screens only tell to screen readers. */
export function controlButton({ name, icon: iconName, label, kind = "", onclick }) {
  const text = el("span", { text: label });
  const button = el("button", { type: "button", class: `control ${kind}`, "data-control": name, onclick }, icon(iconName), text);
  return {
    element: button,
    set(newIcon, newLabel, { off = false } = {}) {
      button.replaceChild(icon(newIcon), button.firstChild);
      text.textContent = newLabel;
      button.classList.toggle("off", off);
    },
  };
}

const toasts = el("div", { class: "toasts", role: "status", "aria-live": "polite" });
const TOAST_MS = 5000;
const TOASTS_MAX = 4;

/** A short notice that goes away by itself; also read out by screen readers. */
export function toast(text, kind = "") {
  if (!toasts.isConnected) document.body.append(toasts);
  const item = el("p", { class: `toast ${kind}`, text });
  toasts.append(item);
  while (toasts.children.length > TOASTS_MAX) toasts.firstChild.remove();
  setTimeout(() => item.remove(), TOAST_MS);
}
document.body?.append(toasts); // live regions must exist before their text does

/** The query parameters of the page: `?room=&id=&token=&auto=1&source=`. A token may also stand behind the `#`. */
export const params = (() => {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) query.set(key, value);
  return query;
})();

/** Takes the token out of the address bar, so that it isn't shared or bookmarked by accident. */
export function hideToken() {
  const url = new URL(location.href);
  const hash = new URLSearchParams(url.hash.slice(1));
  if (!url.searchParams.has("token") && !hash.has("token")) return;
  url.searchParams.delete("token");
  hash.delete("token");
  url.hash = hash.toString();
  history.replaceState(null, "", url);
}

/** Shows one of the page's `<section data-view="...">`s and hides the others. */
export function showView(name) {
  for (const view of document.querySelectorAll("[data-view]")) view.hidden = view.dataset.view !== name;
  document.body.dataset.state = name;
  document.querySelector(`[data-view="${name}"] [data-focus]`)?.focus({ preventScroll: true });
}

/** An address of this site for others: `page` with `room` (and more) filled in. */
export function linkTo(page, values) {
  const url = new URL(page, document.baseURI);
  url.search = new URLSearchParams(values).toString();
  url.hash = "";
  return url.href;
}

export async function copyText(text, what = "Link") {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied.`);
  } catch {
    prompt(`Copy this ${what.toLowerCase()}:`, text); // no clipboard on plain http pages
  }
}
