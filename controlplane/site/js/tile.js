// Tiles: one for each picture (or voice) of the room.

import { displayName } from "./names.js";
import { receiverLevel } from "./meter.js";
import { StatsPanel, StatsReader } from "./stats.js";
import { el, icon } from "./ui.js";

const STALLED_AFTER_READS = 3; // seconds without a new frame until the picture counts as paused
const LEVEL_MS = 120;
const SPEAKING = 0.45;

/** A row of spines that rise with a voice: the level meter. */
export function levelMeter() {
  const spines = Array.from({ length: 5 }, () => el("i"));
  const element = el("span", { class: "level", "aria-hidden": "true" }, ...spines);
  return { element, set: (level) => element.style.setProperty("--level", level.toFixed(2)) };
}

/** A colour of one's own for each name, as a hue. */
function hueOf(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 3600;
  return hash % 360;
}

export function avatar(name) {
  const element = el("span", { class: "avatar", "aria-hidden": "true", text: [...name][0]?.toUpperCase() ?? "?" });
  element.style.setProperty("--hue", hueOf(name));
  return element;
}

export class Tile {
  /** `sender` gives the PeerConnection that sends one's own picture, for its stats. */
  constructor(id, { own = false, mirrored = false, title = displayName(id), sender = null } = {}) {
    this.id = id;
    this.own = own;
    this.stream = new MediaStream();
    this.receivers = new Map(); // track → receiver
    this.still = 0;
    this.level = levelMeter();
    this.fin = levelMeter(); // the same, on top of the face
    this.sender = sender;
    this.video = el("video", { playsinline: true, autoplay: true, "aria-label": `Picture of ${title}` });
    this.video.muted = own;
    this.video.classList.toggle("mirrored", mirrored);
    this.stats = new StatsPanel();
    this.reader = new StatsReader(() => (sender ? [sender()].filter(Boolean) : [...this.receivers.values()]));
    this.waiting = el("span", { class: "tile-note" });
    this.element = el(
      "article",
      { class: `tile no-picture${own ? " own" : ""}`, "data-id": id, "aria-label": title },
      this.video,
      el("div", { class: "tile-face" }, el("div", { class: "face" }, this.fin.element, avatar(title)), this.waiting),
      el("div", { class: "tile-bar" }, this.level.element, el("span", { class: "tile-name", text: own && title !== "You" ? `${title} (you)` : title })),
      this.stats.element,
      fullscreenButton(() => this.element, title),
    );
  }

  /** Adds a track, with its receiver when it comes from the server. */
  addTrack(track, receiver = null) {
    this.stream.addTrack(track);
    if (receiver) this.receivers.set(track, receiver);
    this.#attach();
  }

  removeTrack(track) {
    this.stream.removeTrack(track);
    this.receivers.delete(track);
    this.#attach();
  }

  /** Shows a local stream, for one's own tile. */
  setStream(stream) {
    this.stream = stream;
    this.#attach();
  }

  get hasVideo() {
    return this.stream.getVideoTracks().length > 0;
  }

  #attach() {
    // A fresh MediaStream makes every browser look at the tracks again.
    this.video.srcObject = new MediaStream(this.stream.getTracks());
    this.still = 0;
    this.setPicture(this.own && this.hasVideo);
    this.play();
  }

  /** Plays; when the browser refuses sound before a click, plays silently and says so on the whole page. */
  async play() {
    try {
      await this.video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // replaced or removed meanwhile
      this.video.muted = true;
      soundGate.hold(this.video);
      await this.video.play().catch(() => {});
    }
  }

  setPicture(shown) {
    this.element.classList.toggle("no-picture", !shown);
    this.waiting.textContent = shown || !this.hasVideo ? "" : this.seen ? "Picture paused" : "Waiting for the picture…";
  }

  async refresh() {
    if (!this.sender && this.receivers.size === 0) return null;
    const stats = await this.reader.read();
    if (!this.own && this.hasVideo && stats.video) {
      this.still = stats.video.newFrames > 0 ? 0 : this.still + 1;
      this.seen ||= stats.video.frames > 0;
      this.setPicture(stats.video.frames > 0 && this.still < STALLED_AFTER_READS);
    }
    this.stats.show(stats);
    return stats;
  }

  showLevel(level) {
    this.level.set(level);
    this.fin.set(level);
    this.element.classList.toggle("speaking", level > SPEAKING);
  }

  refreshLevel() {
    if (this.own) return;
    let level = 0;
    for (const [track, receiver] of this.receivers) if (track.kind === "audio") level = Math.max(level, receiverLevel(receiver));
    this.showLevel(level);
  }

  remove() {
    this.video.srcObject = null;
    soundGate.release(this.video);
    this.element.remove();
  }
}

