// Chat with the members of a room, on a data channel labelled `chat` beside `control`.
//
// What we send is the text alone, at most 4096 bytes of UTF-8. What we receive is
//
//   <full id> <text>   somebody said it; our own words come back too, once they were told to all
//   * <text>           the server says it: why something was not sent (no name begins so)

const MAX_BYTES = 4096;

/** Fires `message`: `{ id, text }`, `notice`: `{ text }`, and `open`: `{ open }` when one can or can't speak. */
export class Chat extends EventTarget {
  constructor(connection) {
    super();
    this.connection = connection;
    this.channel = null;
    // Each PeerConnection of its own, also after a loss.
    connection.addEventListener("prepare", ({ detail: { pc } }) => this.#open(pc));
  }

  get isOpen() {
    return this.channel?.readyState === "open";
  }

  /** Says it to all, if that is possible now. */
  send(text) {
    if (!this.isOpen || text.trim() === "") return false;
    this.channel.send(text);
    return true;
  }

  #open(pc) {
    const channel = pc.createDataChannel("chat");
    this.channel = channel;
    const told = () => this.channel === channel && this.#fire("open", { open: this.isOpen });
    channel.addEventListener("open", told);
    channel.addEventListener("close", told);
    channel.addEventListener("message", ({ data }) => {
      if (this.channel !== channel) return;
      const space = data.indexOf(" ");
      const id = data.slice(0, space);
      const text = data.slice(space + 1);
      if (id === "*") this.#fire("notice", { text });
      else this.#fire("message", { id, text });
    });
  }

  #fire(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** How many bytes a text has too many; 0 when it fits. */
export function excessOf(text) {
  return Math.max(0, new TextEncoder().encode(text).length - MAX_BYTES);
}
