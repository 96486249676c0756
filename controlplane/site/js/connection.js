// One connection to Weever: a PeerConnection set up by a single HTTP request.
//
//   POST /pub/{room}/{full id}   to publish   (WHIP, RFC 9725)
//   POST /sub/{room}/{full id}   to subscribe (WHEP)
//
// with the SDP offer as the body. The 201 answer's body is the SDP answer and its `Location` header is the session's URL:
// DELETE on it leaves, GET on it tells what the server knows of the session. What differs between a publisher, a
// subscriber and a plain player is only what goes into the offer and what happens on the data channel; see whip.js,
// subscriber.js and whep.js.

import { Problem, problemOf, unreachable } from "./problem.js";

const RETRY_SECONDS = [1, 2, 4, 8, 15]; // the last one repeats
const CONNECT_TIMEOUT_MS = 15_000;
const LEAVE_MS = 2_000; // for the DELETE to be answered; then the connection is closed anyhow
const DISCONNECTED_GRACE_MS = 6_000; // a Wi-Fi change often mends itself within this time

/**
 * Fires `prepare` events with `{ pc }` for each new PeerConnection, before the offer is made: channels of other kinds
 * (chat.js) are put into it then. Fires `state` events whose `detail` is `{ state, problem, retryIn }`. States: `connecting`, `live`,
 * `retrying` (lost; comes back by itself), `failed` (needs the user), `ended` (by stop()).
 */
export class Connection extends EventTarget {
  /** `role` is "pub" or "sub"; `query` is appended to the endpoint (a player's `from=`). */
  constructor({ role, room, fullId, token = "", query = "" }) {
    super();
    this.role = role;
    this.room = room;
    this.fullId = fullId;
    this.token = token;
    this.query = query;
    this.pc = null;
    this.location = null;
    this.eventsUrl = null; // where the session's events are to be had, and their names
    this.events = new Set();
    this.state = "idle";
    this.iceServers = [];
    this.attempts = 0;
    this.wanted = false;
    this.retryTimer = null;
    this.asking = new AbortController();
    this.onPageHide = () => this.#sendDelete(true);
  }

  /** Connects, and keeps connected until stop(). Resolves when live or when it can't be. */
  async start() {
    this.wanted = true;
    addEventListener("pagehide", this.onPageHide);
    await this.#attempt();
  }

  /** Leaves the room. */
  async stop() {
    this.wanted = false;
    removeEventListener("pagehide", this.onPageHide);
    clearTimeout(this.retryTimer);
    const done = this.#leave();
    this.#setState("ended");
    await done;
  }

