"""A UDP path between a client and the server that loses packets on purpose, by a seed."""

import asyncio
import random
import re
import socket
import struct

SOCKET_BUFFER = 4 * 1024 * 1024


class _Upstream(asyncio.DatagramProtocol):
    """The socket that stands for one client towards the server."""

    def __init__(self, path, client):
        self.path, self.client = path, client

    def connection_made(self, transport):
        self.transport = transport
        widen(transport)

    def datagram_received(self, data, _source):
        self.path.from_server(data, self.client)

    def error_received(self, _error):
        pass


class Path(asyncio.DatagramProtocol):
    """Sits at an address of its own; the answer's candidates are made to point at it."""

    def __init__(self, loss_to_client=0.0, seed=1, host="127.0.0.1"):
        self.host = host
        self.loss_to_client = loss_to_client
        self.random = random.Random(seed)
        # Nothing goes through any more, either way.
        self.cut = False
        self.upstreams = {}
        self.server = None
        # What happened to the server's RTP.
        self.dropped = 0
        self.dropped_packets = set()
        self.forwarded = 0
        # (ssrc, sequence number) in the order in which the server sent them; headers are in clear in SRTP.
        self.sent = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))
        self.port = self.transport.get_extra_info("sockname")[1]
        widen(self.transport)
        return self

    async def __aexit__(self, *_):
        for upstream in self.upstreams.values():
            upstream.transport.close()
        self.transport.close()

    def redirect(self, sdp):
        """Rewrites the candidates of an answer: for `Peer.change_answer`."""
        found = re.findall(r"(?m)^a=candidate:\S+ \d+ \S+ \d+ (\S+) (\d+) typ", sdp)
        assert found, f"no candidate in {sdp}"
        self.server = (found[0][0], int(found[0][1]))
        return re.sub(r"(?m)^(a=candidate:\S+ \d+ \S+ \d+) \S+ \d+ typ", rf"\1 {self.host} {self.port} typ", sdp)

    def datagram_received(self, data, client):
        if not self.cut:
            asyncio.ensure_future(self._to_server(data, client))

    async def _to_server(self, data, client):
        upstream = self.upstreams.get(client)
        if upstream is None:
            upstream = await self._new_upstream(client)
        upstream.transport.sendto(data, self.server)

    async def _new_upstream(self, client):
        loop = asyncio.get_running_loop()
        upstream = _Upstream(self, client)
        self.upstreams[client] = upstream
        await loop.create_datagram_endpoint(lambda: upstream, local_addr=(self.host, 0))
        return upstream

    async def move(self):
        """A NAT that forgot: every client goes on from a new address."""
        for client in list(self.upstreams):
            old = self.upstreams[client]
            await self._new_upstream(client)
            old.transport.close()

    def from_server(self, data, client):
        if self.cut:
            return
        if is_rtp(data):
            sequence, ssrc = struct.unpack_from("!H4xI", data, 2)
            self.sent.append((ssrc, sequence))
            if self.random.random() < self.loss_to_client:
                self.dropped += 1
                self.dropped_packets.add((ssrc, sequence))
                return
            self.forwarded += 1
        self.transport.sendto(data, client)


def own_address():
    """The address that this machine would be reached at; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def widen(transport):
    """Room for what comes while this process waits for a CPU: only what the path drops on purpose is to be lost."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)


def is_rtp(data):
    """RFC 7983 §7 and RFC 5761 §4."""
    return len(data) >= 12 and 128 <= data[0] <= 191 and not 192 <= data[1] <= 223