function fullscreenButton(target, title) {
  if (!document.fullscreenEnabled) return "";
  const toggle = () => (document.fullscreenElement ? document.exitFullscreen() : target().requestFullscreen());
  return el("button", { type: "button", class: "tile-expand", "aria-label": `Full screen: ${title}`, onclick: toggle }, icon("expand"));
}

/** One button for all elements whose sound the browser holds back. */
const soundGate = {
  held: new Set(),
  button: null,
  hold(media) {
    this.held.add(media);
    this.button ??= el("button", { type: "button", class: "sound-gate primary", onclick: () => this.open() }, icon("sound"), el("span", { text: "Click to hear" }));
    if (!this.button.isConnected) document.body.append(this.button);
  },
  release(media) {
    this.held.delete(media);
    if (this.held.size === 0) this.button?.remove();
  },
  open() {
    for (const media of this.held) {
      media.muted = false;
      media.play().catch(() => {});
    }
    this.held.clear();
    this.button.remove();
  },
};
export { soundGate };

/**
 * All tiles of a Subscriber's room, in an element. A publisher with several pictures gets one tile for each.
 * Fires `change` when the number of tiles changes.
 */
export class TileGrid extends EventTarget {
  constructor(element) {
    super();
    this.element = element;
    this.tiles = new Map(); // key → Tile; the key is the Full ID, with #n for further pictures
    this.timers = [setInterval(() => this.#refresh(), 1000), setInterval(() => this.#levels(), LEVEL_MS)];
  }

  /** Puts a tile of one's own first. */
  addOwn(tile) {
    this.tiles.set(` own ${tile.id}`, tile);
    this.element.prepend(tile.element);
    this.#changed();
  }

  removeOwn(tile) {
    this.tiles.delete(` own ${tile.id}`);
    tile.remove();
    this.#changed();
  }

  /** Follows a Subscriber's tracks from now on. */
  follow(subscriber) {
    subscriber.addEventListener("track", ({ detail }) => this.#add(detail));
    subscriber.addEventListener("gone", ({ detail }) => this.#removeTrack(detail));
    subscriber.addEventListener("tracks", ({ detail }) => this.#keepOnly(detail.ids));
    subscriber.addEventListener("state", ({ detail }) => {
      this.element.classList.toggle("stale", detail.state === "retrying" || detail.state === "connecting");
      if (detail.state === "connecting") this.#forgetTracks();
      if (detail.state === "ended" || detail.state === "failed") this.#keepOnly(new Set());
    });
  }

  get count() {
    return this.tiles.size;
  }

  get remoteCount() {
    return [...this.tiles.values()].filter((tile) => !tile.own).length;
  }

  stop() {
    for (const timer of this.timers) clearInterval(timer);
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.#changed();
  }

  #add({ id, track, receiver }) {
    let key = id;
    if (track.kind === "video") {
      for (let n = 2; this.tiles.get(key)?.hasVideo; n += 1) key = `${id}#${n}`;
    }
    let tile = this.tiles.get(key);
    if (!tile) {
      tile = new Tile(id, key === id ? {} : { title: `${displayName(id)} · ${key.split("#").pop()}` });
      this.tiles.set(key, tile);
      this.element.append(tile.element);
    }
    tile.addTrack(track, receiver);
    this.#changed();
  }

  #removeTrack({ id, track }) {
    for (const [key, tile] of this.tiles) {
      if (tile.id !== id || !tile.receivers.has(track)) continue;
      tile.removeTrack(track);
      if (tile.receivers.size === 0) this.#drop(key, tile);
    }
    this.#changed();
  }

  #keepOnly(ids) {
    for (const [key, tile] of this.tiles) {
      if (!tile.own && (!ids.has(tile.id) || tile.receivers.size === 0)) this.#drop(key, tile);
    }
    this.#changed();
  }

  // A new connection brings all tracks anew; the tiles stay where they are, so that nothing jumps.
  #forgetTracks() {
    for (const tile of this.tiles.values()) {
      if (tile.own) continue;
      for (const track of [...tile.receivers.keys()]) {
        tile.stream.removeTrack(track);
        tile.receivers.delete(track);
      }
    }
  }

  #drop(key, tile) {
    tile.remove();
    this.tiles.delete(key);
  }

  #changed() {
    this.element.dataset.count = String(Math.min(this.tiles.size, 10));
    this.dispatchEvent(new Event("change"));
  }

  #refresh() {
    for (const tile of this.tiles.values()) tile.refresh();
  }

  #levels() {
    for (const tile of this.tiles.values()) tile.refreshLevel();
  }
}
