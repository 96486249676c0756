// Chromium, and pages in it whose console, errors and requests are watched.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--disable-background-networking",
  "--no-first-run",
  "--autoplay-policy=no-user-gesture-required",
  "--allow-loopback-in-peer-connection",
  // Many pages in one browser: those in the background must not be slowed down.
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** One test's pages. Each gets a context of its own, as if it were another person's browser. */
export class Stage {
  constructor(browser, { publicUrl, privateUrl }) {
    this.browser = browser;
    this.publicUrl = publicUrl;
    this.privateUrl = privateUrl;
    this.pages = [];
    this.troubles = [];
    this.expected = [];
    this.room = `room-${Math.random().toString(36).slice(2, 8)}`;
  }

  /** Console errors that match are part of the test (a refused token, say). */
  expectConsole(pattern) {
    this.expected.push(pattern);
  }

  /** Opens a page of the site; `query` becomes its query string, `routes` are pages of our own, `prepare` runs before all else. */
  async open(path, query = {}, { base = this.publicUrl, routes = {}, prepare = async () => {}, ...options } = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
    await context.addInitScript(keepPeers);
    const page = await context.newPage();
    page.posts = [];
    this.pages.push(page);
    this.#watch(page, path);
    for (const [url, body] of Object.entries(routes)) {
      await page.route(base + url, (route) => route.fulfill({ contentType: "text/html; charset=utf-8", body }));
    }
    await prepare(page);
    const search = new URLSearchParams(query).toString();
    await page.goto(`${base}/${path}${search && `?${search}`}`);
    return page;
  }

  /** A page that publishes the test pattern. */
  publish(name, query = {}) {
    return this.open("publish.html", { room: this.room, id: name, auto: 1, source: "pattern", width: 480, height: 270, ...query });
  }

  watch(query = {}) {
    return this.open("watch.html", { room: this.room, auto: 1, ...query });
  }

  async close() {
    await Promise.all(this.pages.map((page) => page.context().close().catch(() => {})));
  }

  async screenshots(prefix) {
    for (const [index, page] of this.pages.entries()) {
      await page.screenshot({ path: `${prefix}-${index}.png`, timeout: 5000 }).catch(() => {});
    }
  }

  #watch(page, path) {
    page.on("pageerror", (error) => this.troubles.push(`${path}: ${error.stack ?? error}`));
    page.on("console", (message) => {
      // A violated Content-Security-Policy is reported as an error too.
      if (message.type() !== "error") return;
      const text = `${message.text()} ${message.location().url ?? ""}`;
      if (!this.expected.some((pattern) => pattern.test(text))) this.troubles.push(`${path}: console: ${text}`);
    });
    page.on("request", (request) => {
      if (request.method() === "POST") page.posts.push(new URL(request.url()).pathname);
      const { hostname, protocol } = new URL(request.url());
      if (protocol.startsWith("http") && !["localhost", "127.0.0.1"].includes(hostname)) {
        this.troubles.push(`${path}: asked for something elsewhere: ${request.url()}`);
      }
    });
  }
}

// Runs in each page before its scripts: keeps the PeerConnections, so that tests can ask them for their stats.
export function keepPeers() {
  window.keptPeers = [];
  const Original = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(...settings) {
      super(...settings);
      window.keptPeers.push(this);
    }
  };
}
