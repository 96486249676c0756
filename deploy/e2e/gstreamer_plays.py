#!/usr/bin/python3
"""GStreamer's webrtcbin as a WHEP player of video, in one codec. Counts are written as a line of JSON whenever a line
comes in; it leaves when its input ends.

Usage: gstreamer_plays.py URL CODEC SERVER_PORT HOST PORT: candidates of SERVER_PORT are led to HOST PORT."""

import hashlib
import json
import re
import ssl
import subprocess
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


class Player:
    def __init__(self, url, codec, server_port, host, port):
        self.url, self.server_port, self.way = url, server_port, (host, port)
        self.frames, self.freezes, self.last_frame = 0, 0, None
        self.location = None
        self.loop = GLib.MainLoop()
        self.failure = None
        self.pipeline = Gst.Pipeline()
        self.bin = Gst.ElementFactory.make("webrtcbin")
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        # Its own certificate would be RSA, which the server's DTLS library does not take (RFC 8827 §6.5 asks for ECDSA).
        pem = ecdsa_certificate()
        self.fingerprint = fingerprint(pem)
        self.bin.connect("deep-element-added", lambda _bin, _parent, element: _set_certificate(element, pem))
        self.pipeline.add(self.bin)
        self.bin.connect("pad-added", self._on_pad)
        self.bin.connect("on-negotiation-needed", self._on_negotiation_needed)
        profile = ",packetization-mode=(string)1,profile-level-id=(string)42e01f" if codec == "H264" else ""
        caps = (f"application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000,"
                f"{FEEDBACK}{profile}")
        transceiver = self.bin.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY,
                                    Gst.Caps.from_string(caps))
        transceiver.set_property("do-nack", True)
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
            sys.exit(f"gstreamer_plays.py: {self.failure}")

    def _read_input(self):
        for _line in sys.stdin:
            GLib.idle_add(self._tell)
        GLib.idle_add(self.loop.quit)

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
        # The offer was written before the certificate was set.
        offer = re.sub(r"a=fingerprint:[^\r\n]*", f"a=fingerprint:sha-256 {self.fingerprint}", offer)
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


def ecdsa_certificate():
    """A key and its self-signed certificate, PEM."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=gstreamer", "-days", "1", "-keyout", "-", "-out", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fingerprint(pem):
    """RFC 8122 §5."""
    certificate = pem[pem.index("-----BEGIN CERTIFICATE"):]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest().hex(":").upper()


def _set_certificate(element, pem):
    factory = element.get_factory()
    if factory and factory.get_name() == "dtlssrtpdec":
        element.set_property("pem", pem)


def _all(iterator):
    while True:
        result, element = iterator.next()
        if result != Gst.IteratorResult.OK:
            return
        yield element


if len(sys.argv) != 6:
    sys.exit(__doc__)
Gst.init(None)
Player(*sys.argv[1:]).run()
