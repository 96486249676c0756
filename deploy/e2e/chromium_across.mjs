// Chromium publishes at one node and watches at another: on the watch page and on the player page.
// Usage: node chromium_across.mjs URL, the publisher's node; the viewers' is in WEEVER_PUBLIC and WEEVER_PRIVATE.

import { launch, Stage } from "./browser/chromium.mjs";
import { hearsSound, playsPattern, tile } from "./browser/probes.mjs";

const [base] = process.argv.slice(2);
const browser = await launch();
const stage = new Stage(browser, { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE });
try {
  const pattern = { room: stage.room, id: "alice", auto: 1, source: "pattern", width: 480, height: 270 };
  await stage.open("publish.html", pattern, { base });
  const viewer = await stage.watch();
  await playsPattern(viewer, `${tile("alice")} video`, 30);
  await hearsSound(viewer);
  const player = await stage.open("player.html", { room: stage.room, auto: 1 });
  await playsPattern(player, "#stage video", 30);
  await hearsSound(player);
  if (stage.troubles.length) throw new Error(stage.troubles.join("\n"));
  console.log("picture and sound on both pages");
} catch (error) {
  console.error(error.message);
  await stage.screenshots(new URL("../../target/e2e/chromium-across", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await browser.close();
}
