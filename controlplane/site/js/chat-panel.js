// The chat beside the pictures: a button in the control bar, and a panel with what was said.

import { Chat, excessOf } from "./chat.js";
import { baseOf, displayName } from "./names.js";
import { controlButton, el, icon } from "./ui.js";

const SAID_MAX = 300; // older words go
const AT_END_PX = 40;

/**
 * Adds a chat to a page. `connection` carries it; call this before the connection starts, since the channel is made with
 * it. `live` is the page's live section. Returns the button for the control bar.
 */
export function chatPanel(connection, live) {
  const chat = new Chat(connection);
  let unread = 0;

  const log = el("ol", { class: "chat-log", role: "log", "aria-label": "What was said", tabindex: "0" });
  const hint = el("p", { class: "chat-hint", text: "Nobody has said anything since you came." });
  const field = el("input", { type: "text", name: "text", autocomplete: "off", placeholder: "Say something", "aria-label": "Your message", disabled: true });
  const send = el("button", { type: "submit", class: "primary", "aria-label": "Send", disabled: true }, icon("arrow"));
  const form = el("form", { class: "chat-form" }, field, send);
  const close = el("button", { type: "button", class: "icon-button", "aria-label": "Close the chat", onclick: () => show(false) }, icon("close"));
  const panel = el(
    "aside",
    { class: "chat", "aria-label": "Chat", hidden: true },
    el("header", {}, el("h2", { text: "Chat" }), close),
    el("div", { class: "chat-said" }, hint, log),
    form,
  );
  live.querySelector(".chat")?.remove(); // of an earlier try
  live.classList.remove("with-chat");
  live.append(panel);

  const button = controlButton({ name: "chat", icon: "chat", label: "Chat", onclick: () => show(panel.hidden) });
  button.element.setAttribute("aria-expanded", "false");
  const badge = el("span", { class: "badge", hidden: true });
  button.element.append(badge);

  function show(open) {
    panel.hidden = !open;
    live.classList.toggle("with-chat", open);
    button.element.setAttribute("aria-expanded", String(open));
    if (!open) return button.element.focus();
    count(0);
    log.scrollTop = log.scrollHeight;
    field.focus();
  }

  function count(n) {
    unread = n;
    badge.hidden = n === 0;
    badge.textContent = n > 99 ? "99+" : String(n);
    badge.setAttribute("aria-label", `${n} unread`);
  }

  function add(item) {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < AT_END_PX;
    hint.hidden = true;
    log.append(item);
    while (log.children.length > SAID_MAX) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  chat.addEventListener("message", ({ detail: { id, text } }) => {
    const own = id === connection.fullId;
    const before = log.lastElementChild;
    const goesOn = before?.dataset.id === id;
    const name = el("span", { class: "chat-name", text: own ? "You" : displayName(id), title: id });
    name.style.setProperty("--hue", String(hueOf(baseOf(id))));
    const item = el("li", { class: own ? "own" : "", "data-id": id }, goesOn ? null : name, el("p", { text }));
    add(item);
    if (panel.hidden && !own) count(unread + 1);
  });
  chat.addEventListener("notice", ({ detail: { text } }) => add(el("li", { class: "chat-notice", text: sentence(text) })));
  chat.addEventListener("open", ({ detail: { open } }) => {
    field.disabled = send.disabled = !open;
    field.placeholder = open ? "Say something" : "Not connected";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const excess = excessOf(field.value);
    if (excess > 0) return add(el("li", { class: "chat-notice", text: `That is ${excess} bytes too long.` }));
    if (chat.send(field.value)) field.value = "";
  });
  panel.addEventListener("keydown", ({ key }) => key === "Escape" && show(false));
  return button.element;
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

// The same person has the same colour everywhere.
function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}
