// Chat between pages, and a publisher that sees who watches.

import { assert, isLive, waitFor } from "../probes.mjs";

const openChat = async (page) => {
  await page.click("[data-control=chat]");
  await page.waitForSelector(".chat-form input:enabled");
};

const say = async (page, text) => {
  await page.fill(".chat-form input", text);
  await page.keyboard.press("Enter");
};

const said = (page) => page.locator(".chat-log li p").allTextContents();

const hears = (page, wanted) =>
  waitFor(`the words ${wanted.join(" | ")}`, async () => {
    const seen = await said(page);
    return { seen, done: seen.join("\n") === wanted.join("\n") };
  });

export const tests = {
  "people of a room chat, whatever page they came by": async (stage) => {
    const { room } = stage;
    const host = await stage.open("broadcast.html", { room, role: "host", id: "anna", auto: 1, source: "pattern", width: 320, height: 180 });
    const viewer = await stage.watch({ id: "ben" });
    const guest = await stage.open("conference.html", { room, id: "cleo", auto: 1, source: "none" });
    for (const page of [host, viewer, guest]) await isLive(page);
    await openChat(host);
    await openChat(guest);
    await say(host, "Welcome, all!");
    await say(guest, "<b>hello</b>");
    const all = ["Welcome, all!", "<b>hello</b>"];
    await hears(host, all);
    await hears(guest, all);
    assert((await viewer.locator(".badge").textContent()) === "2", "what wasn't read is counted");
    await openChat(viewer);
    await hears(viewer, all);
    assert(await viewer.locator(".badge").isHidden(), "and isn't any more once it was");
    await say(viewer, "x".repeat(5000));
    await viewer.waitForSelector('.chat-notice:has-text("too long")');
    for (let n = 0; n < 14; n += 1) await say(viewer, `quick ${n}`);
    await viewer.waitForSelector('.chat-notice:has-text("too fast")');
    const names = await host.locator(".chat-name").allTextContents();
    assert(names.slice(0, 3).join() === "You,cleo,ben", `names: ${names}`);
    await viewer.keyboard.press("Escape");
    assert(await viewer.locator(".chat").isHidden(), "Escape closes it");
    assert(await viewer.evaluate(() => document.activeElement.matches("[data-control=chat]")), "the focus goes back to its button");
  },

  "a publisher sees who watches": async (stage) => {
    const publisher = await stage.publish("anna");
    await isLive(publisher);
    const names = () => publisher.locator("#viewer-names li").allTextContents();
    const shows = (wanted) =>
      waitFor(`the viewers ${wanted}`, async () => {
        const seen = [(await names()).join(), await publisher.locator("#viewers").textContent()];
        return { seen, done: seen[0] === wanted.join() && seen[1] === String(wanted.length) };
      });
    await shows([]);
    const ben = await stage.watch({ id: "ben" });
    await isLive(ben);
    await shows(["ben"]);
    await isLive(await stage.watch({ id: "anna" })); // her own: she is sent nothing of herself
    await isLive(await stage.open("player.html", { room: stage.room, id: "cleo", auto: 1 }));
    await shows(["cleo", "ben"]);
    await ben.click("[data-control=leave]");
    await shows(["cleo"]);
  },
};
