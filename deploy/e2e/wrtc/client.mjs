// libwebrtc without a browser (@roamhq/wrtc) as WHIP publisher or WHEP player of video.
//
//     node client.mjs publish|play URL
//
// Whenever a line comes in, a line goes out: `video <frames> <of them, how many differed from the one before>`, of a
// publisher those that it generated. It leaves, by DELETE, when its input ends.
import { createInterface } from "node:readline";
import wrtc from "@roamhq/wrtc";

const { MediaStream, RTCPeerConnection, nonstandard } = wrtc;
const { RTCVideoSink, RTCVideoSource } = nonstandard;
const WIDTH = 320;
const HEIGHT = 240;
const FRAMES_PER_SECOND = 20;

let frames = 0;
let changed = 0;
let last;

// Grey bars with a white square that wanders over them, planar (I420).
function picture(number) {
  const data = new Uint8ClampedArray(WIDTH * HEIGHT * 1.5).fill(128);
  for (let at = 0; at < WIDTH * HEIGHT; at++) data[at] = 40 + 30 * Math.floor((6 * (at % WIDTH)) / WIDTH);
  const left = (number * 8) % (WIDTH - 32);
  for (let row = HEIGHT - 40; row < HEIGHT - 8; row++) data.fill(235, row * WIDTH + left, row * WIDTH + left + 32);
  return { width: WIDTH, height: HEIGHT, data };
}

function publish(connection) {
  const source = new RTCVideoSource();
  const track = source.createTrack();
  connection.addTransceiver(track, { direction: "sendonly", streams: [new MediaStream([track])] });
  const timer = setInterval(() => {
    source.onFrame(picture(frames++));
    changed = frames;
  }, 1000 / FRAMES_PER_SECOND);
  return () => {
    clearInterval(timer);
    track.stop();
  };
}

function play(connection) {
  const { receiver } = connection.addTransceiver("video", { direction: "recvonly" });
  const sink = new RTCVideoSink(receiver.track);
  sink.onframe = ({ frame }) => {
    frames += 1;
    const data = Buffer.from(frame.data);
    if (!last?.equals(data)) changed += 1;
    last = data;
  };
  return () => sink.stop();
}

const [what, url] = process.argv.slice(2);
const connection = new RTCPeerConnection();
const stop = { publish, play }[what](connection);
await connection.setLocalDescription(await connection.createOffer());
const answered = await fetch(url, {
  method: "POST",
  headers: { "Content-Type": "application/sdp" },
  body: connection.localDescription.sdp,
});
const answer = await answered.text();
if (answered.status !== 201) throw new Error(`${answered.status} ${answer}`);
const session = new URL(answered.headers.get("Location"), url);
await connection.setRemoteDescription({ type: "answer", sdp: answer });

for await (const _line of createInterface({ input: process.stdin })) console.log(`video ${frames} ${changed}\n`);
stop();
const left = await fetch(session, { method: "DELETE" });
connection.close();
process.exit(left.status === 200 ? 0 : 1);
