// Chromium publishes the test pattern in one codec; browsers play it over a path that loses packets. Prints a line of
// JSON for each: frames sent and decoded, packets received and lost, freezes in so many seconds; NACKs in all.
// Usage: node browsers_play.mjs ROOM CODEC SECONDS SERVER_PORT "HOST PORT" BROWSER..., with WEEVER_PUBLIC and
// WEEVER_PRIVATE in the environment. BROWSER is chromium or firefox; candidates of SERVER_PORT are led to HOST PORT.

import { launch, Stage } from "./browser/chromium.mjs";
import * as firefox from "./browser/firefox.mjs";
import { isLive, picture, showsPattern, stats, waitFor } from "./browser/probes.mjs";

const [room, codec, seconds, serverPort, path, ...browsers] = process.argv.slice(2);
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

async function play(browser, publisher) {
  const way = { from: serverPort, to: path };
  const query = { room, auto: 1 };
  const prepare = (page) => page.addInitScript(detour, way);
  const firefoxes = browser === "firefox" ? await firefox.launch() : undefined;
  try {
    const page = firefoxes
      ? await firefox.open(firefoxes, `${urls.publicUrl}/player.html?${new URLSearchParams(query)}`, detour, way)
      : await stage.open("player.html", query, { prepare });
    await waitFor("the test pattern", async () => {
      const seen = await picture(page, "#stage video");
      return { ...seen, done: showsPattern(seen) };
    }, 40);
    const [sent, seen] = [await video(publisher, "outbound-rtp"), await video(page, "inbound-rtp")];
    await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
    await waitFor("something to be lost", async () => (await video(page, "inbound-rtp")).nackCount > 0, 30);
    const [sentLater, seenLater] = [await video(publisher, "outbound-rtp"), await video(page, "inbound-rtp")];
    const grown = (before, after, name) => (after[name] ?? 0) - (before[name] ?? 0);
    return {
      browser,
      codec: seenLater.codec,
      framesSent: grown(sent, sentLater, "framesSent"),
      framesDecoded: grown(seen, seenLater, "framesDecoded"),
      packetsReceived: grown(seen, seenLater, "packetsReceived"),
      packetsLost: grown(seen, seenLater, "packetsLost"),
      nacks: seenLater.nackCount,
      freezes: grown(seen, seenLater, "freezeCount"),
    };
  } finally {
    await firefoxes?.close();
  }
}

try {
  const publisher = await stage.publish("source", { codec, width: 640, height: 360 });
  await isLive(publisher);
  for (const browser of browsers) console.log(JSON.stringify(await play(browser, publisher)));
} catch (error) {
  console.error(error.stack ?? error);
  await stage.screenshots(new URL("../../target/e2e/browsers-play", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await chromium.close();
}
