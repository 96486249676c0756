// Playing by plain WHEP: receive-only m-lines in the offer, no data channel, no renegotiation. This is what any WHEP player
// does. Each m-line is a slot that the server fills with the room's publisher, or with the one that `?from=` names; when
// the publisher goes and comes back, the same session goes on.

import { Connection } from "./connection.js";

/** Fires `track` with `{ track, receiver }`, beside `state`. */
export class Player extends Connection {
  /** `from`: a publisher's ID or Full ID, or "" for whoever has been live for the longest time. */
  constructor({ room, fullId, token, from = "" }) {
    super({ role: "sub", room, fullId, token, query: from ? `?from=${encodeURIComponent(from)}` : "" });
    this.stream = new MediaStream();
  }

  prepare(pc) {
    this.stream = new MediaStream();
    pc.addEventListener("track", ({ track, receiver }) => {
      this.stream.addTrack(track);
      this.dispatchEvent(new CustomEvent("track", { detail: { track, receiver } }));
    });
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
  }
}
