// What pages say about a connection and its room: the status line, and who comes and goes.

import { baseOf, displayName, screenIdOf } from "./names.js";
import { toast } from "./ui.js";

const WORDS = {
  connecting: "Connecting…",
  live: "Connected",
  retrying: "Connection lost. Coming back…",
  failed: "Not connected",
  ended: "Left",
};

/** Shows a Connection's state in an element (`<p class="status" role="status">`). */
export function showStatus(connection, element, words = {}) {
  connection.addEventListener("state", ({ detail }) => {
    element.dataset.state = detail.state;
    const text = words[detail.state] ?? WORDS[detail.state];
    element.textContent = detail.state === "retrying" && detail.problem ? `${detail.problem.message} Trying again…` : text;
  });
}

/** Says who joins and leaves, as short notices. One's own names are left out. */
export function announceMembers(subscriber, isOwn = () => false) {
  subscriber.addEventListener("join", ({ detail: { id } }) => isOwn(id) || toast(`${displayName(id)} joined`, "joined"));
  subscriber.addEventListener("left", ({ detail: { id } }) => isOwn(id) || toast(`${displayName(id)} left`, "left"));
}

/**
 * Nobody is sent the media of their own ID. Somebody who tries Weever out in two tabs under one name would see nothing:
 * shows `element` then, which explains it.
 */
export function explainOwnName(subscriber, element) {
  const { fullId } = subscriber;
  const isTwin = (id) => baseOf(id) === baseOf(fullId) && id !== fullId && id !== screenIdOf(fullId);
  const look = async () => {
    const info = await subscriber.info();
    if (info) element.hidden = !info.publishers?.some(isTwin);
  };
  for (const event of ["tracks", "join", "left"]) subscriber.addEventListener(event, look);
}

/**
 * Starts a connection and waits for the first outcome: resolves once it is live, throws its Problem when it can't be.
 * A server that can't be reached counts as an outcome too, so that a form can say so.
 */
export function started(connection) {
  return new Promise((resolve, reject) => {
    const look = ({ detail }) => {
      if (detail.state === "connecting") return;
      connection.removeEventListener("state", look);
      if (detail.state === "live") resolve();
      else {
        connection.stop();
        reject(detail.problem);
      }
    };
    connection.addEventListener("state", look);
    connection.start();
  });
}
