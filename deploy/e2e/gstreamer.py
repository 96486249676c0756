#!/usr/bin/python3
"""GStreamer's webrtcbin as a WHEP player or a WHIP publisher of video, in one codec. A player writes its counts as a line
of JSON whenever a line comes in; both leave when their input ends.

Usage: gstreamer.py play|publish URL CODEC SERVER_PORT HOST PORT: candidates of SERVER_PORT are led to HOST PORT"""

import json
import re
import sys
import threading
import time
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

HTTP_SECONDS = 10
# No frame for so long is a freeze, as a viewer would call it.
FREEZE_SECONDS = 0.5
FEEDBACK = "rtcp-fb-nack=true,rtcp-fb-nack-pli=true,rtcp-fb-transport-cc=true"


ENCODERS = {
    "VP8": "vp8enc deadline=1 target-bitrate=500000 keyframe-max-dist=60 ! rtpvp8pay",
    "H264": "openh264enc bitrate=500000 gop-size=60 ! h264parse ! rtph264pay config-interval=-1",
}


class Peer:
    """A webrtcbin that POSTs its offer and leaves by DELETE."""

    def __init__(self, url, server_port, host, port):
        self.url, self.server_port, self.way = url, server_port, (host, port)
        self.location = None
        self.failure = None
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline()
        self.bin = Gst.ElementFactory.make("webrtcbin")
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.bin)
        self.bin.connect("on-negotiation-needed", self._on_negotiation_needed)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _bus, message: self.fail(message.parse_error()))

    def fail(self, why):
        self.failure = str(why)
        self.loop.quit()

    def run(self):
        threading.Thread(target=self._read_input, daemon=True).start()
        self.pipeline.set_state(Gst.State.PLAYING)
        try:
            self.loop.run()
        finally:
            self.pipeline.set_state(Gst.State.NULL)
            if self.location:
                request = urllib.request.Request(self.location, method="DELETE")
                urllib.request.urlopen(request, timeout=HTTP_SECONDS).close()
        if self.failure:
            sys.exit(f"gstreamer.py: {self.failure}")

    def _read_input(self):
        for _line in sys.stdin:
            GLib.idle_add(self._tell)
        GLib.idle_add(self.loop.quit)

    def _tell(self):
        pass

    def _on_negotiation_needed(self, _bin):
        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(self._on_offer))

    def _on_offer(self, promise):
        # The offer lives only as long as the reply.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.bin.emit("set-local-description", offer, Gst.Promise.new())
        # The server needs no candidate of ours. HTTP has no place on GStreamer's thread.
        threading.Thread(target=self._post, args=(offer.sdp.as_text(),), daemon=True).start()

    def _post(self, offer):
        request = urllib.request.Request(self.url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answered:
                self.location = urllib.parse.urljoin(self.url, answered.headers["Location"])
                answer = answered.read().decode()
        except OSError as error:
            GLib.idle_add(self.fail, error)
            return
        candidate = rf"(?m)^(a=candidate:\S+ \d+ \S+ \d+) \S+ {self.server_port} typ"
        answer = re.sub(candidate, rf"\1 {self.way[0]} {self.way[1]} typ", answer)
        _, sdp = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.bin.emit("set-remote-description", description, Gst.Promise.new())


class Player(Peer):
    """Decodes what comes."""

    def __init__(self, url, codec, *way):
        super().__init__(url, *way)
        self.frames, self.freezes, self.last_frame = 0, 0, None
        self.bin.connect("pad-added", self._on_pad)
        profile = ",packetization-mode=(string)1,profile-level-id=(string)42e01f" if codec == "H264" else ""
        caps = (f"application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000,"
                f"{FEEDBACK}{profile}")
        transceiver = self.bin.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY,
                                    Gst.Caps.from_string(caps))
        transceiver.set_property("do-nack", True)

    def _tell(self):
        print(json.dumps({"framesDecoded": self.frames, "freezes": self.freezes, **self._buffered()}), flush=True)

    def _buffered(self):
        """What the jitter buffer received, missed, asked for and got again."""
        for element in _all(self.bin.iterate_recurse()):
            factory = element.get_factory()
            if factory and factory.get_name() == "rtpjitterbuffer":
                stats = element.get_property("stats")
                names = {"packetsReceived": "num-pushed", "packetsLost": "num-lost", "nacks": "rtx-count",
                         "repaired": "rtx-success-count"}
                return {ours: stats.get_value(theirs) for ours, theirs in names.items()}
        return {}

    def _on_pad(self, _bin, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decode, sink = Gst.ElementFactory.make("decodebin"), Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        sink.set_property("signal-handoffs", True)
        sink.connect("handoff", self._on_frame)
        decode.connect("pad-added", lambda _decode, decoded: decoded.link(sink.get_static_pad("sink")))
        for element in (decode, sink):
            self.pipeline.add(element)
            element.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    def _on_frame(self, *_):
        now = time.monotonic()
        if self.last_frame is not None and now - self.last_frame > FREEZE_SECONDS:
            self.freezes += 1
        self.last_frame = now
        self.frames += 1


class Publisher(Peer):
    """Sends a moving test picture."""

    def __init__(self, url, codec, *way):
        super().__init__(url, *way)
        source = Gst.parse_bin_from_description(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert ! "
            f"queue ! {ENCODERS[codec]} ! capsfilter caps=application/x-rtp,media=video,encoding-name={codec},payload=96",
            True)
        self.pipeline.add(source)
        source.link(self.bin)
        self.bin.emit("get-transceiver", 0).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)


def _all(iterator):
    while True:
        result, element = iterator.next()
        if result != Gst.IteratorResult.OK:
            return
        yield element


Gst.init(None)
match sys.argv[1:]:
    case ["play", *arguments] if len(arguments) == 5:
        Player(*arguments).run()
    case ["publish", *arguments] if len(arguments) == 5:
        Publisher(*arguments).run()
    case _:
        sys.exit(__doc__)
