// The plain WHEP player page: no data channel, slots that wait, play, pause and resume within one session.

import { assert, hearsSound, isLive, picture, playsPattern, waitFor } from "../probes.mjs";

const VIDEO = "#stage video";

function play(stage, query = {}) {
  return stage.open("player.html", { room: stage.room, auto: 1, ...query });
}

export const tests = {
  "player waits, plays, waits and plays again in one session": async (stage) => {
    const player = await play(stage);
    await isLive(player);
    await waitFor("the waiting state", async () => (await player.textContent("#status")) === "Waiting for a publisher");

    const first = await stage.publish("alice");
    await playsPattern(player, VIDEO);
    await hearsSound(player);

    await first.click("[data-control=leave]");
    await waitFor("the waiting state again", async () => (await player.textContent("#status")) === "Waiting for a publisher");

    await stage.publish("alice");
    await playsPattern(player, VIDEO);
    await hearsSound(player);
    const sessions = player.posts.filter((path) => path.startsWith("/sub/")).length;
    assert(sessions === 1, `one session served all of it, not ${sessions}`);
    assert((await player.textContent("#viewers")) === "1 viewer", "it is told how many watch");
  },

  "player goes on with the next publisher when the first leaves": async (stage) => {
    const alice = await stage.publish("alice", { width: 480, height: 270 });
    await isLive(alice);
    const bob = await stage.publish("bob", { width: 320, height: 240 });
    await isLive(bob);
    const player = await play(stage);
    await playsPattern(player, VIDEO);
    const before = await picture(player, VIDEO);
    assert(before.width * 9 === before.height * 16, `alice, the longest live, is shown first, not ${before.width}x${before.height}`);
    await alice.click("[data-control=leave]");
    await waitFor("bob's picture", async () => {
      const { width, height } = await picture(player, VIDEO);
      return { width, height, done: width * 3 === height * 4 };
    });
    await playsPattern(player, VIDEO);
    assert(player.posts.filter((path) => path.startsWith("/sub/")).length === 1, "it stayed one session");
  },

  "player with ?from= shows that publisher": async (stage) => {
    await isLive(await stage.publish("alice", { width: 480, height: 270 }));
    await isLive(await stage.publish("bob", { width: 320, height: 240 }));
    const player = await play(stage, { from: "bob" });
    await playsPattern(player, VIDEO);
    const { width, height } = await picture(player, VIDEO);
    assert(width * 3 === height * 4, `bob's picture is 4:3, this one is ${width}x${height}`);
  },
};
