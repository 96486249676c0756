// The studio: choose a source, see oneself, choose devices, mute. Used by every page that publishes.

import { devices, open, stopStream } from "./capture.js";
import { LocalMeter } from "./meter.js";
import { Tile } from "./tile.js";
import { controlButton, el, params } from "./ui.js";

const LEVEL_MS = 120;

/** Fires `replaced` with `{ before, after }` when a device is changed, and `ended` when the source stops by itself. */
export class Studio extends EventTarget {
  /** `form` holds radio buttons named `source` and, if wanted, selects `cameraId` and `microphoneId`. */
  constructor(form, previewHost) {
    super();
    this.form = form;
    this.host = previewHost;
    this.stream = null;
    this.tile = null;
    this.muted = { audio: false, video: false };
    const asked = params.get("source");
    for (const radio of form.querySelectorAll("input[name=source]")) {
      radio.checked = asked ? radio.value === asked : radio.checked;
      radio.addEventListener("change", () => this.choose());
    }
    for (const name of ["cameraId", "microphoneId"]) {
      form.elements[name]?.addEventListener("change", () => this.#changeDevice(name));
    }
    this.timer = setInterval(() => this.tile?.showLevel(this.muted.audio ? 0 : (this.meter?.level() ?? 0)), LEVEL_MS);
    this.choose();
  }

  get source() {
    return this.form.dataset.role === "viewer" ? "none" : this.form.elements.source.value;
  }

  /** The chosen source's stream, opened now if it wasn't yet; null for "none". */
  async ensure() {
    const { source } = this;
    if (source === "none") return null;
    if (this.stream && this.opened === source) return this.stream;
    if (this.opening?.source !== source) this.opening = { source, stream: this.#open(source) };
    const { opening } = this;
    try {
      return await opening.stream;
    } finally {
      if (this.opening === opening) this.opening = null;
    }
  }

  async #open(source) {
    const { room, id, cameraId, microphoneId } = this.form.elements;
    const size = params.has("width") ? { width: Number(params.get("width")), height: Number(params.get("height")) } : null;
    const stream = await open(source, {
      cameraId: cameraId?.value,
      microphoneId: microphoneId?.value,
      title: [id?.value, room?.value].filter(Boolean).join(" in "),
      size,
    });
    if (this.source !== source) {
      // Another one was chosen while this one (a camera, say) was still being opened: that one counts.
      stopStream(stream);
      return this.ensure();
    }
    this.release();
    this.stream = stream;
    this.opened = source;
    stream.getTracks().forEach((track) => this.#watchEnd(track));
    this.#preview();
    this.#listDevices();
    return stream;
  }

  release() {
    this.meter?.stop();
    this.meter = null;
    stopStream(this.stream);
    this.stream = null;
    this.tile?.remove();
    this.tile = null;
    this.muted = { audio: false, video: false };
    this.host.classList.remove("filled");
  }

  /** The preview becomes one's own tile under one's Full ID, with the stats of what `connection` sends. */
  ownTile(connection) {
    this.tile?.remove();
    this.tile = new Tile(connection.fullId, { own: true, mirrored: this.source === "camera", sender: () => connection.pc });
    this.tile.setStream(this.stream);
    return this.tile;
  }

  track(kind) {
    return this.stream?.getTracks().find((track) => track.kind === kind) ?? null;
  }

  setMuted(kind, muted) {
    this.muted[kind] = muted;
    const track = this.track(kind);
    if (track) track.enabled = !muted;
    if (kind === "video") this.tile?.setPicture(!muted);
  }

  /** Takes up another source. The pattern needs nobody's leave, nor does a device that was allowed before: shown at once. */
  async choose() {
    this.release();
    const { source } = this;
    this.form.dataset.source = source;
    const allowed = source === "pattern" || source === "tone" || (await mayOpen(source));
    if (allowed && this.source === source && !this.stream) await this.ensure().catch(() => {});
  }

  #preview() {
    const title = this.form.elements.id?.value.trim() || "You";
    this.tile = new Tile("you", { own: true, mirrored: this.source === "camera", title });
    this.tile.setStream(this.stream);
    this.#meterOn();
    this.host.append(this.tile.element);
    this.host.classList.add("filled");
  }

  #meterOn() {
    this.meter?.stop();
    const track = this.track("audio");
    this.meter = track ? new LocalMeter(track) : null;
  }

  #watchEnd(track) {
    track.addEventListener("ended", () => {
      if (this.stream?.getTracks().includes(track)) this.dispatchEvent(new CustomEvent("ended", { detail: { track } }));
    });
  }

  async #listDevices() {
    for (const [name, kind] of [["cameraId", "videoinput"], ["microphoneId", "audioinput"]]) {
      const select = this.form.elements[name];
      if (!select) continue;
      const current = this.track(kind === "videoinput" ? "video" : "audio")?.getSettings().deviceId;
      const found = await devices(kind);
      if (found.length === 0) continue;
      select.replaceChildren(...found.map((device, index) => el("option", { value: device.deviceId, text: device.label || `Device ${index + 1}` })));
      if (found.some((device) => device.deviceId === current)) select.value = current;
    }
  }

  async #changeDevice(name) {
    if (!this.stream || !["camera", "microphone"].includes(this.opened)) return;
    const kind = name === "cameraId" ? "video" : "audio";
    const before = this.track(kind);
    before?.stop(); // some systems give a device away only once
    const fresh = await open(this.opened, {
      cameraId: this.form.elements.cameraId?.value,
      microphoneId: this.form.elements.microphoneId?.value,
    }).catch(() => null);
    const after = fresh?.getTracks().find((track) => track.kind === kind);
    for (const track of fresh?.getTracks() ?? []) if (track !== after) track.stop();
    if (!after) return;
    if (before) this.stream.removeTrack(before);
    this.stream.addTrack(after);
    after.enabled = !this.muted[kind];
    this.#watchEnd(after);
    this.tile.setStream(this.stream);
    if (kind === "audio") this.#meterOn();
    this.dispatchEvent(new CustomEvent("replaced", { detail: { before, after } }));
  }
}

async function mayOpen(source) {
  const names = { camera: ["camera", "microphone"], microphone: ["microphone"] }[source];
  if (!names || !navigator.permissions) return false;
  const states = await Promise.all(names.map((name) => navigator.permissions.query({ name }).catch(() => null)));
  return states.every((status) => status?.state === "granted");
}

/** The buttons to mute microphone and picture of what `publisher` sends from the studio. */
export function muteButtons(studio, publisher) {
  const make = (kind, [on, off], [onLabel, offLabel]) => {
    if (!studio.track(kind)) return null;
    const button = controlButton({
      name: kind,
      icon: on,
      label: onLabel,
      onclick: () => {
        const muted = !studio.muted[kind];
        studio.setMuted(kind, muted);
        // Sound goes on as silence; a picture is no longer sent at all, so that viewers see that it is off.
        if (kind === "video") publisher.setPaused(studio.track(kind), muted);
        button.element.setAttribute("aria-pressed", String(muted));
        button.set(muted ? off : on, muted ? offLabel : onLabel, { off: muted });
      },
    });
    button.element.setAttribute("aria-pressed", "false");
    return button.element;
  };
  return [
    make("audio", ["mic", "mic-off"], ["Mute", "Unmute"]),
    make("video", ["camera", "camera-off"], ["Stop video", "Start video"]),
  ].filter(Boolean);
}
