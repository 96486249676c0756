// Watch: everybody who publishes in a room, in one PeerConnection. See ../subscriber.js for the protocol.

import { chatPanel } from "../chat-panel.js";
import { JoinForm } from "../join.js";
import { announceMembers, explainOwnName, showStatus, started } from "../room.js";
import { Subscriber } from "../subscriber.js";
import { TileGrid } from "../tile.js";
import { controlButton, copyText, linkTo, showView } from "../ui.js";

const empty = document.getElementById("empty");
const people = document.getElementById("people");

const joinForm = new JoinForm(document.getElementById("join"), watch, { guest: "viewer", named: false });
joinForm.autoStart();

async function watch({ room, fullId, token }) {
  const subscriber = new Subscriber({ room, fullId, token });
  const grid = new TileGrid(document.getElementById("grid"));
  grid.follow(subscriber);
  grid.addEventListener("change", () => {
    empty.hidden = grid.count > 0;
    people.textContent = grid.count === 1 ? "1 on air" : `${grid.count} on air`;
  });
  explainOwnName(subscriber, document.getElementById("own-name"));
  announceMembers(subscriber);
  showStatus(subscriber, document.getElementById("status"));
  subscriber.addEventListener("state", ({ detail }) => {
    if (detail.state !== "failed") return;
    grid.stop();
    showView("setup");
    joinForm.show(detail.problem);
  });
  const chat = chatPanel(subscriber, document.querySelector(".live"));
  await started(subscriber);

  for (const name of document.querySelectorAll(".room-name")) name.textContent = room;
  document.getElementById("publish-link").href = linkTo("publish.html", { room });
  const leave = async () => {
    await subscriber.stop();
    location.assign(linkTo("watch.html", { room }));
  };
  document.getElementById("controls").replaceChildren(
    chat,
    controlButton({ name: "link", icon: "link", label: "Copy link", onclick: () => copyText(linkTo("watch.html", { room })) }).element,
    controlButton({ name: "leave", icon: "leave", label: "Leave", kind: "danger", onclick: leave }).element,
  );
  showView("live");
}