  /** What the server knows of this session: `{ room, id, role, connected, publishers, subscribers }`, or null. */
  async info() {
    if (!this.location) return null;
    try {
      const { signal } = this.asking;
      const response = await fetch(this.location, { headers: { Accept: "application/json" }, cache: "no-store", signal });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  /** For subclasses: put tracks, transceivers and channels into the new PeerConnection, before the offer is made. */
  prepare(_pc) {}

  async #attempt() {
    this.#setState("connecting");
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: this.iceServers });
    this.pc = pc;
    try {
      this.prepare(pc);
      this.dispatchEvent(new CustomEvent("prepare", { detail: { pc } }));
      await pc.setLocalDescription(); // creates the offer
      // No waiting for our candidates: the server is ICE-lite with a reachable address, and learns ours from the
      // checks that we send to it.
      const answer = await this.#post(pc.localDescription.sdp);
      if (this.pc !== pc) return; // stopped meanwhile
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
      await this.#connected(pc);
      if (this.pc !== pc) return;
      this.attempts = 0;
      this.#setState("live");
      this.#watchOver(pc);
    } catch (error) {
      if (this.pc === pc) this.#lost(error instanceof Problem ? error : new Problem(String(error.message ?? error)));
      else pc.close();
    }
  }

  async #post(offer) {
    const path = `/${this.role}/${encodeURIComponent(this.room)}/${encodeURIComponent(this.fullId)}`;
    const headers = { "Content-Type": "application/sdp" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let response;
    try {
      response = await fetch(path + this.query, { method: "POST", headers, body: offer });
    } catch {
      throw unreachable();
    }
    if (response.status !== 201) throw await problemOf(response);
    const location = new URL(response.headers.get("Location"), response.url);
    const answer = await response.text();
    if (!this.wanted) {
      fetch(location, { method: "DELETE", keepalive: true }).catch(() => {});
      return answer;
    }
    this.location = location;
    const offered = eventsIn(response.headers.get("Link"));
    this.eventsUrl = offered && new URL(offered.url, response.url);
    this.events = new Set(offered?.names);
    // STUN and TURN servers, if the operator runs some, come as Link headers. A first try without them costs nothing:
    // most networks need none. They are there for the next one.
    this.iceServers = iceServersIn(response.headers.get("Link"));
    return answer;
  }

  #connected(pc) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Problem("No media connection came up. A firewall may block UDP.", { retry: true })),
        CONNECT_TIMEOUT_MS,
      );
      const look = () => {
        if (pc.connectionState === "connected" || this.pc !== pc) {
          clearTimeout(timer);
          resolve();
        } else if (pc.connectionState === "failed") {
          clearTimeout(timer);
          reject(new Problem("The media connection could not be made. A firewall may block UDP.", { retry: true }));
        }
      };
      pc.addEventListener("connectionstatechange", look);
      this.addEventListener("state", look);
      look();
    });
  }

  #watchOver(pc) {
    let grace = null;
    pc.addEventListener("connectionstatechange", () => {
      if (this.pc !== pc) return;
      clearTimeout(grace);
      if (pc.connectionState === "failed" || pc.connectionState === "closed") this.#lost(lostProblem());
      if (pc.connectionState === "disconnected") {
        grace = setTimeout(() => this.pc === pc && this.#lost(lostProblem()), DISCONNECTED_GRACE_MS);
      }
    });
    // The server ends a session by closing its transport: the control channel closes with it.
    this.channel?.addEventListener("close", () => this.pc === pc && this.#lost(lostProblem()));
  }

  #lost(problem) {
    const again = this.attempts > 0 || this.state === "live";
    this.#leave();
    // After a loss our own old session may still stand for some seconds: 409 is then no reason to give up.
    const retry = this.wanted && (problem.retry || (again && problem.status === 409));
    if (!retry) {
      removeEventListener("pagehide", this.onPageHide);
      this.wanted = false;
      this.#setState("failed", { problem });
      return;
    }
    const step = RETRY_SECONDS[Math.min(this.attempts, RETRY_SECONDS.length - 1)];
    this.attempts += 1;
    // Spread out, so that all clients of a restarted server don't come back in the same moment.
    const retryIn = Math.max(step * (0.75 + Math.random() / 2), problem.retryAfter ?? 0);
    this.#setState("retrying", { problem, retryIn });
    this.retryTimer = setTimeout(() => this.wanted && this.#attempt(), retryIn * 1000);
  }

  #sendDelete(leavingPage) {
    if (!this.location) return Promise.resolve();
    const url = this.location;
    this.location = null;
    this.asking.abort(); // nobody is asked about a session that is being left
    this.asking = new AbortController();
    // keepalive lets the request outlive the page.
    return fetch(url, { method: "DELETE", keepalive: leavingPage }).catch(() => {});
  }

  // First DELETE, then close: the other way round, the server would end the session on the closing transport's word, and
  // the DELETE would find nothing.
  async #leave() {
    const { pc } = this;
    this.pc = null;
    await Promise.race([this.#sendDelete(false), new Promise((resolve) => setTimeout(resolve, LEAVE_MS))]);
    pc?.close();
  }

  #setState(state, { problem = null, retryIn = null } = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, problem, retryIn } }));
  }
}

function lostProblem() {
  return new Problem("The connection was lost.", { retry: true });
}

const EVENTS = "urn:ietf:params:whep:ext:core:server-sent-events";

/** `<url>; rel="urn:…:server-sent-events"; events="active,viewercount"` (draft-ietf-wish-whep): `{ url, names }`, or null. */
export function eventsIn(link) {
  const part = linksIn(link).find((one) => one.includes(`rel="${EVENTS}"`));
  const url = part?.match(/^\s*<([^>]+)>/)?.[1];
  return url ? { url, names: part.match(/events="([^"]*)"/)?.[1].split(",") ?? [] } : null;
}

const linksIn = (link) => (link ?? "").split(/,\s*(?=<)/);

/** `<turn:host:3478>; rel="ice-server"; username="u"; credential="c"` … (RFC 9725 §4.6) as RTCIceServer objects. */
export function iceServersIn(link) {
  const servers = [];
  for (const part of linksIn(link)) {
    const url = part.match(/^\s*<([^>]+)>/)?.[1];
    if (!url || !/rel="?ice-server"?/.test(part)) continue;
    const server = { urls: url };
    const username = part.match(/username="([^"]*)"/)?.[1];
    const credential = part.match(/credential="([^"]*)"/)?.[1];
    if (username !== undefined) Object.assign(server, { username, credential });
    servers.push(server);
  }
  return servers;
}
