// Conference: each participant is a publisher and a subscriber under the same Full ID, in two PeerConnections. The server
// never sends people their own media back. A shared screen is a publisher of its own, named `<name>-screen`.

import { openScreen, stopStream } from "../capture.js";
import { chatPanel } from "../chat-panel.js";
import { JoinForm } from "../join.js";
import { screenIdOf } from "../names.js";
import { announceMembers, explainOwnName, showStatus, started } from "../room.js";
import { muteButtons, Studio } from "../studio.js";
import { Subscriber } from "../subscriber.js";
import { Tile, TileGrid } from "../tile.js";
import { controlButton, copyText, linkTo, showView, toast } from "../ui.js";
import { Publisher } from "../whip.js";

const form = document.getElementById("join");
const studio = new Studio(form, document.getElementById("preview"));
const joinForm = new JoinForm(form, join, { guest: "guest" });
joinForm.autoStart();

async function join({ room, fullId, token }) {
  const stream = await studio.ensure();
  const subscriber = new Subscriber({ room, fullId, token });
  const publisher = stream && new Publisher({ room, fullId, token, stream });
  const ownIds = [fullId, screenIdOf(fullId)];

  const grid = new TileGrid(document.getElementById("grid"));
  grid.follow(subscriber);
  grid.addEventListener("change", () => {
    document.getElementById("alone").hidden = grid.remoteCount > 0;
    const own = publisher ? 1 : 0;
    const count = grid.remoteCount + own;
    document.getElementById("people").textContent = count === 1 ? "1 person" : `${count} people`;
  });
  explainOwnName(subscriber, document.getElementById("own-name"));
  announceMembers(subscriber, (id) => ownIds.includes(id));
  showStatus(subscriber, document.getElementById("status"));
  const chat = chatPanel(subscriber, document.querySelector(".live"));

  try {
    await started(subscriber);
    if (publisher) await started(publisher);
  } catch (problem) {
    subscriber.stop();
    grid.stop();
    throw problem;
  }

  if (publisher) grid.addOwn(studio.ownTile(publisher));
  studio.addEventListener("replaced", ({ detail }) => publisher?.replaceTrack(detail.before, detail.after));

  const screen = screenShare({ room, fullId, token, grid });
  const leave = async (problem = null) => {
    await Promise.all([publisher?.stop(), subscriber.stop(), screen.stop()]);
    grid.stop();
    studio.release();
    if (!problem) location.assign(linkTo("conference.html", { room, id: fullId.split("+")[0] }));
    else {
      showView("setup");
      joinForm.show(problem);
    }
  };
  for (const connection of [publisher, subscriber]) {
    connection?.addEventListener("state", ({ detail }) => detail.state === "failed" && leave(detail.problem));
  }

  for (const name of document.querySelectorAll(".room-name")) name.textContent = room;
  document.getElementById("controls").replaceChildren(
    ...(publisher ? muteButtons(studio, publisher) : []),
    screen.button,
    chat,
    controlButton({ name: "link", icon: "link", label: "Invite", onclick: () => copyText(linkTo("conference.html", { room })) }).element,
    controlButton({ name: "leave", icon: "leave", label: "Leave", kind: "danger", onclick: () => leave() }).element,
  );
  showView("live");
}

function screenShare({ room, fullId, token, grid }) {
  let stream = null;
  let publisher = null;
  let tile = null;
  const stop = async () => {
    if (!stream) return;
    const ending = publisher;
    stopStream(stream);
    stream = null;
    publisher = null;
    if (tile) grid.removeOwn(tile);
    tile = null;
    button.set("screen", "Share screen");
    await ending?.stop();
  };
  const start = async () => {
    stream = await openScreen();
    publisher = new Publisher({ room, fullId: screenIdOf(fullId), token, stream });
    stream.getVideoTracks()[0].addEventListener("ended", stop);
    await started(publisher);
    tile = new Tile(publisher.fullId, { own: true, sender: () => publisher?.pc });
    tile.setStream(stream);
    grid.addOwn(tile);
    button.set("screen", "Stop sharing");
  };
  const button = controlButton({
    name: "screen",
    icon: "screen",
    label: "Share screen",
    onclick: async () => {
      try {
        await (stream ? stop() : start());
      } catch (problem) {
        await stop();
        toast(problem.message, "bad");
      }
    },
  });
  return { button: button.element, stop };
}
