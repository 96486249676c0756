// Chromium publishes the test pattern in one codec; viewers play it over a path that loses packets. Prints a line of
// JSON for each: frames sent and decoded, packets received and lost, freezes in so many seconds; NACKs in all.
// Usage: node viewers_play.mjs ROOM CODEC SECONDS SERVER_PORT "HOST PORT" VIEWER..., with WEEVER_PUBLIC and
// WEEVER_PRIVATE in the environment. VIEWER is chromium, firefox or gstreamer; candidates of SERVER_PORT are led to
// HOST PORT.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { launch, Stage } from "./browser/chromium.mjs";
import * as firefox from "./browser/firefox.mjs";
import { isLive, picture, showsPattern, stats, waitFor } from "./browser/probes.mjs";

const [room, codec, seconds, serverPort, path, ...viewers] = process.argv.slice(2);
const urls = { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE };
const chromium = await launch();
const stage = new Stage(chromium, urls);
stage.room = room;

// Runs in the page before its scripts.
function detour({ from, to }) {
  const original = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    const candidates = /^(a=candidate:\S+ \d+ \S+ \d+) (\S+) (\d+) typ/gm;
    const led = sdp.replace(candidates, (_, head, host, port) => `${head} ${port === from ? to : `${host} ${port}`} typ`);
    return original.call(this, { type, sdp: led });
  };
}

const video = async (page, type) => (await stats(page, type)).find((entry) => entry.kind === "video") ?? {};

/** A browser on the site's player page: counts are those of its statistics. */
async function browserViewer(name) {
  const way = { from: serverPort, to: path };
  const query = { room, auto: 1 };
  const firefoxes = name === "firefox" ? await firefox.launch() : undefined;
  const page = firefoxes
    ? await firefox.open(firefoxes, `${urls.publicUrl}/player.html?${new URLSearchParams(query)}`, detour, way)
    : await stage.open("player.html", query, { prepare: (page) => page.addInitScript(detour, way) });
  const counts = async () => {
    const { codec, framesDecoded, packetsReceived, packetsLost, nackCount, freezeCount } = await video(page, "inbound-rtp");
    return { codec, framesDecoded, packetsReceived, packetsLost, nacks: nackCount, freezes: freezeCount };
  };
  const plays = () => waitFor("the test pattern", async () => {
    const seen = await picture(page, "#stage video");
    return { ...seen, done: showsPattern(seen) };
  }, 40);
  return { counts, plays, close: async () => firefoxes?.close() };
}

/** GStreamer's webrtcbin, in a process of its own that answers each line of its input by its counts. */
function gstreamerViewer() {
  const script = new URL("gstreamer.py", import.meta.url).pathname;
  const url = `${urls.publicUrl}/sub/${room}/gstreamer`;
  const child = spawn("/usr/bin/python3", [script, "play", url, codec, serverPort, ...path.split(" ")], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const counts = async () => {
    child.stdin.write("\n");
    const { value, done } = await lines.next();
    if (done) throw new Error("gstreamer.py ended");
    return { codec: `video/${codec}`, ...JSON.parse(value) };
  };
  const plays = () => waitFor("frames", async () => {
    const seen = await counts();
    return { ...seen, done: seen.framesDecoded > 10 };
  }, 40);
  const close = async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, "exit");
  };
  return { counts, plays, close };
}

async function play(name, publisher) {
  const viewer = name === "gstreamer" ? gstreamerViewer() : await browserViewer(name);
  try {
    await viewer.plays();
    const [sent, seen] = [await video(publisher, "outbound-rtp"), await viewer.counts()];
    await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
    await waitFor("something to be lost", async () => (await viewer.counts()).nacks > 0, 30);
    const [sentLater, seenLater] = [await video(publisher, "outbound-rtp"), await viewer.counts()];
    const grown = (before, after, name) => (after[name] ?? 0) - (before[name] ?? 0);
    return {
      viewer: name,
      codec: seenLater.codec,
      framesSent: grown(sent, sentLater, "framesSent"),
      framesDecoded: grown(seen, seenLater, "framesDecoded"),
      packetsReceived: grown(seen, seenLater, "packetsReceived"),
      packetsLost: grown(seen, seenLater, "packetsLost"),
      nacks: seenLater.nacks,
      freezes: grown(seen, seenLater, "freezes"),
    };
  } finally {
    await viewer.close();
  }
}

try {
  const publisher = await stage.publish("source", { codec, width: 640, height: 360 });
  await isLive(publisher);
  for (const viewer of viewers) console.log(JSON.stringify(await play(viewer, publisher)));
} catch (error) {
  console.error(error.stack ?? error);
  await stage.screenshots(new URL("../../target/e2e/viewers-play", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await chromium.close();
}
