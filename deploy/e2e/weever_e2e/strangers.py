"""Packets of peers that nobody has authenticated."""

import asyncio
import os
import struct

from aioice import stun
from OpenSSL import SSL


def binding_request(username=None, password=None, priority=True):
    """A STUN binding request (RFC 8489), signed when there is a password."""
    message = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    if username is not None:
        message.attributes["USERNAME"] = username
    if priority:
        message.attributes["PRIORITY"] = 1853824767
    message.attributes["ICE-CONTROLLING"] = int.from_bytes(os.urandom(8), "big")
    if password is not None:
        message.add_message_integrity(password.encode())
    else:
        message.add_fingerprint()
    return bytes(message)


def client_hello():
    """The first flight of a real DTLS client."""
    context = SSL.Context(SSL.DTLS_METHOD)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass
    return client.bio_read(4096)


def dtls_record(kind, length=64):
    """A record of the given content type with noise in it."""
    return struct.pack("!BHHIHH", kind, 0xFEFD, 0, 0, 1, length) + os.urandom(length)


def srtp_like(ssrc, sequence):
    return struct.pack("!BBHII", 0x80, 96, sequence & 0xFFFF, 1234, ssrc) + os.urandom(200)


def rtcp_like(ssrc):
    """A receiver report with noise behind it."""
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc) + os.urandom(40)


class Stranger(asyncio.DatagramProtocol):
    """A UDP socket that counts what it sends and what comes back."""

    def __init__(self, address):
        self.address = address
        self.bytes_sent = 0
        self.answers = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_):
        self.transport.close()

    def send(self, data):
        self.bytes_sent += len(data)
        self.transport.sendto(data, self.address)

    def datagram_received(self, data, _source):
        self.answers.append(data)

    def error_received(self, _error):
        pass

    def bytes_answered(self):
        return sum(map(len, self.answers))
