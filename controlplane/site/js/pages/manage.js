// Manage: who is in a room, and tokens. This is the operator's side, the private API:
//
//   GET    /list/pub/{room}, /list/sub/{room}   Full IDs (a JSON array, with Accept: application/json)
//   POST   /create/pub, /create/sub             {"room", "id", "token"} sets that ID's token
//   GET    /rooms                               what is live: rooms, their sessions, tracks and codecs
//   DELETE /rooms/{room}/{pub|sub}/{full id}    disconnects one; DELETE /rooms/{room} disconnects all
//
// It is served on the private port only (127.0.0.1:9443 unless changed); /list and /create on the public one too, with --debug.

import { displayName, nameProblem, randomText } from "../names.js";
import { avatar } from "../tile.js";
import { copyText, el, icon, params, toast } from "../ui.js";

const REFRESH_MS = 2000;
const PRIVATE_PORT = "9443";
const PUBLIC_PORT = "8443";

const roomForm = document.getElementById("room-form");
const tokenForm = document.getElementById("token-form");
const room = roomForm.elements.room;
const blocked = document.getElementById("blocked");
const panels = document.getElementById("panels");
let roomsServed = true; // by the private port; not by a public one with --debug

room.value = params.get("room") || "lobby";
tokenForm.elements.room.value = room.value;
tokenForm.elements.token.value = randomText(20);
tokenForm.elements.site.value =
  location.port === PRIVATE_PORT ? `${location.protocol}//${location.hostname}:${PUBLIC_PORT}` : location.origin;

room.addEventListener("input", () => {
  tokenForm.elements.room.value = room.value;
  shown.clear();
  refresh();
});
roomForm.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});

/** What is on screen, so that a list that didn't change keeps its focus. */
const shown = new Map();

async function list(role) {
  const response = await fetch(`/list/${role}/${encodeURIComponent(room.value)}`, {
    headers: { Accept: "application/json" },
    cache: "no-store",
  });
  if (!response.ok || !(response.headers.get("Content-Type") ?? "").includes("json")) return null;
  const ids = await response.json();
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : null;
}

/** All rooms that are live, or none when this port doesn't tell. */
async function liveRooms() {
  if (!roomsServed) return [];
  const response = await fetch("/rooms", { headers: { Accept: "application/json" }, cache: "no-store" });
  roomsServed = response.ok;
  return response.ok ? response.json() : [];
}

async function refresh() {
  const error = document.getElementById("room-error");
  error.textContent = nameProblem(room.value);
  if (error.textContent) return;
  try {
    const [publishers, subscribers] = await Promise.all([list("pub"), list("sub")]);
    const available = publishers !== null && subscribers !== null;
    blocked.hidden = available;
    panels.hidden = !available;
    if (!available) return;
    const live = await liveRooms();
    const here = live.find((one) => one.room === room.value);
    showRooms(live);
    showMembers("pub", publishers, here?.publishers);
    showMembers("sub", subscribers, here?.subscribers);
    document.getElementById("offline").hidden = true;
  } catch {
    document.getElementById("offline").hidden = false;
  }
}

function showRooms(live) {
  const key = JSON.stringify([room.value, live.map((one) => [one.room, one.publishers.length, one.subscribers.length])]);
  if (shown.get("rooms") === key) return;
  shown.set("rooms", key);
  const chips = live.map((one) => {
    const choose = () => {
      room.value = one.room;
      room.dispatchEvent(new Event("input"));
    };
    const count = `${one.publishers.length} on air, ${one.subscribers.length} watching`;
    const current = one.room === room.value ? "true" : null;
    return el("li", {}, el("button", { type: "button", class: "chip", "aria-current": current, onclick: choose }, el("strong", { text: one.room }), el("span", { text: count })));
  });
  document.getElementById("rooms").replaceChildren(...chips);
  document.getElementById("rooms-box").hidden = chips.length === 0;
}

