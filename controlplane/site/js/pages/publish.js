// Publish: one PeerConnection that sends a camera, a screen or the test pattern into a room. See ../whip.js for the protocol.

import { openScreen, stopStream } from "../capture.js";
import { JoinForm } from "../join.js";
import { showStatus, started } from "../room.js";
import { StatsPanel, StatsReader } from "../stats.js";
import { muteButtons, Studio } from "../studio.js";
import { controlButton, copyText, el, linkTo, params, showView, toast } from "../ui.js";
import { followViewers, showViewers } from "../viewers.js";
import { Publisher, videoCodecs } from "../whip.js";

const form = document.getElementById("join");
const studio = new Studio(form, document.getElementById("preview"));
const stage = document.getElementById("stage");
const side = document.getElementById("side");

for (const name of videoCodecs()) form.elements.codec.append(el("option", { value: name, text: name }));
form.elements.codec.value = params.get("codec") ?? "";

const joinForm = new JoinForm(form, publish, { guest: "publisher" });
joinForm.autoStart();

async function publish({ room, fullId, token }) {
  const stream = await studio.ensure();
  const publisher = new Publisher({ room, fullId, token, stream, codec: form.elements.codec.value });
  showStatus(publisher, document.getElementById("status"), { live: "On air" });
  followViewers(publisher, (viewers) => {
    document.getElementById("viewers").textContent = String(viewers.size);
    showViewers(viewers, document.getElementById("viewer-names"));
  });
  await started(publisher);
  goLive(publisher);
}

function goLive(publisher) {
  const { room, fullId } = publisher;
  document.getElementById("room-name").textContent = room;
  document.getElementById("full-id").textContent = fullId;
  document.getElementById("watch-link").href = linkTo("watch.html", { room, auto: "1" });
  stage.replaceChildren(studio.ownTile(publisher).element);

  const stats = new StatsPanel("What is being sent");
  stats.element.open = true;
  side.querySelector(".stats")?.remove();
  side.append(stats.element);
  const reader = new StatsReader(() => (publisher.pc ? [publisher.pc] : []));
  const timer = setInterval(async () => stats.show(await reader.read()), 1000);

  const leave = async () => {
    clearInterval(timer);
    await publisher.stop();
    studio.release();
    location.assign(linkTo("publish.html", { room, id: fullId.split("+")[0] }));
  };
  const copy = () => copyText(linkTo("watch.html", { room }));
  document.getElementById("controls").replaceChildren(
    ...muteButtons(studio, publisher),
    screenButton(publisher),
    controlButton({ name: "link", icon: "link", label: "Copy watch link", onclick: copy }).element,
    controlButton({ name: "leave", icon: "leave", label: "Stop", kind: "danger", onclick: leave }).element,
  );

  studio.addEventListener("replaced", ({ detail }) => publisher.replaceTrack(detail.before, detail.after));
  studio.addEventListener("ended", leave);
  publisher.addEventListener("state", ({ detail }) => {
    if (detail.state === "failed") {
      clearInterval(timer);
      showView("setup");
      joinForm.show(detail.problem);
    }
  });
  showView("live");
}

// A second picture in the same session: the tracks are added by renegotiation on the control channel.
function screenButton(publisher) {
  let screen = null;
  const stop = async () => {
    const track = screen?.getVideoTracks()[0];
    stopStream(screen);
    screen = null;
    button.set("screen", "Add screen");
    if (track) await publisher.removeTrack(track);
  };
  const button = controlButton({
    name: "screen",
    icon: "screen",
    label: "Add screen",
    onclick: async () => {
      try {
        if (screen) return await stop();
        screen = await openScreen();
        const [track] = screen.getVideoTracks();
        track.addEventListener("ended", stop);
        button.set("screen", "Remove screen");
        await publisher.addTrack(track);
      } catch (problem) {
        toast(problem.message, "bad");
      }
    },
  });
  return button.element;
}
