// What pages say about a connection and its room: the status line, and who comes and goes.

import { displayName } from "./names.js";
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
