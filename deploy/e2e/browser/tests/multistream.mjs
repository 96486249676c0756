// Publishing and watching through the site's pages: multistream over the control channel.

import { assert, hasTiles, hearsSound, isLive, keepToasts, playsPattern, stats, tile, tileIds, toasts, waitFor } from "../probes.mjs";

function isTold(page, count) {
  return waitFor(`"${count}" on a viewer's page`, async () => {
    const seen = await page.textContent("#viewers");
    return { seen, done: seen === count };
  }, 10);
}

export const tests = {
  "publish the test pattern, watch picture and sound": async (stage) => {
    const alice = await stage.publish("alice");
    await isLive(alice);
    const viewer = await stage.watch();
    await isLive(viewer);
    await playsPattern(viewer, `${tile("alice")} video`);
    await hearsSound(viewer);
    const [id] = await tileIds(viewer);
    assert(/^alice\+[a-z0-9]+$/.test(id), `the stream's id is the Full ID, not ${id}`);
  },

  "two publishers, and a viewer who joins late": async (stage) => {
    const early = await stage.watch();
    await isLive(early);
    await early.waitForSelector("#empty:not([hidden])");
    await keepToasts(early);
    await stage.publish("alice");
    await playsPattern(early, `${tile("alice")} video`);
    await stage.publish("bob");
    await playsPattern(early, `${tile("bob")} video`);
    await playsPattern(early, `${tile("alice")} video`);

    const late = await stage.watch();
    await hasTiles(late, ["alice", "bob"]);
    await playsPattern(late, `${tile("alice")} video`);
    await playsPattern(late, `${tile("bob")} video`);
    await hearsSound(late);
    const said = (await toasts(early)).join("|");
    assert(said.includes("alice joined") && said.includes("bob joined"), `both joins were announced, not: ${said}`);
    const connections = await late.evaluate(() => window.keptPeers.filter((pc) => pc.connectionState === "connected").length);
    assert(connections === 1, `all media came in one connection, not ${connections}`);
  },

  "leave and rejoin: tiles and notices follow": async (stage) => {
    await stage.publish("alice");
    const bob = await stage.publish("bob");
    const viewer = await stage.watch();
    await hasTiles(viewer, ["alice", "bob"]);
    await playsPattern(viewer, `${tile("alice")} video`);
    await keepToasts(viewer);
    const aliceTile = await viewer.$(tile("alice"));

    await bob.click("[data-control=leave]");
    await hasTiles(viewer, ["alice"]);
    await waitFor("the notice that bob left", async () => (await toasts(viewer)).includes("bob left"));
    await playsPattern(viewer, `${tile("alice")} video`);

    await stage.publish("bob");
    await hasTiles(viewer, ["alice", "bob"]);
    await waitFor("the notice that bob joined", async () => (await toasts(viewer)).includes("bob joined"));
    await playsPattern(viewer, `${tile("bob")} video`);
    await playsPattern(viewer, `${tile("alice")} video`);
    assert(await aliceTile.evaluate((element) => element.isConnected), "alice's tile stayed where it was");
  },

  "m-lines are used again: leaving and joining doesn't make the offer longer": async (stage) => {
    const viewer = await stage.watch();
    await isLive(viewer);
    for (let round = 0; round < 5; round += 1) {
      const bob = await stage.publish("bob", { width: 160, height: 90 });
      await isLive(bob);
      await hasTiles(viewer, ["bob"]);
      await bob.click("[data-control=leave]");
      await hasTiles(viewer, []);
    }
    const sections = await viewer.evaluate(() => window.keptPeers.at(-1).remoteDescription.sdp.split(/^m=/m).length - 1);
    assert(sections <= 5, `an offer for nobody has ${sections} m-sections`);
  },

  "closing the tab leaves at once": async (stage) => {
    const alice = await stage.publish("alice");
    await isLive(alice);
    const viewer = await stage.watch();
    await hasTiles(viewer, ["alice"]);
    await alice.goto("about:blank");
    await hasTiles(viewer, [], 4); // by DELETE; without it the server would wait for consent to expire
  },

  "conference: both see the other and not themselves; video off and on": async (stage) => {
    const query = { room: stage.room, auto: 1, source: "pattern", width: 320, height: 180 };
    const alice = await stage.open("conference.html", { ...query, id: "alice" });
    const bob = await stage.open("conference.html", { ...query, id: "bob" });
    await Promise.all([isLive(alice), isLive(bob)]);
    await hasTiles(alice, ["bob"]);
    await hasTiles(bob, ["alice"]);
    await playsPattern(alice, `${tile("bob")} video`);
    await playsPattern(bob, `${tile("alice")} video`);
    await hearsSound(alice);

    await bob.click("[data-control=video]");
    await alice.waitForSelector(`${tile("bob")}.no-picture`, { timeout: 10_000 });
    await bob.click("[data-control=video]");
    await alice.waitForSelector(`${tile("bob")}:not(.no-picture)`, { timeout: 10_000 });
    await playsPattern(alice, `${tile("bob")} video`);
  },

  "conference: a shared screen is a publisher of its own": async (stage) => {
    const query = { room: stage.room, auto: 1, source: "pattern", width: 320, height: 180 };
    const alice = await stage.open("conference.html", { ...query, id: "alice" });
    await isLive(alice);
    const viewer = await stage.watch();
    await hasTiles(viewer, ["alice"]);
    await alice.click("[data-control=screen]");
    await hasTiles(viewer, ["alice", "alice-screen"]);
    await hasTiles(alice, []); // one's own screen isn't sent back
    await alice.click("[data-control=screen]");
    await hasTiles(viewer, ["alice"]);
  },

  "tracks are added and removed while publishing": async (stage) => {
    const alice = await stage.publish("alice");
    await isLive(alice);
    const viewer = await stage.watch();
    await playsPattern(viewer, `${tile("alice")} video`);
    await alice.click("[data-control=screen]");
    await hasTiles(viewer, ["alice", "alice"]);
    await waitFor("both pictures", async () => {
      const inbound = (await stats(viewer, "inbound-rtp")).filter((entry) => entry.kind === "video");
      return { seen: inbound.map((entry) => entry.framesDecoded), done: inbound.filter((entry) => entry.framesDecoded > 0).length === 2 };
    });
    await alice.click("[data-control=screen]");
    await hasTiles(viewer, ["alice"]);
    await playsPattern(viewer, `${tile("alice")} video`);
  },

  "audio chat: voices without pictures": async (stage) => {
    const query = { room: stage.room, auto: 1, source: "tone" };
    const alice = await stage.open("audio.html", { ...query, id: "alice" });
    const bob = await stage.open("audio.html", { ...query, id: "bob" });
    await Promise.all([isLive(alice), isLive(bob)]);
    await hasTiles(alice, ["bob"]);
    await hearsSound(alice);
    await hearsSound(bob);
    await waitFor("the level meter to rise", () =>
      alice.evaluate((css) => Number(document.querySelector(`${css} .level`).style.getPropertyValue("--level")) > 0.2, tile("bob")),
    );
    const video = (await stats(alice, "inbound-rtp")).filter((entry) => entry.kind === "video");
    assert(video.length === 0, "no picture was sent");
  },

  "broadcast: the viewers are counted": async (stage) => {
    const host = await stage.open("broadcast.html", {
      room: stage.room, id: "host", role: "host", auto: 1, source: "pattern", width: 320, height: 180,
    });
    await isLive(host);
    const shows = (count) => waitFor(`"${count}" on the host's page`, async () => {
      const seen = await host.textContent("#viewers");
      return { seen, done: seen === count };
    }, 10);
    await shows("0 viewers");
    const viewer = await stage.open("broadcast.html", { room: stage.room, role: "viewer", auto: 1 });
    await playsPattern(viewer, `${tile("host")} video`);
    await shows("1 viewer");
    const second = await stage.open("broadcast.html", { room: stage.room, role: "viewer", auto: 1 });
    await isLive(second);
    await shows("2 viewers");
    await isTold(viewer, "2 viewers");
    await second.click("[data-control=leave]");
    await shows("1 viewer");
  },

  "broadcast: viewers are told the count, and needn't ask": async (stage) => {
    // Who asks is told nonsense.
    const lie = (page) =>
      page.route(/\/session\/[^/]+$/, (route) =>
        route.request().method() === "GET" ? route.fulfill({ json: { publishers: [], subscribers: 77 } }) : route.fallback());
    const open = () => stage.open("broadcast.html", { room: stage.room, role: "viewer", auto: 1 }, { prepare: lie });
    const viewer = await open();
    await isTold(viewer, "1 viewer");
    const second = await open();
    await isTold(second, "2 viewers");
    await isTold(viewer, "2 viewers");
    assert(viewer.posts.filter((path) => /^\/session\/[^/]+\/events$/.test(path)).length === 1, `one stream: ${viewer.posts}`);
    await second.click("[data-control=leave]");
    await isTold(viewer, "1 viewer");
  },

  "broadcast: where no events are offered, viewers ask for the count": async (stage) => {
    const viewer = await stage.open("broadcast.html", { room: stage.room, role: "viewer", auto: 1 }, {
      prepare: (page) =>
        page.route("**/sub/**", async (route) => {
          const response = await route.fetch();
          const { link, ...headers } = response.headers();
          assert(link.includes("server-sent-events"), `the server offers events: ${link}`);
          await route.fulfill({ response, headers });
        }),
    });
    await isTold(viewer, "1 viewer");
    await stage.watch();
    await isTold(viewer, "2 viewers");
    assert(!viewer.posts.some((path) => path.endsWith("/events")), `no stream was asked for: ${viewer.posts}`);
  },

  "a session that the server ends comes back by itself": async (stage) => {
    stage.expectConsole(/404.*session/); // the page asks for its session once more while it is gone
    const alice = await stage.publish("alice");
    await isLive(alice);
    const viewer = await stage.watch();
    await playsPattern(viewer, `${tile("alice")} video`);
    // The viewer's own session is ended behind its back, as a restarted data plane would.
    const [location] = await viewer.evaluate(() =>
      performance.getEntriesByType("resource").map((entry) => entry.name).filter((url) => url.includes("/session/")),
    );
    assert(location, "the page asked for its session's URL");
    const ended = await fetch(location, { method: "DELETE" });
    assert(ended.status === 200, `DELETE answered ${ended.status}`);
    await waitFor("a second POST", () => viewer.posts.length === 2, 20);
    await playsPattern(viewer, `${tile("alice")} video`);
  },
};
