// Manage: who is in a room, what they send, the data planes that carry it, and tokens. See js/operator.js for the API.

import { displayName, nameProblem } from "../names.js";
import { CAPTURE_SECONDS, detail, disconnect, drain, follow, list, packetsUrl, rooms, shards } from "../operator.js";
import { avatar } from "../tile.js";
import { showRoom } from "../tokens.js";
import { el, params, toast } from "../ui.js";

/** Subscribers that are listed. A room may have thousands. */
const LISTED = 100;
/** Lines of what happened. */
const NEWS = 30;
const AGAIN_MS = 3000;

const roomForm = document.getElementById("room-form");
const room = roomForm.elements.room;
const byId = (id) => document.getElementById(id);
let isOperator = null; // whether this port serves the operator's API; null until it was asked

room.value = params.get("room") || "lobby";
showRoom(room.value);
room.addEventListener("input", () => {
  showRoom(room.value);
  byId("news").replaceChildren();
  refresh();
});
roomForm.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});

/** What is on screen, so that a list that didn't change keeps its focus. */
const shown = new Map();
function show(id, state, draw) {
  const key = JSON.stringify(state);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...draw());
}

/** Whether this port serves lists, and with them the rest. */
async function look() {
  const listed = await list("pub", nameProblem(room.value) ? "lobby" : room.value);
  byId("blocked").hidden = listed !== null;
  byId("panels").hidden = listed === null;
  if (listed === null) return false;
  isOperator = (await rooms()) !== null;
  byId("shards-box").hidden = !isOperator;
  byId("news-box").hidden = !isOperator;
  return true;
}

async function refresh() {
  byId("room-error").textContent = nameProblem(room.value);
  if (nameProblem(room.value)) return;
  try {
    if (isOperator === null) return;
    if (isOperator) await refreshAll();
    else await refreshLists();
    byId("offline").hidden = true;
  } catch {
    byId("offline").hidden = false;
  }
}

async function refreshAll() {
  const name = room.value;
  const [all, planes] = await Promise.all([rooms(), shards()]);
  // A room that is not there would be an error in the browser's console.
  const here = all.some((one) => one.room === name) ? await detail(name, LISTED) : null;
  if (name !== room.value) return; // somebody types
  showRooms(all);
  showShards(planes);
  showMembers("pub", here?.publishers ?? [], here?.publisher_count ?? 0);
  showMembers("sub", here?.subscribers ?? [], here?.subscriber_count ?? 0);
}

/** The public port with --debug: names alone. */
async function refreshLists() {
  for (const role of ["pub", "sub"]) {
    const ids = (await list(role, room.value)) ?? [];
    showMembers(role, ids.slice(0, LISTED).map((full_id) => ({ full_id })), ids.length);
  }
}

function showRooms(all) {
  const state = all.map((one) => [one.room, one.publisher_count, one.subscriber_count, rate(one.bits_per_second)]);
  show("rooms", [room.value, state], () =>
    state.map(([name, publishers, subscribers, bits]) => {
      const choose = () => {
        room.value = name;
        room.dispatchEvent(new Event("input"));
      };
      const count = [`${publishers} on air, ${subscribers} watching`, bits].filter(Boolean).join(" · ");
      const current = name === room.value ? "true" : null;
      const chip = { type: "button", class: "chip", "aria-current": current, onclick: choose };
      return el("li", {}, el("button", chip, el("strong", { text: name }), el("span", { text: count })));
    }),
  );
  byId("rooms-box").hidden = all.length === 0;
}

function rate(bits) {
  if (!bits) return "";
  return bits < 1e6 ? `${Math.round(bits / 1e3)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`;
}

