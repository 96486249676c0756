// Broadcast: a few on the stage, any number watching. Hosts publish; viewers only subscribe. How many watch:
// ../viewer-count.js.

import { chatPanel } from "../chat-panel.js";
import { JoinForm } from "../join.js";
import { announceMembers, explainOwnName, showStatus, started } from "../room.js";
import { muteButtons, Studio } from "../studio.js";
import { Subscriber } from "../subscriber.js";
import { TileGrid } from "../tile.js";
import { controlButton, copyText, linkTo, params, showView } from "../ui.js";
import { showViewerCount } from "../viewer-count.js";
import { Publisher } from "../whip.js";

const form = document.getElementById("join");
if (params.get("role") === "viewer") form.elements.role.value = "viewer";
if (params.get("role") === "host") form.elements.role.value = "host";
const empty = document.getElementById("empty");
const live = document.querySelector(".live");

form.dataset.role = form.elements.role.value;
const studio = new Studio(form, document.getElementById("preview"));

const showRole = () => {
  form.dataset.role = form.elements.role.value;
  form.querySelector("[type=submit] span").textContent = isHost() ? "Go on air" : "Watch";
  joinForm.setNamed(isHost());
};
const joinForm = new JoinForm(form, join, { guest: "guest" });
for (const radio of form.elements.role) {
  radio.addEventListener("change", () => {
    showRole();
    studio.choose(); // who only watches needs no camera
  });
}
showRole();
joinForm.autoStart();

function isHost() {
  return form.elements.role.value === "host";
}

async function join(who) {
  const grid = new TileGrid(document.getElementById("grid"));
  const { connection, chat } = isHost() ? await host(who, grid) : await viewer(who, grid);
  const stopCounting = showViewerCount(connection, document.getElementById("viewers"));
  const finish = async (problem = null) => {
    stopCounting();
    await connection.stop();
    grid.stop();
    studio.release();
    if (!problem) location.assign(linkTo("broadcast.html", { room: who.room, role: isHost() ? "host" : "viewer" }));
    else {
      showView("setup");
      joinForm.show(problem);
    }
  };
  connection.addEventListener("state", ({ detail }) => detail.state === "failed" && finish(detail.problem));
  studio.addEventListener("ended", () => finish());

  const copy = () => copyText(linkTo("broadcast.html", { room: who.room, role: "viewer", auto: "1" }));
  document.getElementById("controls").replaceChildren(
    ...(isHost() ? muteButtons(studio, connection) : []),
    chat,
    controlButton({ name: "link", icon: "link", label: "Copy viewer link", onclick: copy }).element,
    controlButton({ name: "leave", icon: "leave", label: isHost() ? "End" : "Leave", kind: "danger", onclick: () => finish() }).element,
  );
  for (const name of document.querySelectorAll(".room-name")) name.textContent = who.room;
  showView("live");
}

async function host({ room, fullId, token }, grid) {
  const stream = await studio.ensure();
  const publisher = new Publisher({ room, fullId, token, stream });
  showStatus(publisher, document.getElementById("status"), { live: "On air" });
  const chat = chatPanel(publisher, live);
  await started(publisher);

  empty.hidden = true;
  grid.addOwn(studio.ownTile(publisher));
  studio.addEventListener("replaced", ({ detail }) => publisher.replaceTrack(detail.before, detail.after));
  return { connection: publisher, chat };
}

async function viewer({ room, fullId, token }, grid) {
  const subscriber = new Subscriber({ room, fullId, token });
  grid.follow(subscriber);
  const change = () => (empty.hidden = grid.count > 0);
  grid.addEventListener("change", change);
  explainOwnName(subscriber, document.getElementById("own-name"));
  announceMembers(subscriber);
  showStatus(subscriber, document.getElementById("status"), { live: "Watching" });
  const chat = chatPanel(subscriber, live);
  await started(subscriber);
  change();
  return { connection: subscriber, chat };
}
