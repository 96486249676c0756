// Chromium watches a room, says something in its chat and waits for an answer.
// Usage: node chromium_chats.mjs ROOM FULL-ID, with WEEVER_PUBLIC and WEEVER_PRIVATE in the environment.

import { launch, Stage } from "./browser/chromium.mjs";
import { isLive } from "./browser/probes.mjs";

const [room, id] = process.argv.slice(2);
const browser = await launch();
const stage = new Stage(browser, { publicUrl: process.env.WEEVER_PUBLIC, privateUrl: process.env.WEEVER_PRIVATE });
stage.room = room;
try {
  const page = await stage.watch({ id });
  await isLive(page);
  await page.click("[data-control=chat]");
  await page.waitForSelector(".chat-form input:enabled");
  await page.fill(".chat-form input", "hello from Chromium");
  await page.keyboard.press("Enter");
  await page.waitForSelector('.chat-log li.own:has-text("hello from Chromium")');
  await page.waitForSelector('.chat-log li[data-id="alice+1"]:has-text("hello from aiortc 🐟")');
  if (stage.troubles.length) throw new Error(stage.troubles.join("\n"));
} catch (error) {
  console.error(error.message);
  await stage.screenshots(new URL("../../target/e2e/chromium-chats", import.meta.url).pathname);
  process.exitCode = 1;
} finally {
  await stage.close();
  await browser.close();
}