function duration(seconds) {
  if (seconds < 60) return "just now";
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `for ${minutes} min` : `for ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `for 3 min`, or what is the matter; nothing where only names are known. */
function stateOf(session) {
  if (session.connected === undefined) return "";
  if (!session.connected) return "connecting";
  return session.silent ? "silent" : duration(session.seconds);
}

/** `opus, VP8 · for 3 min` */
function describe(session) {
  const codecs = [...new Set((session.tracks ?? []).map((track) => track.codec))].join(", ");
  return [codecs, stateOf(session)].filter(Boolean).join(" · ");
}

/** Its first rate comes a second after its first packet. */
function rateOf(track) {
  return track.bits_per_second === null ? "live" : rate(track.bits_per_second) || "silent";
}

/** `video0 · 1.2 Mbit/s · 3 viewers` */
function describeTrack(track) {
  const lost = track.lost ? `${track.lost} lost` : "";
  const viewers = track.viewers === 1 ? "1 viewer" : `${track.viewers} viewers`;
  return [track.track, track.live ? rateOf(track) : "not yet live", viewers, lost].filter(Boolean).join(" · ");
}

function showMembers(role, sessions, count) {
  byId(`${role}-count`).textContent = String(count);
  const items = sessions.map((one) => [one.full_id, describe(one), (one.tracks ?? []).map(describeTrack)]);
  show(`${role}-list`, [items, count], () => {
    if (items.length === 0) return [el("li", { class: "none", text: role === "pub" ? "Nobody is publishing." : "Nobody is watching." })];
    const rows = items.map(([id, about, tracks]) => member(role, id, about, tracks));
    const more = count - items.length;
    return more > 0 ? [...rows, el("li", { class: "none", text: `and ${more} more` })] : rows;
  });
}

function member(role, id, about, tracks) {
  const lines = tracks.map((text) => el("small", { class: "figures", text }));
  const button = { type: "button", class: "quiet", "aria-label": `Disconnect ${id}`, onclick: () => end(role, id), text: "Disconnect" };
  const name = el("strong", { text: displayName(id) });
  return el(
    "li",
    {},
    avatar(displayName(id)),
    el("span", { class: "member" }, name, el("code", { text: id }), el("small", { text: about }), ...lines, isOperator ? packets(role, id) : null),
    isOperator ? el("button", button) : null,
  );
}

/** The packet window: headers of what passes, never what they carry. */
function packets(role, id) {
  const link = (format, text, what) => {
    const title = `${what} of ${CAPTURE_SECONDS} seconds`;
    const href = packetsUrl(room.value, role, id, format);
    return el("a", { href, download: `${id}.${format}`, title, "aria-label": `${title}: ${id}`, text });
  };
  return el(
    "small",
    { class: "packets" },
    `Packets, ${CAPTURE_SECONDS} s: `,
    link("pcapng", "capture", "Capture for Wireshark"),
    " · ",
    link("json", "JSON", "Headers as JSON, one a line,"),
  );
}

async function end(role, id) {
  const response = await disconnect(room.value, role, id);
  if (response?.ok) toast(`${displayName(id)} was disconnected. To keep somebody out, set another token.`);
  else if (response?.status === 404) toast(`${displayName(id)} has left already.`);
  else toast("That didn’t work: the server can’t be reached.", "bad");
  refresh();
}

function showShards(planes) {
  show("shards", planes, () => {
    if (planes.length === 0) return [el("li", { class: "none", text: "No data plane is connected: nobody can join." })];
    return planes.map((plane) => {
      const sessions = plane.workers.reduce((sum, worker) => sum + worker.sessions, 0);
      const word = plane.draining ? "draining" : plane.ready ? "ready" : "takes nobody";
      const about = `${sessions === 1 ? "1 session" : `${sessions} sessions`} · ${word}`;
      const button = { type: "button", class: "quiet", "aria-label": `Drain ${plane.name}`, onclick: () => empty(plane.name), text: "Drain" };
      const name = el("span", { class: "member" }, el("strong", { text: plane.name }), el("small", { text: about }));
      return el("li", {}, name, el("span", { class: "loads" }, ...plane.workers.map(load)), plane.draining ? null : el("button", button));
    });
  });
}

/** A worker's core, as a bar. */
function load(worker) {
  const percent = Math.round(worker.load * 100);
  const label = `Worker ${worker.worker}: ${percent} % of its core, ${worker.sessions} sessions`;
  return el("meter", { min: "0", max: "100", high: "80", value: String(percent), title: label, "aria-label": label });
}

async function empty(name) {
  if (!confirm(`Drain ${name}? It gets nobody new, and ends with its last session.`)) return;
  const response = await drain(name);
  if (response?.ok) toast(`${name} is being drained.`);
  else toast(response?.status === 404 ? `${name} is gone already.` : "That didn’t work: the server can’t be reached.", "bad");
  refresh();
}

/** What an event says, in words; nothing for those that are no news. */
function words(event) {
  const who = event.full_id && displayName(event.full_id);
  const does = event.role === "pub" ? "publishes" : "watches";
  switch (event.type) {
    case "session-connected":
      return `${who} ${does}`;
    case "session-left":
      return `${who} left: ${event.reason}`;
    case "track-live":
      return `${who} sends ${event.track}, ${event.codec}`;
    case "track-gone":
      return `${who} sends no ${event.track} any more`;
    case "shard-up":
      return `${event.shard} takes sessions`;
    case "shard-draining":
      return `${event.shard} is being drained`;
    case "shard-drained":
      return `${event.shard} has ended`;
    case "shard-down":
      return `${event.shard} is gone, and ${event.sessions} sessions with it`;
    default:
      return "";
  }
}

function told(event) {
  if (event.room && event.room !== room.value) return;
  const text = words(event);
  if (!text) return;
  const at = new Date(event.at).toLocaleTimeString();
  const news = byId("news");
  news.prepend(el("li", {}, el("time", { datetime: event.at, text: at }), el("span", { text })));
  while (news.children.length > NEWS) news.lastChild.remove();
}

async function begin() {
  try {
    if (!(await look())) return;
  } catch {
    byId("offline").hidden = false;
    setTimeout(begin, AGAIN_MS);
    return;
  }
  follow({ hasStream: isOperator, refresh, told });
  refresh();
}

begin();
