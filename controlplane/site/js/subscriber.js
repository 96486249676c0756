// Subscribing by multistream: one PeerConnection that receives every publisher of the room.
//
// Our offer holds nothing but the data channel `control`. Then, on that channel, the server sends
//
//   SDP_OFFER <sdp>      all tracks of the room as they are now; we reply SDP_ANSWER <sdp>
//   PUB_JOIN <full id>   a publisher came; an offer follows
//   PUB_LEFT <full id>   a publisher left; an offer follows
//
// and the stream id (msid) of every track is its publisher's Full ID.

import { Connection } from "./connection.js";

/**
 * Fires, beside `state`:
 * - `track`: `{ id, track, receiver, stream }`, a publisher's track has come;
 * - `tracks`: `{ ids }`, a negotiation is done: these are all publishers with live tracks;
 * - `gone`: `{ id, track }`, a publisher's track has gone;
 * - `join` and `left`: `{ id }`.
 */
export class Subscriber extends Connection {
  constructor({ room, fullId, token }) {
    super({ role: "sub", room, fullId, token });
    this.turn = Promise.resolve();
  }

  prepare(pc) {
    const channel = pc.createDataChannel("control");
    this.channel = channel;
    // Offers can follow each other quickly; each must be answered before the next one is looked at.
    channel.addEventListener("message", ({ data }) => {
      this.turn = this.turn.then(() => this.#handle(pc, channel, data)).catch((error) => {
        if (this.pc === pc) console.error("control channel:", error);
      });
    });
    pc.addEventListener("track", ({ track, receiver, streams: [stream] }) => {
      if (!stream) return;
      const { id } = stream;
      stream.addEventListener("removetrack", (event) => {
        if (event.track === track) this.#fire("gone", { id, track });
      });
      this.#fire("track", { id, track, receiver, stream });
    });
  }

  async #handle(pc, channel, message) {
    if (this.pc !== pc) return; // an old connection's last words
    const space = message.indexOf(" ");
    const verb = space < 0 ? message : message.slice(0, space);
    const rest = message.slice(verb.length + 1);
    switch (verb) {
      case "SDP_OFFER":
        await pc.setRemoteDescription({ type: "offer", sdp: rest });
        await pc.setLocalDescription(); // creates the answer
        channel.send(`SDP_ANSWER ${pc.localDescription.sdp}`);
        this.#fire("tracks", { ids: publishersIn(rest) });
        break;
      case "PUB_JOIN":
        this.#fire("join", { id: rest });
        break;
      case "PUB_LEFT":
        this.#fire("left", { id: rest });
        break;
    }
  }

  #fire(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The Full IDs of all publishers in an SDP: the stream ids of the m-sections that send something. */
export function publishersIn(sdp) {
  const ids = new Set();
  for (const section of sdp.split(/\r?\nm=/).slice(1)) {
    if (/^\S+ 0 /.test(section) && !/a=bundle-only/.test(section)) continue; // a free slot
    if (!/^a=(sendonly|sendrecv)/m.test(section)) continue;
    const msid = section.match(/^a=msid:(\S+)/m)?.[1];
    if (msid && msid !== "-") ids.add(msid);
  }
  return ids;
}
