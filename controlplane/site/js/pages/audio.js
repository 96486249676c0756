// Audio chat: like the conference, with sound only. The publisher's offer simply has no picture in it.

import { JoinForm } from "../join.js";
import { announceMembers, explainOwnName, showStatus, started } from "../room.js";
import { muteButtons, Studio } from "../studio.js";
import { Subscriber } from "../subscriber.js";
import { TileGrid } from "../tile.js";
import { controlButton, copyText, linkTo, showView } from "../ui.js";
import { Publisher } from "../whip.js";

const form = document.getElementById("join");
const studio = new Studio(form, document.getElementById("preview"));
const joinForm = new JoinForm(form, join, { guest: "guest" });
joinForm.autoStart();

async function join({ room, fullId, token }) {
  const stream = await studio.ensure();
  const subscriber = new Subscriber({ room, fullId, token });
  const publisher = stream && new Publisher({ room, fullId, token, stream });

  const grid = new TileGrid(document.getElementById("grid"));
  grid.follow(subscriber);
  grid.addEventListener("change", () => {
    document.getElementById("alone").hidden = grid.remoteCount > 0;
    const count = grid.remoteCount + (publisher ? 1 : 0);
    document.getElementById("people").textContent = count === 1 ? "1 voice" : `${count} voices`;
  });
  explainOwnName(subscriber, document.getElementById("own-name"));
  announceMembers(subscriber, (id) => id === fullId);
  showStatus(subscriber, document.getElementById("status"));

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

  const leave = async (problem = null) => {
    await Promise.all([publisher?.stop(), subscriber.stop()]);
    grid.stop();
    studio.release();
    if (!problem) location.assign(linkTo("audio.html", { room, id: fullId.split("+")[0] }));
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
    controlButton({ name: "link", icon: "link", label: "Invite", onclick: () => copyText(linkTo("audio.html", { room })) }).element,
    controlButton({ name: "leave", icon: "leave", label: "Leave", kind: "danger", onclick: () => leave() }).element,
  );
  showView("live");
}
