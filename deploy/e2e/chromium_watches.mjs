// Chromium watches a publisher of another kind that shows colour bars: on the watch page and on the player page.
// Usage: node chromium_watches.mjs ROOM NAME, with WEEVER_PUBLIC and WEEVER_PRIVATE in the environment.

import { launch, Stage } from "./browser/chromium.mjs";
import { hearsSound, playsPattern, tile } from "./browser/probes.mjs";

const [room, name] = process.argv.slice(2);
const browser = await launch();
const stage = new Stage(browser, { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE });
stage.room = room;
try {
  const viewer = await stage.watch();
  await playsPattern(viewer, `${tile(name)} video`, 30);
  await hearsSound(viewer);
  const player = await stage.open("player.html", { room, auto: 1 });
  await playsPattern(player, "#stage video", 30);
  await hearsSound(player);
  if (stage.troubles.length) throw new Error(stage.troubles.join("\n"));
} catch (error) {
  console.error(error.message);
  await stage.screenshots(new URL("../../target/e2e/chromium-watches", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await browser.close();
}
