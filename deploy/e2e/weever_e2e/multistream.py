"""A subscriber of the `control` channel that answers offers by itself and looks at raw RTP.

It stands on aiortc's ICE, DTLS and SCTP, but writes its own SDP answers, so that it follows recycled and
rejected m-lines whatever a full client makes of them.
"""

import re
from dataclasses import dataclass, field

from aiortc.codecs import depayload, get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from .pattern import variant_of
from .peers import CONNECT_SECONDS, Peer, until

CHANNEL_SECONDS = 15


@dataclass
class Line:
    """One m-line of the server's last offer."""

    kind: str
    mid: str
    port: int
    direction: str
    publisher: str
    ssrc: int
    text: str
    codecs: dict = field(default_factory=dict)

    def live(self):
        return self.kind != "application" and self.port != 0 and self.direction == "sendonly"


def parse_lines(sdp):
    session, *sections = re.split(r"(?m)^(?=m=)", sdp)
    lines = []
    for text in sections:
        kind, port = re.match(r"m=(\S+) (\d+)", text).groups()
        mid = re.search(r"(?m)^a=mid:(\S+)", text)
        direction = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\s*$", text + session)
        msid = re.search(r"(?m)^a=msid:(\S+)", text)
        ssrc = re.search(r"(?m)^a=ssrc:(\d+)", text)
        codecs = {int(pt): name for pt, name in re.findall(r"(?m)^a=rtpmap:(\d+) (\w+)/", text)}
        lines.append(Line(kind, mid[1] if mid else "", int(port), direction[1] if direction else "sendrecv",
                          msid[1] if msid else "", int(ssrc[1]) if ssrc else 0, text, codecs))
    return lines


def write_answer(offer, ours):
    """Accepts all that the offer has, receive-only, on the transport that `ours` describes."""
    transport = [line for line in ours.splitlines()
                 if re.match(r"a=(ice-ufrag|ice-pwd|fingerprint:sha-256)", line)][:3]
    answer = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    group = re.search(r"(?m)^a=group:BUNDLE .*$", offer)
    answer += [group[0].strip()] if group else []
    for line in parse_lines(offer):
        text = line.text.splitlines()
        if line.port == 0 and "a=bundle-only" not in text:
            answer += [text[0], f"a=mid:{line.mid}", "a=inactive"]
            continue
        answer += [re.sub(r"^(m=\S+) \d+", r"\1 9", text[0]), "c=IN IP4 0.0.0.0", f"a=mid:{line.mid}", *transport,
                   "a=setup:active"]
        if line.kind == "application":
            answer += ["a=sctp-port:5000"]
            continue
        answer += ["a=rtcp-mux", "a=recvonly" if line.direction == "sendonly" else "a=inactive"]
        answer += [one for one in text if re.match(r"a=(rtpmap|fmtp|rtcp-fb|extmap):", one)]
    return "\r\n".join(answer) + "\r\n"


class Multistream(Peer):
    """POSTs an offer with nothing but the channel, then follows the server's offers."""

    def __init__(self, server, room, name, **more):
        super().__init__(server, f"/sub/{room}/{name}", **more)
        self.messages = []
        self.offers = []
        self.lines = []
        self.answering = True
        self.pictures = {}
        self.decoders = {}

    def prepare(self):
        self.channel = self.pc.createDataChannel("control")
        self.channel.on("message", self._message)
        self.listeners.append(self._packet)

    async def join(self):
        await super().join()
        await until(lambda: self.channel.readyState == "open", "the control channel opens", CHANNEL_SECONDS)

    def _message(self, text):
        verb, _, rest = text.partition(" ")
        self.messages.append((verb, rest.strip()))
        if verb == "SDP_OFFER":
            self.offers.append(rest)
            self.lines = parse_lines(rest)
            if self.answering:
                self.reply()

    def reply(self):
        self.channel.send("SDP_ANSWER " + write_answer(self.offers[-1], self.pc.localDescription.sdp))

    def publishers(self):
        """Who is live, from the SDP alone (SPEC §1)."""
        return sorted({line.publisher for line in self.lines if line.live()})

    def publishers_told(self):
        """Who is there by the first offer and the messages since."""
        begin = next(n for n, (verb, _) in enumerate(self.messages) if verb == "SDP_OFFER")
        told = {line.publisher for line in parse_lines(self.offers[0]) if line.live()}
        for verb, name in self.messages[begin:]:
            if verb == "PUB_JOIN":
                assert name not in told, f"{name} joined twice"
                told.add(name)
            elif verb == "PUB_LEFT":
                assert name in told, f"{name} left and wasn't there"
                told.remove(name)
        return told

    def said(self, verb):
        return [rest for seen, rest in self.messages if seen == verb]

    async def knows(self, *publishers):
        await until(lambda: self.offers and self.publishers() == sorted(publishers),
                    lambda: f"{self.path} should know {sorted(publishers)}, knows {self.publishers()} "
                    f"after {len(self.offers)} offers; messages: {[verb for verb, _ in self.messages]}")

    def line(self, publisher, kind):
        lines = [line for line in self.lines if line.live() and (line.publisher, line.kind) == (publisher, kind)]
        assert len(lines) == 1, f"{publisher} has {len(lines)} {kind} lines in {self.lines}"
        return lines[0]

    def _packet(self, ssrc, payload_type, data):
        line = next((line for line in self.lines if line.live() and line.ssrc == ssrc), None)
        if line is None or line.kind != "video" or line.codecs.get(payload_type) != "VP8":
            return
        packet = RtpPacket.parse(data)
        decoder = self.decoders.setdefault(ssrc, Vp8Stream())
        for frame in decoder.add(packet):
            self.pictures.setdefault(line.publisher, []).append(variant_of(frame))

    async def sees(self, publisher, variant, frames=10, seconds=CONNECT_SECONDS):
        """Until so many further decoded frames of this publisher show this picture."""
        begin = len(self.pictures.get(publisher, []))

        def in_a_row():
            recent = self.pictures.get(publisher, [])[begin:][-frames:]
            return len(recent) == frames and all(seen == variant for seen in recent)

        await until(in_a_row, lambda: f"{self.path} should see picture {variant} of {publisher}, saw "
                    f"{self.pictures.get(publisher, [])[begin:][-frames:]}; {self.tap.packets()} RTP packets", seconds)

    async def hears_packets(self, publisher, packets=20):
        """Until so many further RTP packets of this publisher's audio came."""
        ssrc = self.line(publisher, "audio").ssrc

        def count():
            return len(self.tap.streams[ssrc].sequence) if ssrc in self.tap.streams else 0

        begin = count()
        await until(lambda: count() >= begin + packets, lambda: f"{count() - begin} audio packets of {publisher}")


class Vp8Stream:
    """Puts frames together and decodes them, on a path that loses nothing."""

    CODEC = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=96)

    def __init__(self):
        self.decoder = get_decoder(self.CODEC)
        self.parts = []

    def add(self, packet):
        if not packet.payload:
            return []
        self.parts.append(depayload(self.CODEC, packet.payload))
        if not packet.marker:
            return []
        data, self.parts = b"".join(self.parts), []
        try:
            return self.decoder.decode(JitterFrame(data, packet.timestamp))
        except Exception:  # Until the first keyframe there is nothing to decode.
            return []
