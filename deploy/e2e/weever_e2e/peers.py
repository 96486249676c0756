"""aiortc as WHIP publisher and as WHEP player: an independent stack, kept to 127.0.0.1."""

import asyncio
import re
import time

import aioice.ice
import av
import numpy
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from .pattern import Picture, Tone, liveliness, pitch_of, variant_of
from .taps import RtpTap

CONNECT_SECONDS = 15
PITCH_SAMPLES = 24000
RENACK_SECONDS = 0.2

# aioice leaves loopback out, and the tests must not leave it.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def connection():
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def until(condition, what, seconds=CONNECT_SECONDS):
    """Waits for a condition; `what` may be a function that says how things stand."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        await asyncio.sleep(0.05)
    return value


async def until_async(condition, what, seconds=CONNECT_SECONDS):
    deadline = time.monotonic() + seconds
    while not (value := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        await asyncio.sleep(0.1)
    return value


class Peer:
    """One PeerConnection and its HTTP session."""

    def __init__(self, server, path, token=None):
        self.server = server
        self.path = path
        self.token = token
        self.pc = connection()
        self.location = None
        self.answer = None
        # Called with (ssrc, payload type, packet) from the first packet on: a keyframe may come before `join` returns.
        self.listeners = []
        # Applied to the offer before it is sent, and to the answer before it is used.
        self.change_offer = lambda sdp: sdp
        self.change_answer = lambda sdp: sdp

    async def __aenter__(self):
        try:
            await self.join()
        except BaseException:
            await self.pc.close()
            raise
        return self

    async def __aexit__(self, *_):
        await self.leave()

    def prepare(self):
        """Adds what is to be offered."""

    async def post(self):
        await self.pc.setLocalDescription(await self.pc.createOffer())
        headers = {"Content-Type": "application/sdp"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return await self.server.public("POST", self.path, self.change_offer(self.pc.localDescription.sdp), headers)

    async def join(self):
        self.prepare()
        answer = await self.post()
        assert answer.status == 201, f"POST {self.path}: {answer}"
        self.location = answer.header("Location")
        await self.finish_join(answer.text)

    async def finish_join(self, answer):
        self.answer = answer
        sdp = self.change_answer(answer)
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        self.tap = RtpTap(self.dtls(), self.listeners)
        await until(lambda: self.pc.connectionState == "connected", lambda: f"{self.path} is {self.pc.connectionState}")

    def dtls(self):
        if self.pc.getTransceivers():
            return self.pc.getTransceivers()[0].receiver.transport
        return self.pc.sctp.transport

    async def leave(self):
        """DELETE and close. A session that is gone already is left in peace."""
        if self.location:
            location, self.location = self.location, None
            answer = await self.server.public("DELETE", location)
            assert answer.status in (200, 404), answer
        await self.pc.close()

    async def vanish(self):
        """Goes without a word to the server's HTTP side."""
        self.location = None
        await self.pc.close()


