// Player: plain WHEP, as any standard player does it: receive-only m-lines, no data channel. See ../whep.js.

import { JoinForm } from "../join.js";
import { showStatus, started } from "../room.js";
import { Tile } from "../tile.js";
import { controlButton, copyText, linkTo, params, showView } from "../ui.js";
import { showViewerCount } from "../viewer-count.js";
import { Player } from "../whep.js";

const form = document.getElementById("join");
const status = document.getElementById("status");
form.elements.from.value = params.get("from") ?? "";

const joinForm = new JoinForm(form, play, { guest: "player", named: false });
joinForm.autoStart();

async function play({ room, fullId, token }) {
  const from = form.elements.from.value.trim();
  const player = new Player({ room, fullId, token, from });
  const tile = new Tile(from || room);
  player.addEventListener("track", ({ detail }) => tile.addTrack(detail.track, detail.receiver));
  player.addEventListener("state", ({ detail }) => {
    if (detail.state === "connecting") for (const track of tile.stream.getTracks()) tile.removeTrack(track);
    if (detail.state === "failed") {
      document.getElementById("viewers").textContent = "";
      tile.remove();
      showView("setup");
      joinForm.show(detail.problem);
    }
  });
  showStatus(player, status, { live: "Waiting for a publisher" });
  await started(player);
  const stopCounting = showViewerCount(player, document.getElementById("viewers"));

  // In this mode nobody tells us who comes and goes: the picture itself does.
  let before = 0;
  setInterval(async () => {
    const stats = await tile.refresh();
    tile.refreshLevel();
    if (player.state !== "live" || !stats) return;
    const packets = (stats.video?.packets ?? 0) + (stats.audio?.packets ?? 0);
    status.textContent = packets > before ? "Playing" : "Waiting for a publisher";
    status.dataset.state = packets > before ? "live" : "waiting";
    before = packets;
  }, 1000);

  document.getElementById("stage").replaceChildren(tile.element);
  document.querySelector(".room-name").textContent = room;
  const query = { room, auto: "1", ...(from && { from }) };
  const leave = async () => {
    stopCounting();
    await player.stop();
    location.assign(linkTo("player.html", { room, ...(from && { from }) }));
  };
  document.getElementById("controls").replaceChildren(
    controlButton({ name: "link", icon: "link", label: "Copy link", onclick: () => copyText(linkTo("player.html", query)) }).element,
    controlButton({ name: "leave", icon: "leave", label: "Stop", kind: "danger", onclick: leave }).element,
  );
  showView("live");
}
