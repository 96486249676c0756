// The smallest client there is: one POST after ICE gathering, a channel labelled `control`, a subscriber's offer with nothing
// but that channel, and SDP_OFFER answered by SDP_ANSWER. Clients in the field are written like this.

import { readFile } from "node:fs/promises";
import { hearsSound, isLive, picture, playsPattern, waitFor } from "../probes.mjs";

const page = (name) => readFile(new URL(`../pages/${name}`, import.meta.url), "utf8");

async function openMinimal(stage, name, query) {
  return stage.open(name, query, { routes: { [`/${name}*`]: await page(name) } });
}

async function moves(viewer, selector) {
  const before = (await picture(viewer, selector)).frames;
  await waitFor(`frames in ${selector}`, async () => {
    const { frames, bars } = await picture(viewer, selector);
    // The fake camera is green.
    return { frames, bars, done: frames >= before + 10 && bars.some(([, green]) => green > 80) };
  });
}

export const tests = {
  "a minimal publisher is watched by the site": async (stage) => {
    await openMinimal(stage, "minimal-publisher.html", { room: stage.room, id: "testuser" });
    const viewer = await stage.watch();
    await waitFor("the publisher's tile", async () => (await viewer.locator('article.tile[data-id="testuser"]').count()) === 1);
    await moves(viewer, 'article.tile[data-id="testuser"] video');
    await hearsSound(viewer);
  },

  "a minimal subscriber watches the site's publishers, one after another": async (stage) => {
    await isLive(await stage.publish("alice"));
    const viewer = await openMinimal(stage, "minimal-subscriber.html", { room: stage.room, id: "viewer" });
    await playsPattern(viewer, 'video[data-id^="alice+"]');
    await hearsSound(viewer);
    const bob = await stage.publish("bob");
    await playsPattern(viewer, 'video[data-id^="bob+"]');
    await bob.click("[data-control=leave]");
    await waitFor("bob's video to go", async () => (await viewer.locator('video[data-id^="bob+"]').count()) === 0);
    await playsPattern(viewer, 'video[data-id^="alice+"]');
  },

  "minimal publisher and minimal subscriber": async (stage) => {
    await openMinimal(stage, "minimal-publisher.html", { room: stage.room, id: "testuser" });
    const viewer = await openMinimal(stage, "minimal-subscriber.html", { room: stage.room, id: "viewer" });
    await moves(viewer, 'video[data-id="testuser"]');
    await hearsSound(viewer);
  },
};
