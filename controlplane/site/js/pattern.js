// A test pattern: colour bars with a moving wave, a clock and a beep each second, for those without a camera (and for tests).

/** The upper part of the picture: equal vertical bars of these colours, left to right. */
export const BARS = ["#bfbfbf", "#bfbf00", "#00bfbf", "#00bf00", "#bf00bf", "#bf0000", "#0000bf"];

const BEEP_SECONDS = 0.12;

/** A stream of the pattern. Call `stop()` on its tracks to end it. */
export function patternStream({ title = "", width = 1280, height = 720, rate = 25, video = true, audio = true } = {}) {
  const stream = new MediaStream();
  if (video) stream.addTrack(pictureTrack({ title, width, height, rate }));
  if (audio) stream.addTrack(soundTrack());
  return stream;
}

function pictureTrack({ title, width, height, rate }) {
  const canvas = document.createElement("canvas");
  canvas.width = width & ~1; // chroma has half the size
  canvas.height = height & ~1;
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  const started = performance.now();
  draw(context, title, 0);

  const output = "MediaStreamTrackGenerator" in window ? generatorOutput(context) : canvasOutput(canvas, rate);
  const ticker = new Worker(new URL("ticker.js", import.meta.url));
  ticker.onmessage = () => {
    if (output.track.readyState === "ended") {
      ticker.terminate();
      return;
    }
    draw(context, title, (performance.now() - started) / 1000);
    output.frame();
  };
  ticker.postMessage(1000 / rate);
  output.track.contentHint = "detail"; // a busy computer drops frames rather than sharpness
  return output.track;
}

// Chromium: frames are written one by one, also while the page is in the background, and in the colours that every decoder
// expects when nobody tells it (a canvas would be sent in full range, which VP8 can't say).
function generatorOutput(context) {
  const track = new MediaStreamTrackGenerator({ kind: "video" });
  const writer = track.writable.getWriter();
  const { width, height } = context.canvas;
  const picture = new Uint8Array((width * height * 3) / 2);
  const colorSpace = { primaries: "smpte170m", transfer: "smpte170m", matrix: "smpte170m", fullRange: false };
  convert(context, picture, 0);
  return {
    track,
    frame() {
      if (writer.desiredSize <= 0) return; // the encoder is behind: skip one
      convert(context, picture, barsBottom(height)); // the bars stand still
      const timestamp = Math.round(performance.now() * 1000);
      const frame = new VideoFrame(picture, { format: "I420", codedWidth: width, codedHeight: height, timestamp, colorSpace });
      writer.write(frame).catch(() => frame.close());
    },
  };
}

/** The canvas from row `top` on, as Y, U and V planes (BT.601, limited range). */
function convert(context, picture, top) {
  const { width, height } = context.canvas;
  const { data } = context.getImageData(0, top, width, height - top);
  const u = width * height;
  const v = u + u / 4;
  for (let row = 0; row < height - top; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = (row * width + column) * 4;
      const r = data[at];
      const g = data[at + 1];
      const b = data[at + 2];
      const y = row + top;
      picture[y * width + column] = 16 + ((66 * r + 129 * g + 25 * b + 128) >> 8);
      if ((row | column) & 1) continue;
      const chroma = (y * width) / 4 + column / 2;
      picture[u + chroma] = 128 + ((-38 * r - 74 * g + 112 * b + 128) >> 8);
      picture[v + chroma] = 128 + ((112 * r - 94 * g - 18 * b + 128) >> 8);
    }
  }
}

const barsBottom = (height) => Math.round(height * 0.62) & ~1;

function canvasOutput(canvas, rate) {
  const [track] = canvas.captureStream(rate).getVideoTracks();
  return { track, frame() {} };
}

function draw(context, title, seconds) {
  const { width, height } = context.canvas;
  const barsHeight = barsBottom(height);
  BARS.forEach((colour, index) => {
    context.fillStyle = colour;
    const left = Math.round((index * width) / BARS.length);
    context.fillRect(left, 0, Math.round(((index + 1) * width) / BARS.length) - left, barsHeight);
  });

  context.fillStyle = "#0c1418";
  context.fillRect(0, barsHeight, width, height - barsHeight);
  drawWave(context, barsHeight, seconds);

  // A dial that turns once a second and flashes with the beep: shows whether sound and picture are in step.
  const radius = height * 0.09;
  const [x, y] = [width - radius * 1.8, barsHeight + (height - barsHeight) * 0.42];
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = seconds % 1 < BEEP_SECONDS ? "#ff7a55" : "#1c2b33";
  context.fill();
  context.beginPath();
  context.moveTo(x, y);
  context.arc(x, y, radius, -Math.PI / 2, -Math.PI / 2 + (seconds % 1) * 2 * Math.PI);
  context.fillStyle = "#4fd6c8";
  context.fill();

  context.fillStyle = "#f7f4ee";
  context.textBaseline = "middle";
  context.font = `600 ${Math.round(height * 0.085)}px system-ui, sans-serif`;
  context.fillText(clock(seconds), width * 0.04, barsHeight + (height - barsHeight) * 0.28);
  context.font = `${Math.round(height * 0.045)}px system-ui, sans-serif`;
  context.fillText(title, width * 0.04, barsHeight + (height - barsHeight) * 0.56, width * 0.7);
}

function drawWave(context, top, seconds) {
  const { width, height } = context.canvas;
  const step = width / 48;
  context.fillStyle = "#14333a";
  for (let index = 0; index < 48; index += 1) {
    const size = (0.5 + 0.5 * Math.sin(index / 3.5 - seconds * 4)) * (height - top) * 0.55 + height * 0.02;
    context.fillRect(index * step + step * 0.2, height - size, step * 0.6, size);
  }
}

function clock(seconds) {
  const part = (value, digits) => String(Math.floor(value)).padStart(digits, "0");
  return `${part(seconds / 60, 2)}:${part(seconds % 60, 2)}.${part((seconds * 10) % 10, 1)}`;
}

function soundTrack() {
  const context = new AudioContext();
  const output = context.createMediaStreamDestination();
  const tone = (frequency, volume) => {
    const oscillator = new OscillatorNode(context, { frequency });
    const gain = new GainNode(context, { gain: volume });
    oscillator.connect(gain).connect(output);
    oscillator.start();
    return gain.gain;
  };
  tone(220, 0.02);
  const beep = tone(880, 0);
  // Beeps are put on the audio clock a few seconds ahead, so that they are even however busy the page is.
  let next = context.currentTime + 0.1;
  const schedule = () => {
    while (next < context.currentTime + 3) {
      beep.setTargetAtTime(0.25, next, 0.005);
      beep.setTargetAtTime(0, next + BEEP_SECONDS, 0.01);
      next += 1;
    }
  };
  schedule();
  const timer = setInterval(schedule, 1000);

  const [track] = output.stream.getAudioTracks();
  const stop = track.stop.bind(track);
  track.stop = () => {
    stop();
    clearInterval(timer);
    context.close();
  };
  // Without a click on the page the browser keeps the clock stopped; the first click starts it.
  const wake = () => context.resume();
  if (context.state === "suspended") {
    for (const event of ["pointerdown", "keydown"]) addEventListener(event, wake, { once: true });
  }
  return track;
}
