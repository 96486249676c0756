// What getStats() says, as a person wants it: bit rate, picture size, frame rate, loss, delay.

import { el } from "./ui.js";

/**
 * Reads one or more getStats() sources (a PeerConnection, senders or receivers) and gives, per kind, rows of
 * `[label, value]`. Rates are over the time since the last read.
 */
export class StatsReader {
  constructor(sources) {
    this.sources = sources; // () => [{ getStats }]
    this.before = new Map();
  }

  async read() {
    const reports = await Promise.all(this.sources().map((source) => source.getStats().catch(() => new Map())));
    const all = new Map(reports.flatMap((report) => [...report]));
    const result = { video: null, audio: null, roundTrip: null };
    for (const stats of all.values()) {
      const previous = this.before.get(stats.id);
      if (stats.type === "inbound-rtp") result[stats.kind] = received(stats, previous, all);
      if (stats.type === "outbound-rtp") result[stats.kind] ??= sent(stats, previous, all);
      if (stats.type === "candidate-pair" && stats.nominated && stats.currentRoundTripTime !== undefined) {
        result.roundTrip = stats.currentRoundTripTime;
      }
    }
    this.before = all;
    return result;
  }
}

function rate(now, before, field) {
  if (!before || now.timestamp <= before.timestamp) return 0;
  return ((now[field] ?? 0) - (before[field] ?? 0)) / ((now.timestamp - before.timestamp) / 1000);
}

function share(now, before, part, whole) {
  const parts = (now[part] ?? 0) - (before?.[part] ?? 0);
  const wholes = (now[whole] ?? 0) - (before?.[whole] ?? 0);
  return wholes > 0 ? parts / wholes : 0;
}

function received(stats, before, all) {
  const lost = Math.max(0, (stats.packetsLost ?? 0) - (before?.packetsLost ?? 0));
  const arrived = stats.packetsReceived - (before?.packetsReceived ?? 0);
  return {
    bitRate: rate(stats, before, "bytesReceived") * 8,
    codec: codecOf(stats, all),
    width: stats.frameWidth,
    height: stats.frameHeight,
    frameRate: stats.framesPerSecond ?? rate(stats, before, "framesDecoded"),
    frames: stats.framesDecoded ?? 0,
    newFrames: (stats.framesDecoded ?? 0) - (before?.framesDecoded ?? 0),
    packets: stats.packetsReceived,
    lossNow: lost + arrived > 0 ? lost / (lost + arrived) : 0,
    lostInAll: Math.max(0, stats.packetsLost ?? 0),
    repaired: stats.retransmittedPacketsReceived ?? 0,
    bufferDelay: share(stats, before, "jitterBufferDelay", "jitterBufferEmittedCount"),
    jitter: stats.jitter,
    freezes: stats.freezeCount,
  };
}

function sent(stats, before, all) {
  const remote = all.get(stats.remoteId);
  return {
    bitRate: rate(stats, before, "bytesSent") * 8,
    codec: codecOf(stats, all),
    width: stats.frameWidth,
    height: stats.frameHeight,
    frameRate: stats.framesPerSecond,
    frames: stats.framesEncoded ?? 0,
    packets: stats.packetsSent,
    lossNow: remote?.fractionLost ?? 0,
    repaired: stats.retransmittedPacketsSent ?? 0,
    keyframes: stats.keyFramesEncoded,
    limitedBy: stats.qualityLimitationReason,
  };
}

function codecOf(stats, all) {
  return all.get(stats.codecId)?.mimeType?.split("/")[1] ?? "";
}

export function bitRateText(bitsPerSecond) {
  if (bitsPerSecond >= 1e6) return `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(bitsPerSecond / 1000)} kbit/s`;
}

const milliseconds = (seconds) => `${Math.round(seconds * 1000)} ms`;
const percent = (part) => (part > 0 && part < 0.001 ? "under 0.1 %" : `${(part * 100).toFixed(1)} %`);

function rowsOf({ video, audio, roundTrip }) {
  const rows = [];
  if (video) {
    rows.push(["Picture", video.width ? `${video.width} × ${video.height}, ${Math.round(video.frameRate ?? 0)} frames/s` : "none yet"]);
    rows.push(["Video", `${bitRateText(video.bitRate)}${video.codec && `, ${video.codec}`}`]);
  }
  if (audio) rows.push(["Audio", `${bitRateText(audio.bitRate)}${audio.codec && `, ${audio.codec}`}`]);
  const main = video ?? audio;
  if (main) {
    const repaired = (video?.repaired ?? 0) + (audio?.repaired ?? 0);
    rows.push(["Lost on the way", `${percent(main.lossNow)}${repaired ? `, ${repaired} packets sent again` : ""}`]);
    if (main.bufferDelay !== undefined) {
      rows.push(["Delay here", `${milliseconds(main.bufferDelay)} buffer, ${milliseconds(main.jitter ?? 0)} jitter`]);
    }
  }
  if (roundTrip !== null) rows.push(["Round trip", milliseconds(roundTrip)]);
  if (video?.freezes) rows.push(["Freezes", String(video.freezes)]);
  if (video?.limitedBy && video.limitedBy !== "none") {
    rows.push(["Held back by", video.limitedBy === "cpu" ? "this computer" : video.limitedBy]);
  }
  return rows;
}

/** A collapsible panel of stats. Call `show()` with what a StatsReader gave. */
export class StatsPanel {
  constructor(label = "Stats") {
    this.list = el("dl", { class: "stats-rows" });
    this.brief = el("span", { class: "stats-brief" });
    this.element = el("details", { class: "stats" }, el("summary", {}, el("span", { text: label }), this.brief), this.list);
  }

  show(stats) {
    const main = stats.video ?? stats.audio;
    const total = (stats.video?.bitRate ?? 0) + (stats.audio?.bitRate ?? 0);
    this.brief.textContent = main ? bitRateText(total) : "";
    if (!this.element.open) return;
    this.list.replaceChildren(...rowsOf(stats).flatMap(([label, value]) => [el("dt", { text: label }), el("dd", { text: value })]));
  }
}