class Publisher(Peer):
    """Colour bars and a tone."""

    def __init__(self, server, room, name, variant=0, hertz=440, codec="VP8", **more):
        super().__init__(server, f"/pub/{room}/{name}", **more)
        self.picture, self.tone, self.codec = Picture(variant), Tone(hertz), codec

    def prepare(self):
        self.pc.addTransceiver(self.tone, "sendonly")
        video = self.pc.addTransceiver(self.picture, "sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        wanted = {f"video/{self.codec}".lower(), "video/rtx"}
        video.setCodecPreferences([c for c in codecs if c.mimeType.lower() in wanted])


class Player(Peer):
    """Watches by WHEP without a data channel; decodes and remembers what it saw and heard."""

    def __init__(self, server, room, name, query="", **more):
        super().__init__(server, f"/sub/{room}/{name}{query}", **more)
        self.frames = 0
        self.variants = []
        self.timestamps = []
        self.liveliness = 0.0
        self.sound = numpy.zeros(0, dtype=numpy.int16)
        self.heard = 0
        self.tasks = []

    def prepare(self):
        for kind in ("audio", "video"):
            self.pc.addTransceiver(kind, "recvonly")

        @self.pc.on("track")
        def on_track(track):
            watch = self._watch if track.kind == "video" else self._listen
            self.tasks.append(asyncio.ensure_future(watch(track)))

    async def _watch(self, track):
        async for frame in frames_of(track):
            self.frames += 1
            self.timestamps.append(frame.pts)
            self.variants.append(variant_of(frame))
            self.liveliness = liveliness(frame)

    async def _listen(self, track):
        mono = av.AudioResampler(format="s16", layout="mono", rate=48000)
        async for frame in frames_of(track):
            for part in mono.resample(frame):
                self.sound = numpy.concatenate([self.sound, part.to_ndarray()[0]])[-PITCH_SAMPLES:]
                self.heard += part.samples

    async def leave(self):
        await super().leave()
        await self._end()

    async def vanish(self):
        await super().vanish()
        await self._end()

    async def _end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def video_receiver(self):
        return next(t.receiver for t in self.pc.getTransceivers() if t.kind == "video")

    async def sees(self, variant, frames=15, seconds=CONNECT_SECONDS):
        """Until so many further decoded frames in a row show this picture."""
        begin = len(self.variants)

        def in_a_row():
            recent = self.variants[begin:][-frames:]
            return len(recent) == frames and all(seen == variant for seen in recent)

        await until(in_a_row, lambda: f"{self.path} should see picture {variant}, saw {self.variants[begin:][-frames:]} "
                    f"({self.frames} frames, {self.tap.packets()} RTP packets)", seconds)

    async def hears(self, hertz, seconds=CONNECT_SECONDS):
        """Until half a second of new sound has this pitch."""
        begin = self.heard

        def in_tune():
            if self.heard - begin < PITCH_SAMPLES:
                return False
            pitch, loudness = pitch_of(self.sound)
            return abs(pitch - hertz) < 12 and loudness > 1000

        await until(in_tune, lambda: f"{self.path} should hear {hertz} Hz, heard "
                    f"{pitch_of(self.sound) if len(self.sound) else 'nothing'}", seconds)

    async def keep_asking(self, payload_type):
        """Repeats NACKs as browsers do; aiortc by itself asks only when the next packet shows a gap."""
        while True:
            await asyncio.sleep(RENACK_SECONDS)
            missing = self.still_missing(payload_type)
            if missing:
                ssrc = next(iter(self.tap.of_payload_type(payload_type)))
                await self.video_receiver()._send_rtcp_nack(ssrc, [number & 0xFFFF for number in missing[:64]])

    def still_missing(self, payload_type):
        return [n for n in self.main_stream(payload_type).missing() if n & 0xFFFF not in self.repaired]

    def main_stream(self, payload_type):
        streams = self.tap.of_payload_type(payload_type)
        assert len(streams) == 1, f"payload type {payload_type} came on {len(streams)} SSRCs"
        return next(iter(streams.values()))

    def count_repairs(self, rtx_payload_type):
        """From now on collects the original sequence numbers that retransmissions carry (RFC 4588 §4)."""
        self.repaired = set()

        def listen(_ssrc, payload_type, data):
            if payload_type == rtx_payload_type:
                at = header_length(data)
                if len(data) >= at + 2:
                    self.repaired.add(int.from_bytes(data[at:at + 2], "big"))

        self.listeners.append(listen)


async def frames_of(track):
    """Until the connection closes."""
    while True:
        try:
            yield await track.recv()
        except MediaStreamError:
            return


def header_length(data):
    """RFC 3550 §5.1 and §5.3.1."""
    length = 12 + 4 * (data[0] & 0x0F)
    if data[0] & 0x10:
        length += 4 + 4 * int.from_bytes(data[length + 2:length + 4], "big")
    return length


def payload_types(sdp, kind, codec):
    """(payload type, its RTX payload type or None) of a codec in the first m-line of a kind."""
    section = next(part for part in re.split(r"(?m)^m=", sdp)[1:] if part.startswith(kind))
    found = re.search(rf"(?mi)^a=rtpmap:(\d+) {codec}/", section)
    assert found, f"no {codec} in {section}"
    rtx = re.search(rf"(?m)^a=fmtp:(\d+) .*\bapt={found[1]}\b", section)
    return int(found[1]), int(rtx[1]) if rtx else None


def receivable(kind):
    return sorted({codec.name for codec in RTCRtpReceiver.getCapabilities(kind).codecs})
