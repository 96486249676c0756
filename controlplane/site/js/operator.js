// The operator's side, the private API. It is served on the private port only (127.0.0.1:9443 unless changed); /list and
// /create on the public one too, with --debug. The whole of it: /openapi.json there.
//
//   GET    /events                              what happens, live
//   GET    /rooms, /rooms/{room}                what is live: rooms, their sessions, tracks and bit rates
//   DELETE /rooms/{room}/{pub|sub}/{full id}    disconnects one
//   GET    /rooms/{room}/{pub|sub}/{full id}/packets   headers of its RTP and RTCP: JSON, or a capture for Wireshark
//   GET    /shards, POST /shards/{name}/drain   data planes
//   GET    /list/pub/{room}, /list/sub/{room}   Full IDs (a JSON array, with Accept: application/json)
//   POST   /create/pub, /create/sub             {"room", "id", "token"} sets that ID's token

/** Events come by the hundred when many join: what they change is asked for at most this often. */
const SETTLE_MS = 400;
/** What the stream doesn't tell: bit rates and loads. */
const FIGURES_MS = 3000;
/** How long a capture of packets lasts. */
export const CAPTURE_SECONDS = 10;

const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

async function json(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!response.ok || !(response.headers.get("Content-Type") ?? "").includes("json")) return null;
  return response.json();
}

/** Full IDs, or null where nobody serves the lists. */
export async function list(role, room) {
  const ids = await json(path("list", role, room));
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : null;
}

export const rooms = () => json("/rooms");
export const shards = () => json("/shards");
/** A room with its publishers and the first `limit` of its subscribers; null when there is none. */
export const detail = (room, limit) => json(`${path("rooms", room)}?limit=${limit}`);

const send = (method, url, body) =>
  fetch(url, body ? { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : { method }).catch(() => null);
export const disconnect = (room, role, id) => send("DELETE", path("rooms", room, role, id));
/** Where the packets of a session can be had for a while, as `json` or `pcapng`. */
export const packetsUrl = (room, role, id, format) =>
  `${path("rooms", room, role, id, "packets")}?format=${format}&seconds=${CAPTURE_SECONDS}`;
export const drain = (shard) => send("POST", path("shards", shard, "drain"));
export const setToken = (role, values) => send("POST", path("create", role), values);

/** What was wrong, from an answer of the API. */
export async function problemOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text.slice(0, 200) || `status ${response.status}`;
  }
}

/**
 * Calls `refresh` when something has changed: at once where the server tells (`/events`), now and then for figures. `told` gets
 * each event. Where there is no stream, `refresh` is called now and then for everything.
 */
export function follow({ hasStream, refresh, told }) {
  let due = null;
  const soon = () => {
    due ??= setTimeout(() => {
      due = null;
      refresh();
    }, SETTLE_MS);
  };
  if (hasStream) {
    // Browsers come back by themselves, and go on behind the last event.
    const source = new EventSource("/events");
    source.onmessage = ({ data }) => {
      told(JSON.parse(data));
      soon();
    };
    source.onerror = soon; // it finds out whether the server is there
  }
  setInterval(() => document.visibilityState === "visible" && soon(), FIGURES_MS);
}
