// Every video codec that Chromium sends, published and watched; none may be missing from this list or from the browser.

import { assert, hearsSound, isLive, playsPattern, stats, tile, waitFor } from "../probes.mjs";

const CODECS = ["VP8", "VP9", "H264", "AV1"];

function codecTest(codec) {
  return async (stage) => {
    const alice = await stage.publish("alice", { codec, width: 320, height: 180 });
    await isLive(alice);
    const viewer = await stage.watch();
    await playsPattern(viewer, `${tile("alice")} video`, 30);
    await hearsSound(viewer);
    await waitFor(`${codec} in the viewer's stats`, async () => {
      const seen = (await stats(viewer, "inbound-rtp")).filter((entry) => entry.kind === "video").map((entry) => entry.codec);
      return { seen, done: seen.length === 1 && seen[0]?.toLowerCase() === `video/${codec.toLowerCase()}` };
    });
    const player = await stage.open("player.html", { room: stage.room, auto: 1 });
    await playsPattern(player, "#stage video", 30);
  };
}

export const tests = {
  ...Object.fromEntries(CODECS.map((codec) => [`codec ${codec}: published, watched, played`, codecTest(codec)])),

  "the codec list covers what this browser sends": async (stage) => {
    const page = await stage.open("publish.html");
    const offered = await page.locator("select[name=codec] option").evaluateAll((options) => options.map((option) => option.value).filter(Boolean));
    for (const codec of CODECS) assert(offered.includes(codec), `${codec} is not offered by this browser (it offers ${offered})`);
    const untested = offered.filter((codec) => !CODECS.includes(codec) && codec !== "H265");
    assert(untested.length === 0, `untested: ${untested}`);
  },

  "two codecs in one room": async (stage) => {
    await isLive(await stage.publish("alice", { codec: "H264", width: 320, height: 180 }));
    await isLive(await stage.publish("bob", { codec: "VP9", width: 320, height: 180 }));
    const viewer = await stage.watch();
    await playsPattern(viewer, `${tile("alice")} video`);
    await playsPattern(viewer, `${tile("bob")} video`);
  },
};
