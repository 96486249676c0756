// Cameras, microphones, screens and the test pattern, all as MediaStreams.

import { captureProblem, Problem } from "./problem.js";
import { patternStream } from "./pattern.js";

const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

/**
 * Opens a source: "camera" (with the microphone), "microphone", "screen" (with its sound, where the browser has it), or
 * "pattern" (with a tone), "tone" (the pattern's sound alone).
 */
export async function open(source, { cameraId = "", microphoneId = "", title = "", size = null } = {}) {
  if (source === "pattern") return patternStream({ title, ...size });
  if (source === "tone") return patternStream({ video: false });
  if (!navigator.mediaDevices) {
    throw new Problem(
      "Browsers give out cameras and microphones only to pages from https:// or from localhost. Choose the test pattern, or open this site in one of these ways.",
    );
  }
  try {
    if (source === "screen") return await openScreen();
    return await navigator.mediaDevices.getUserMedia({
      audio: microphoneId ? { deviceId: { exact: microphoneId } } : true,
      video: source === "camera" && { ...PICTURE, ...(cameraId && { deviceId: { exact: cameraId } }) },
    });
  } catch (error) {
    throw captureProblem(error, source);
  }
}

/** The screen, a window or a tab, as the user picks. */
export async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) {
    throw new Problem("This browser can’t share the screen from this page (it needs https:// or localhost).");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: true });
  } catch (error) {
    throw captureProblem(error, "screen");
  }
  for (const track of stream.getVideoTracks()) track.contentHint = "detail"; // rather sharp than fluent
  return stream;
}

/** The devices of a kind ("videoinput", "audioinput"). Their names are empty until the user has allowed one. */
export async function devices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  return all.filter((device) => device.kind === kind && device.deviceId !== "");
}

export function stopStream(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
