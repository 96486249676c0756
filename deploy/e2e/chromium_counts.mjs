// Chromium watches a room for some seconds and prints what its statistics say of the video's packets, as JSON.
// Usage: node chromium_counts.mjs ROOM SECONDS, with WEEVER_PUBLIC and WEEVER_PRIVATE in the environment.

import { launch, Stage } from "./browser/chromium.mjs";
import { stats, waitFor } from "./browser/probes.mjs";

const [room, seconds] = process.argv.slice(2);
const browser = await launch();
const stage = new Stage(browser, { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE });
const video = async (page) => (await stats(page, "inbound-rtp")).find((entry) => entry.kind === "video");
try {
  const player = await stage.open("player.html", { room, auto: 1 });
  await waitFor("the first packets", async () => (await video(player))?.packetsReceived > 100);
  await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
  const { packetsReceived, packetsLost } = await video(player);
  console.log(JSON.stringify({ packetsReceived, packetsLost }));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await stage.close();
  await browser.close();
}
