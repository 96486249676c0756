// Who watches: a publisher that says `SUBS ON` on its control channel is told
//
//   SUB_JOIN <full id>   of everybody who is there, and of who comes
//   SUB_LEFT <full id>   of who leaves
//   SUBS ON              the server was started anew: forget who was there, the list begins again

import { displayName } from "./names.js";
import { el } from "./ui.js";

const SHOWN_MAX = 40;

/** Follows a Publisher's viewers; calls `changed` with a Set of Full IDs in the order in which they came. */
export function followViewers(publisher, changed) {
  const viewers = new Set();
  publisher.addEventListener("prepare", () => {
    const { channel } = publisher;
    channel.addEventListener("open", () => channel.send("SUBS ON"));
    channel.addEventListener("message", ({ data }) => {
      if (publisher.channel !== channel) return;
      const [verb, id] = data.split(" ", 2);
      if (verb === "SUB_JOIN") viewers.add(id);
      else if (verb === "SUB_LEFT") viewers.delete(id);
      else if (data === "SUBS ON") viewers.clear();
      else return;
      changed(viewers);
    });
    viewers.clear();
    changed(viewers);
  });
}

/** Shows them as a list of names, the latest first. */
export function showViewers(viewers, list) {
  const latest = [...viewers].reverse();
  const items = latest.slice(0, SHOWN_MAX).map((id) => el("li", { text: displayName(id), title: id }));
  if (latest.length > SHOWN_MAX) items.push(el("li", { class: "more-viewers", text: `and ${latest.length - SHOWN_MAX} more` }));
  list.replaceChildren(...items);
}
