// The form that sets a token, and the links that carry it.

import { nameProblem, randomText } from "./names.js";
import { problemOf, setToken } from "./operator.js";
import { copyText, el, icon, toast } from "./ui.js";

const PRIVATE_PORT = "9443";
const PUBLIC_PORT = "8443";

const form = document.getElementById("token-form");

/** The room of the page is the room of the form, unless somebody types another one there. */
export function showRoom(room) {
  form.elements.room.value = room;
}

form.elements.token.value = randomText(20);
form.elements.site.value =
  location.port === PRIVATE_PORT ? `${location.protocol}//${location.hostname}:${PUBLIC_PORT}` : location.origin;
form.elements.fresh.addEventListener("click", () => {
  form.elements.token.value = randomText(20);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { room, id, token, role, site } = form.elements;
  const error = document.getElementById("token-error");
  // Tokens belong to the ID, which is the part of a Full ID before the "+".
  const name = id.value.trim().split("+")[0];
  const wrong = nameProblem(room.value) || nameProblem(name) || (token.value ? "" : "A token is needed.");
  error.textContent = wrong;
  if (wrong) return;

  const roles = role.value === "both" ? ["pub", "sub"] : [role.value];
  for (const one of roles) {
    const response = await setToken(one, { room: room.value, id: name, token: token.value });
    if (!response?.ok) {
      error.textContent = `The server refused it: ${response ? await problemOf(response) : "it can’t be reached"}.`;
      return;
    }
  }
  showLinks({ room: room.value, id: name, token: token.value, role: role.value, site: site.value });
  toast(`Token set for ${name}.`);
});

/** Links that carry the room, the name and the token. The token stands behind the #: browsers don't send that part anywhere. */
function showLinks({ room, id, token, role, site }) {
  const pages = {
    pub: [["publish.html", "Publish"]],
    sub: [["watch.html", "Watch"]],
    both: [["conference.html", "Conference"], ["audio.html", "Audio chat"]],
  }[role];
  const rows = pages.map(([page, title]) => {
    let link;
    try {
      const url = new URL(page, `${site.replace(/\/+$/, "")}/`);
      url.search = new URLSearchParams({ room, id }).toString();
      url.hash = new URLSearchParams({ token }).toString();
      link = url.href;
    } catch {
      return el("li", { text: "The public address above isn’t a web address." });
    }
    const copy = { type: "button", class: "icon-button", "aria-label": `Copy the ${title} link`, onclick: () => copyText(link) };
    return el("li", {}, el("a", { href: link, text: `${title} as ${id}` }), el("button", copy, icon("link")));
  });
  document.getElementById("links").replaceChildren(...rows);
  document.getElementById("links-box").hidden = false;
}
