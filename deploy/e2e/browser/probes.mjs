// What a test can see of a page: pictures, sound, stats.

/** The test pattern's bars, left to right (controlplane/site/js/pattern.js). */
const BARS = [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];
/** What else a broken picture could show. */
const OTHERS = [[0, 0, 0], [255, 255, 255], [100, 100, 100]];
// Browsers send a canvas in full range and say so in an RTP header extension only; where that is lost, colours come out
// brighter. So a bar must be nearer to its own colour than to any other, and not far from it.
const COLOUR_TOLERANCE = 70;

export async function waitFor(what, check, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  let seen;
  for (;;) {
    seen = await check();
    if (seen === true || (seen && seen.done)) return seen;
    if (Date.now() > end) break;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  const last = seen && seen !== true ? `; last seen: ${JSON.stringify(seen).slice(0, 400)}` : "";
  throw new Error(`waited ${seconds} s for ${what}${last}`);
}

/** The video of a publisher's tile. */
export const tile = (name) => `article.tile[data-id^="${name}+"]`;

/** What a <video> shows: frames so far, its size, and the colours at the middle of each bar. */
export function picture(page, selector) {
  return page.evaluate((css) => {
    const video = document.querySelector(css);
    if (!video || video.videoWidth === 0) return { frames: 0, width: 0, height: 0, bars: [] };
    const { videoWidth: width, videoHeight: height } = video;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const bars = Array.from({ length: 7 }, (_, index) =>
      [...context.getImageData(Math.floor(((index + 0.5) * width) / 7), Math.floor(height * 0.2), 1, 1).data].slice(0, 3),
    );
    return { frames: video.getVideoPlaybackQuality().totalVideoFrames, width, height, bars };
  }, selector);
}

const distance = (one, other) => Math.hypot(...one.map((value, channel) => value - other[channel]));

export function showsPattern({ bars }) {
  return (
    bars.length === BARS.length &&
    bars.every((seen, index) => {
      const own = distance(seen, BARS[index]);
      return own <= COLOUR_TOLERANCE && [...BARS, ...OTHERS].every((other) => other === BARS[index] || distance(seen, other) > own);
    })
  );
}

/** Waits until a <video> shows the pattern and its decoded frames advance. */
export async function playsPattern(page, selector, seconds = 20) {
  const before = (await picture(page, selector)).frames;
  return waitFor(
    `the moving test pattern in ${selector}`,
    async () => {
      const seen = await picture(page, selector);
      return { ...seen, before, done: showsPattern(seen) && seen.frames >= before + 10 };
    },
    seconds,
  );
}

/** All stats of a type from all of the page's PeerConnections that are open. */
export function stats(page, type) {
  return page.evaluate(async (wanted) => {
    const found = [];
    for (const pc of window.keptPeers) {
      if (pc.connectionState === "closed") continue;
      const report = await pc.getStats();
      for (const entry of report.values()) {
        if (entry.type === wanted) found.push({ ...entry, codec: report.get(entry.codecId)?.mimeType });
      }
    }
    return found;
  }, type);
}

async function audioEnergy(page) {
  const inbound = await stats(page, "inbound-rtp");
  return inbound.reduce((sum, entry) => sum + (entry.totalAudioEnergy ?? 0), 0);
}

/** Waits until sound that is more than silence has arrived. */
export async function hearsSound(page, seconds = 15) {
  const before = await audioEnergy(page);
  await waitFor("sound to arrive", async () => {
    const energy = await audioEnergy(page);
    return { energy, before, done: energy > before + 0.0005 };
  }, seconds);
}

/** Waits until a page is connected (its live view is shown). */
export async function isLive(page, seconds = 20) {
  await page.waitForSelector('body[data-state="live"]', { timeout: seconds * 1000 }).catch(async () => {
    const notice = await page.locator(".notice.bad").allTextContents();
    throw new Error(`the page did not get live: ${notice.join(" ") || "no reason shown"}`);
  });
}

/** The Full IDs of the tiles on a page, sorted. */
export function tileIds(page) {
  return page.evaluate(() => [...document.querySelectorAll("article.tile:not(.own)")].map((element) => element.dataset.id).sort());
}

/** The names of the tiles on a page, sorted. */
export async function tileNames(page) {
  return (await tileIds(page)).map((id) => id.split("+")[0]);
}

export async function hasTiles(page, names, seconds = 15) {
  const wanted = [...names].sort().join(",");
  await waitFor(`the tiles ${wanted || "(none)"}`, async () => {
    const seen = (await tileNames(page)).join(",");
    return { seen, done: seen === wanted };
  }, seconds);
}

/** Keeps every notice that the page shows, since they go away by themselves. Call before what is expected. */
export async function keepToasts(page) {
  await page.evaluate(() => {
    window.keptToasts = [];
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) {
        for (const node of addedNodes) if (node.matches?.(".toast")) window.keptToasts.push(node.textContent);
      }
    }).observe(document.body, { childList: true, subtree: true });
  });
}

export function toasts(page) {
  return page.evaluate(() => window.keptToasts);
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}
