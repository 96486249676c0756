// Chromium watches a room of publishers that come and go, until one of a given name is there and its picture of the room
// has been the same for a while. Prints the Full IDs that it sees.
// Usage: node chromium_storm.mjs ROOM LAST, with WEEVER_PUBLIC and WEEVER_PRIVATE in the environment.

import { launch, Stage } from "./browser/chromium.mjs";
import { isLive, tileIds, waitFor } from "./browser/probes.mjs";

const STORM_SECONDS = 70;
const CALM_MS = 3000;

const [room, last] = process.argv.slice(2);
const browser = await launch();
const stage = new Stage(browser, { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE });
stage.room = room;
try {
  const page = await stage.watch({ id: "chromium" });
  await isLive(page);
  let seen = "";
  let since = Date.now();
  await waitFor("the storm to be over", async () => {
    const now = (await tileIds(page)).join(" ");
    if (now !== seen) [seen, since] = [now, Date.now()];
    return { seen, done: seen.includes(`${last}+`) && Date.now() - since > CALM_MS };
  }, STORM_SECONDS);
  console.log(seen);
  if (stage.troubles.length) throw new Error(stage.troubles.join("\n"));
} catch (error) {
  console.error(error.message);
  await stage.screenshots(new URL("../../target/e2e/chromium-storm", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await browser.close();
}
