// Publishing (WHIP): one PeerConnection that sends audio and video.
//
// The offer carries the tracks, and a data channel labelled `control`. While publishing, tracks are added or removed by
// sending `SDP_OFFER <sdp>` on that channel; the server answers `SDP_ANSWER <sdp>`.

import { Connection } from "./connection.js";
import { Problem } from "./problem.js";

const ANSWER_TIMEOUT_MS = 10_000;

export class Publisher extends Connection {
  /** `stream`: what to publish. `codec`: a video codec's name ("VP9") to put first, or "" for the browser's choice. */
  constructor({ room, fullId, token, stream, codec = "" }) {
    super({ role: "pub", room, fullId, token });
    this.stream = stream;
    this.codec = codec;
    this.extra = []; // tracks added while publishing
    this.sending = new Map(); // track → transceiver
    this.paused = new Set();
    this.turn = Promise.resolve();
  }

  prepare(pc) {
    this.channel = pc.createDataChannel("control");
    this.sending.clear();
    for (const track of [...this.stream.getTracks(), ...this.extra]) this.#send(pc, track);
  }

  /** Adds a track (a screen, say) to the running session. */
  async addTrack(track) {
    this.extra.push(track);
    if (!this.pc) return; // it will be in the next offer
    this.#send(this.pc, track);
    await this.#negotiate();
  }

  /** Takes a track out of the running session. */
  async removeTrack(track) {
    this.extra = this.extra.filter((other) => other !== track);
    this.sending.get(track)?.stop();
    this.sending.delete(track);
    if (this.pc) await this.#negotiate();
  }

  /** Sends `after` where `before` was sent (another camera, say). The session and its viewers don't notice. */
  async replaceTrack(before, after) {
    const transceiver = this.sending.get(before);
    if (!transceiver) return;
    this.sending.delete(before);
    this.sending.set(after, transceiver);
    if (this.paused.delete(before)) this.paused.add(after);
    else await transceiver.sender.replaceTrack(after);
  }

  /** Stops and resumes sending a track. Nothing is sent while paused, not even black. */
  async setPaused(track, paused) {
    if (paused) this.paused.add(track);
    else this.paused.delete(track);
    await this.sending.get(track)?.sender.replaceTrack(paused ? null : track);
  }

  #send(pc, track) {
    const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [this.stream] });
    if (track.kind === "video" && this.codec) preferCodec(transceiver, this.codec);
    if (this.paused.has(track)) transceiver.sender.replaceTrack(null);
    this.sending.set(track, transceiver);
  }

  // One negotiation at a time.
  #negotiate() {
    this.turn = this.turn.catch(() => {}).then(async () => {
      const { pc, channel } = this;
      if (!pc || channel.readyState !== "open") return;
      await pc.setLocalDescription();
      const answer = answerOn(channel);
      channel.send(`SDP_OFFER ${pc.localDescription.sdp}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await answer });
    });
    return this.turn;
  }
}

function answerOn(channel) {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      stop.abort();
      reject(new Problem("The server didn’t answer the change of tracks."));
    }, ANSWER_TIMEOUT_MS);
    const onMessage = ({ data }) => {
      if (!data.startsWith("SDP_ANSWER ")) return;
      clearTimeout(timer);
      stop.abort();
      resolve(data.slice("SDP_ANSWER ".length));
    };
    channel.addEventListener("message", onMessage, { signal: stop.signal });
  });
}

/** The video codecs that this browser can send, by name: ["VP8", "VP9", "H264", ...]. */
export function videoCodecs() {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const names = all.map((codec) => codec.mimeType.split("/")[1]);
  return [...new Set(names)].filter((name) => !/^(rtx|red|ulpfec|flexfec)/i.test(name));
}

// The server takes the first codec of the offer that it knows, so the order decides.
function preferCodec(transceiver, name) {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const isWanted = (codec) => codec.mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
  const wanted = all.filter(isWanted);
  if (wanted.length) transceiver.setCodecPreferences([...wanted, ...all.filter((codec) => !isWanted(codec))]);
}
