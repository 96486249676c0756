// The pages themselves: they load clean everywhere, speak to people, and work by keyboard.

import { assert, hasTiles, isLive, playsPattern, tile, tileIds, waitFor } from "../probes.mjs";

const PAGES = ["", "publish.html", "watch.html", "conference.html", "audio.html", "broadcast.html", "player.html", "manage.html"];
const NARROW = { width: 320, height: 640 };

async function tabTo(page, css) {
  for (let presses = 0; presses < 60; presses += 1) {
    if (await page.evaluate((selector) => document.activeElement?.matches(selector), css)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab never reached ${css}`);
}

export const tests = {
  "every page loads clean on both ports, with a Content-Security-Policy": async (stage) => {
    stage.expectConsole(/404 .*\/(list|pub)\//); // the pages ask whether the other port's API is here
    for (const base of [stage.publicUrl, stage.privateUrl]) {
      for (const path of PAGES) {
        const page = await stage.open(path, {}, { base });
        await page.waitForSelector("weever-header nav a");
        const response = await page.context().request.get(`${base}/${path}`);
        const policy = response.headers()["content-security-policy"] ?? "";
        assert(response.ok(), `${base}/${path} answered ${response.status()}`);
        assert(policy.includes("default-src 'self'") && !policy.includes("unsafe"), `${base}/${path}: Content-Security-Policy: ${policy}`);
        await page.context().close();
      }
    }
  },

  "no page is wider than a phone of 320 px": async (stage) => {
    stage.expectConsole(/404 .*\/(list|pub)\//);
    for (const path of PAGES) {
      const page = await stage.open(path, { id: "a".repeat(128), room: "b".repeat(128) }, { viewport: NARROW });
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(excess <= 0, `/${path} is ${excess} px too wide`);
      await page.context().close();
    }
  },

  "every control has a name for screen readers": async (stage) => {
    stage.expectConsole(/404 .*\/(list|pub)\//);
    for (const path of PAGES) {
      const page = await stage.open(path);
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll("input, select, button, a")]
          .filter((element) => {
            const label = element.labels?.[0]?.textContent ?? "";
            return !(element.getAttribute("aria-label") || element.textContent.trim() || label.trim());
          })
          .map((element) => element.outerHTML.slice(0, 120)),
      );
      assert(nameless.length === 0, `/${path}: ${nameless.join(" ")}`);
      const headings = await page.locator("h1:visible").count();
      assert(headings === 1, `/${path} has ${headings} main headings`);
      await page.context().close();
    }
  },

  "from the start page into a room by keyboard alone": async (stage) => {
    await isLive(await stage.publish("alice"));
    const page = await stage.open("");
    await page.keyboard.press("Tab");
    assert(await page.evaluate(() => document.activeElement.textContent === "Skip to content"), "the first stop skips to the content");
    await tabTo(page, "input[name=room]");
    await page.keyboard.press("Control+A");
    await page.keyboard.type(stage.room);
    await tabTo(page, 'a.door[href*="watch.html"]');
    await page.keyboard.press("Enter");
    await page.waitForURL(/watch\.html/);
    await tabTo(page, "#join [type=submit]");
    await page.keyboard.press("Enter");
    await isLive(page);
    assert(await page.evaluate(() => document.activeElement?.matches("h1.room-name")), "the focus is on the room's name");
    await playsPattern(page, `${tile("alice")} video`);
    await tabTo(page, "[data-control=leave]");
    await page.keyboard.press("Enter");
    await page.waitForSelector('[data-view="setup"]:not([hidden])');
  },

  "publish by keyboard alone, with the test pattern": async (stage) => {
    const page = await stage.open("publish.html", { room: stage.room, width: 320, height: 180 });
    await tabTo(page, "input[name=source]");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    assert((await page.locator("input[name=source]:checked").getAttribute("value")) === "pattern", "arrows choose the source");
    await tabTo(page, "input[name=id]");
    await page.keyboard.type("carol");
    await page.keyboard.press("Enter");
    await isLive(page);
    const viewer = await stage.watch();
    await playsPattern(viewer, `${tile("carol")} video`);
  },

  "names are checked before anything is sent": async (stage) => {
    const page = await stage.open("publish.html", { room: stage.room, source: "pattern" });
    for (const [name, hint] of [["a b", /spaces/], ["a/b", /\//], ["ünal", /ASCII/], ["a".repeat(129), /128/]]) {
      await page.evaluate((value) => (document.querySelector("input[name=id]").value = value), name);
      await page.click("#join [type=submit]");
      const error = await page.textContent(".field-error");
      assert(hint.test(error), `"${name.slice(0, 10)}" is refused in words: ${error}`);
    }
    assert(page.posts.length === 0, "nothing was sent");
  },

  "hostile names are text, never markup": async (stage) => {
    stage.room = `<img"'&${stage.room}`;
    const name = `<b'"&;%41\\`;
    await isLive(await stage.publish(name, { width: 160, height: 90 }));
    const viewer = await stage.watch();
    await waitFor("the tile", async () => (await tileIds(viewer)).length === 1);
    const shown = await viewer.textContent(".tile-name");
    assert(shown === name, `the name is shown as it is, not as ${shown}`);
    assert((await viewer.textContent("h1.room-name")) === stage.room, "the room's name is shown as it is");
    const planted = await viewer.evaluate(() => document.querySelectorAll("main b, main img").length);
    assert(planted === 0, "no element came from a name");
  },

  "a Full ID that is taken is refused in words": async (stage) => {
    stage.expectConsole(/409/);
    await isLive(await stage.publish("alice+same"));
    const second = await stage.publish("alice+same");
    const notice = second.locator(".notice.bad");
    await notice.waitFor();
    assert(/taken/.test(await notice.textContent()), `the notice says why: ${await notice.textContent()}`);
    assert((await second.locator("input[name=id][aria-invalid=true]").count()) === 1, "the name field is marked");
  },

  "a refused token is asked for, beside what the server said": async (stage) => {
    stage.expectConsole(/401/);
    const body = JSON.stringify({ title: "Unauthorized", status: 401, detail: "bad token" });
    const page = await stage.open("watch.html", { room: stage.room, auto: 1 }, {
      prepare: (opened) =>
        opened.route("**/sub/**", (route) => route.fulfill({ status: 401, contentType: "application/problem+json", body })),
    });
    const notice = page.locator(".notice.bad");
    await notice.waitFor();
    assert(/token.*bad token/.test(await notice.textContent()), `the notice: ${await notice.textContent()}`);
    assert(await page.evaluate(() => document.activeElement.name === "token"), "the token field is open and has the focus");
    await page.unroute("**/sub/**");
    await page.keyboard.type("right");
    await page.keyboard.press("Enter");
    await isLive(page);
  },

  "a server that can't be reached is said so, and tried again when it was there before": async (stage) => {
    stage.expectConsole(/ERR_FAILED|404.*session/);
    const page = await stage.open("watch.html", { room: stage.room, auto: 1 }, {
      prepare: (opened) => opened.route("**/sub/**", (route) => route.abort()),
    });
    const notice = page.locator(".notice.bad");
    await notice.waitFor();
    assert(/reached/.test(await notice.textContent()), `the notice: ${await notice.textContent()}`);
    await page.unroute("**/sub/**");
    await page.click("#join [type=submit]");
    await isLive(page);

    await page.route("**/sub/**", (route) => route.abort());
    await page.evaluate(() => window.keptPeers.at(-1).close());
    await page.evaluate(() => window.keptPeers.at(-1).dispatchEvent(new Event("connectionstatechange")));
    await page.waitForSelector('#status[data-state="retrying"]');
    await page.unroute("**/sub/**");
    await page.waitForSelector('#status[data-state="live"]', { timeout: 20_000 });
  },

  "sound that the browser holds back comes by a click": async (stage) => {
    await isLive(await stage.publish("alice", { width: 320, height: 180 }));
    const viewer = await stage.open("watch.html", { room: stage.room, auto: 1 }, {
      prepare: (page) =>
        page.addInitScript(() => {
          // What browsers do by default; the tests' browser is told to play at once.
          let clicked = false;
          addEventListener("click", () => (clicked = true), { capture: true });
          const play = HTMLMediaElement.prototype.play;
          HTMLMediaElement.prototype.play = function () {
            const held = !this.muted && !clicked;
            return held ? Promise.reject(new DOMException("held back", "NotAllowedError")) : play.call(this);
          };
        }),
    });
    const gate = viewer.locator(".sound-gate");
    await gate.waitFor();
    await playsPattern(viewer, `${tile("alice")} video`);
    await gate.click();
    await gate.waitFor({ state: "detached" });
    assert(await viewer.evaluate(() => !document.querySelector("video").muted), "the sound is on");
  },

  "one's own name in two tabs is explained": async (stage) => {
    await isLive(await stage.publish("alice", { width: 160, height: 90 }));
    const viewer = await stage.watch({ id: "alice" });
    await viewer.locator("#own-name").waitFor();
    await hasTiles(viewer, []);
  },

  "manage: who is in, and a token with its links": async (stage) => {
    await isLive(await stage.publish("alice", { width: 160, height: 90 }));
    await isLive(await stage.watch());
    const page = await stage.open("manage.html", { room: stage.room }, { base: stage.privateUrl });
    await waitFor("both in the lists", async () => {
      const seen = [await page.textContent("#pub-count"), await page.textContent("#sub-count")];
      return { seen, done: seen.join() === "1,1" };
    });
    assert((await page.textContent("#pub-list code")).startsWith("alice+"), "the Full ID is listed");
    await waitFor("the room and its codecs", async () => {
      const seen = `${await page.textContent("#rooms")} ${await page.textContent("#pub-list small")}`;
      return { seen, done: seen.includes(stage.room) && /opus/i.test(seen) };
    });
    await page.fill("#token-form [name=id]", "dora");
    await page.click("#token-form [type=submit]");
    await page.waitForSelector("#links a");
    const links = await page.locator("#links a").evaluateAll((all) => all.map((link) => link.href));
    assert(links.length === 2 && links.every((link) => /room=.*id=dora#token=\w{20}/.test(link)), `links: ${links}`);
  },

  "manage: packets of a session, as a capture and as JSON": async (stage) => {
    await isLive(await stage.publish("alice", { width: 160, height: 90 }));
    const page = await stage.open("manage.html", { room: stage.room }, { base: stage.privateUrl });
    const fetched = async (words) => {
      const link = page.locator("#pub-list .packets a", { hasText: words });
      await link.waitFor();
      const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
      const { pathname, searchParams } = new URL(download.url());
      const names = decodeURIComponent(pathname);
      assert(names.startsWith(`/rooms/${stage.room}/pub/alice+`), `its own packets: ${names}`);
      assert(searchParams.get("seconds") === "10", `it ends by itself: ${searchParams}`);
      const chunks = [];
      for await (const chunk of await download.createReadStream()) chunks.push(chunk);
      return { name: download.suggestedFilename(), bytes: Buffer.concat(chunks) };
    };
    const [capture, lines] = [await fetched("capture"), await fetched("JSON")];
    assert(capture.name.endsWith(".pcapng"), `the file's name: ${capture.name}`);
    assert(capture.bytes.readUInt32LE(0) === 0x0a0d0d0a && capture.bytes.length > 10_000, `a capture of ${capture.bytes.length} bytes`);
    const types = lines.bytes.toString().trim().split("\n").map((line) => JSON.parse(line).type);
    assert(types[0] === "session" && types.at(-1) === "end", `from ${types[0]} to ${types.at(-1)}`);
    assert(types.filter((type) => type === "rtp").length > 100, "packets that passed");
  },

  "manage disconnects a publisher": async (stage) => {
    stage.expectConsole(/404.*session/);
    const alice = await stage.publish("alice", { width: 160, height: 90 });
    await isLive(alice);
    const page = await stage.open("manage.html", { room: stage.room }, { base: stage.privateUrl });
    await page.click('#pub-list button[aria-label^="Disconnect alice+"]');
    await alice.waitForSelector('#status:not([data-state="live"])');
    await waitFor("the publisher's page to come back by itself", () => alice.posts.length === 2, 20);
  },

  "manage explains itself on the public port": async (stage) => {
    stage.expectConsole(/404 .*\/list\//);
    const page = await stage.open("manage.html", { room: stage.room });
    await page.locator("#blocked").waitFor();
    assert(/--debug/.test(await page.textContent("#blocked")), "it says how to get there");
  },

  "publishing from the operator's port is explained": async (stage) => {
    stage.expectConsole(/404|405/);
    const page = await stage.open(
      "publish.html",
      { room: stage.room, id: "alice", auto: 1, source: "pattern", width: 160, height: 90 },
      { base: stage.privateUrl },
    );
    const notice = page.locator(".notice.bad");
    await notice.waitFor();
    assert(/public address/.test(await notice.textContent()), `the notice says where to go: ${await notice.textContent()}`);
  },

  "themes: system, light, dark, and the choice is kept": async (stage) => {
    const page = await stage.open("watch.html", {}, { colorScheme: "dark" });
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await ground();
    await page.click("button.theme");
    const light = await ground();
    assert(dark !== light, "light differs from the dark system theme");
    await page.reload();
    assert((await ground()) === light, "the choice outlives a reload");
    await page.click("button.theme");
    assert((await ground()) === dark, "dark is dark");
  },
};
