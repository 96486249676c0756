"""Looks at the RTP that an aiortc connection gets, below its jitter buffer."""

import struct
from dataclasses import dataclass, field


@dataclass
class Stream:
    """What came of one SSRC: sequence numbers with their cycles, oldest first."""

    payload_types: set = field(default_factory=set)
    sequence: list = field(default_factory=list)
    highest: int = -1

    def add(self, payload_type, sequence):
        self.payload_types.add(payload_type)
        if self.highest < 0:
            self.highest = sequence
            extended = sequence
        else:
            delta = (sequence - self.highest) & 0xFFFF
            extended = self.highest + (delta if delta < 0x8000 else delta - 0x10000)
            self.highest = max(self.highest, extended)
        self.sequence.append(extended)

    def missing(self):
        """The numbers between the first and the last that never came."""
        there = set(self.sequence)
        return sorted(set(range(min(there), max(there) + 1)) - there) if there else []

    def duplicates(self):
        return len(self.sequence) - len(set(self.sequence))


class RtpTap:
    """Every RTP packet of a DTLS transport after decryption."""

    def __init__(self, dtls_transport, listeners):
        self.streams = {}
        self.listeners = listeners
        handle = dtls_transport._handle_rtp_data

        async def tapped(data, arrival_time_ms):
            self.packet(data)
            await handle(data, arrival_time_ms)

        dtls_transport._handle_rtp_data = tapped

    def packet(self, data):
        if len(data) < 12:
            return
        payload_type, sequence, ssrc = data[1] & 0x7F, *struct.unpack_from("!H4xI", data, 2)
        self.streams.setdefault(ssrc, Stream()).add(payload_type, sequence)
        for listener in self.listeners:
            listener(ssrc, payload_type, data)

    def packets(self):
        return sum(len(stream.sequence) for stream in self.streams.values())

    def of_payload_type(self, payload_type):
        """The streams that carry this payload type, by SSRC."""
        return {ssrc: s for ssrc, s in self.streams.items() if payload_type in s.payload_types}