/** `VP8, opus · for 3 min`, from what /rooms tells of a session. */
function describe(session) {
  if (!session) return "";
  const codecs = [...new Set(session.tracks.map((track) => track.codec))].join(", ");
  const minutes = Math.floor(session.seconds / 60);
  const time = session.connected ? (minutes ? `for ${minutes} min` : "just now") : "connecting";
  return codecs ? `${codecs} · ${time}` : time;
}

function showMembers(role, ids, sessions = []) {
  const details = new Map(sessions.map((session) => [session.id, describe(session)]));
  const key = JSON.stringify(ids.map((id) => [id, details.get(id)]));
  if (shown.get(role) === key) return;
  shown.set(role, key);
  document.getElementById(`${role}-count`).textContent = String(ids.length);
  const items = ids.map((id) =>
    el(
      "li",
      {},
      avatar(displayName(id)),
      el("span", { class: "member" }, el("strong", { text: displayName(id) }), el("code", { text: id }), el("small", { text: details.get(id) ?? "" })),
      roomsServed
        ? el("button", { type: "button", class: "quiet", "aria-label": `Disconnect ${id}`, onclick: () => disconnect(role, id), text: "Disconnect" })
        : null,
    ),
  );
  document.getElementById(`${role}-list`).replaceChildren(
    ...(items.length ? items : [el("li", { class: "none", text: role === "pub" ? "Nobody is publishing." : "Nobody is watching." })]),
  );
}

async function disconnect(role, id) {
  const path = `/rooms/${encodeURIComponent(room.value)}/${role}/${encodeURIComponent(id)}`;
  const response = await fetch(path, { method: "DELETE" }).catch(() => null);
  if (response?.ok) toast(`${displayName(id)} was disconnected. To keep somebody out, set another token.`);
  else if (response?.status === 404) toast(`${displayName(id)} has left already.`);
  else toast("That didn’t work: the server can’t be reached.", "bad");
  refresh();
}

tokenForm.elements.fresh.addEventListener("click", () => {
  tokenForm.elements.token.value = randomText(20);
});

tokenForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { room: roomInput, id, token, role, site } = tokenForm.elements;
  const error = document.getElementById("token-error");
  // Tokens belong to the ID, which is the part of a Full ID before the "+".
  const name = id.value.trim().split("+")[0];
  const wrong = nameProblem(roomInput.value) || nameProblem(name) || (token.value ? "" : "A token is needed.");
  error.textContent = wrong;
  if (wrong) return;

  const roles = role.value === "both" ? ["pub", "sub"] : [role.value];
  for (const one of roles) {
    const response = await fetch(`/create/${one}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ room: roomInput.value, id: name, token: token.value }),
    }).catch(() => null);
    if (!response?.ok) {
      error.textContent = `The server refused it: ${response ? await detailOf(response) : "it can’t be reached"}.`;
      return;
    }
  }
  showLinks({ room: roomInput.value, id: name, token: token.value, role: role.value, site: site.value });
  toast(`Token set for ${name}.`);
});

async function detailOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text.slice(0, 200) || `status ${response.status}`;
  }
}

/** Links that carry the room, the name and the token. The token stands behind the #: browsers don't send that part anywhere. */
function showLinks({ room: inRoom, id, token, role, site }) {
  const pages = {
    pub: [["publish.html", "Publish"]],
    sub: [["watch.html", "Watch"]],
    both: [["conference.html", "Conference"], ["audio.html", "Audio chat"]],
  }[role];
  const rows = pages.map(([page, title]) => {
    let link;
    try {
      const url = new URL(page, `${site.replace(/\/+$/, "")}/`);
      url.search = new URLSearchParams({ room: inRoom, id }).toString();
      url.hash = new URLSearchParams({ token }).toString();
      link = url.href;
    } catch {
      return el("li", { text: "The public address above isn’t a web address." });
    }
    return el(
      "li",
      {},
      el("a", { href: link, text: `${title} as ${id}` }),
      el("button", { type: "button", class: "icon-button", "aria-label": `Copy the ${title} link`, onclick: () => copyText(link) }, icon("link")),
    );
  });
  document.getElementById("links").replaceChildren(...rows);
  document.getElementById("links-box").hidden = false;
}

refresh();
setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_MS);
