// Firefox, and a page in it.

import puppeteer from "puppeteer-core";
import { keepPeers } from "./chromium.mjs";

const PREFERENCES = {
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
};

export function launch() {
  return puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: PREFERENCES,
  });
}

/** Opens a page; `prepare` runs in it before its scripts, with `argument`. */
export async function open(browser, url, prepare, argument) {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(keepPeers);
  await page.evaluateOnNewDocument(prepare, argument);
  await page.goto(url);
  return page;
}
