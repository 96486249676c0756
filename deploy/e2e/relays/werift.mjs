// A WHIP/WHEP server on werift (WebRTC in TypeScript): forwards one publisher's video to every player.
//
//     node werift.mjs PORT
//
// POST /whip publishes, POST /whep/<anything> plays, DELETE on the Location ends it.
import http from "node:http";
import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters } from "werift";

const players = new Set();
const sessions = new Map();
let publisher;
let sessionCount = 0;

const vp8 = () => new RTCRtpCodecParameters({
  mimeType: "video/VP8",
  clockRate: 90000,
  rtcpFeedback: [{ type: "nack" }, { type: "nack", parameter: "pli" }],
});

const connection = () => new RTCPeerConnection({
  codecs: { video: [vp8()] },
  iceAdditionalHostAddresses: ["127.0.0.1"],
  iceUseIpv6: false,
});

async function publish(offer) {
  const peer = connection();
  peer.ontrack = ({ track, receiver }) => {
    publisher = () => receiver.sendRtcpPLI(track.ssrc);
    track.onReceiveRtp.subscribe((packet) => {
      for (const player of players) player.writeRtp(packet.clone());
    });
  };
  await peer.setRemoteDescription({ type: "offer", sdp: offer });
  await peer.setLocalDescription(await peer.createAnswer());
  return { peer, leave: () => {} };
}

async function play(offer) {
  const peer = connection();
  const track = new MediaStreamTrack({ kind: "video" });
  await peer.setRemoteDescription({ type: "offer", sdp: offer });
  const [transceiver] = peer.getTransceivers();
  await transceiver.sender.replaceTrack(track);
  transceiver.setDirection("sendonly");
  await peer.setLocalDescription(await peer.createAnswer());
  players.add(track);
  peer.connectionStateChange.subscribe((state) => {
    if (state === "connected") publisher?.();
  });
  transceiver.sender.onPictureLossIndication.subscribe(() => publisher?.());
  return { peer, leave: () => players.delete(track) };
}

async function answer(request, response) {
  let body = "";
  for await (const part of request) body += part;
  if (request.method === "POST") {
    const session = await (request.url.startsWith("/whip") ? publish(body) : play(body));
    const location = `/session/${++sessionCount}`;
    sessions.set(location, session);
    response.writeHead(201, { "Content-Type": "application/sdp", Location: location });
    response.end(session.peer.localDescription.sdp);
  } else if (request.method === "DELETE" && sessions.has(request.url)) {
    const session = sessions.get(request.url);
    sessions.delete(request.url);
    session.leave();
    await session.peer.close();
    response.writeHead(200).end();
  } else {
    response.writeHead(404).end();
  }
}

const server = http.createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end(String(error));
  });
});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
