"""A WHIP/WHEP server on aiortc (WebRTC in Python): forwards one publisher's packets to every player, undecoded.

    python -m weever_e2e.relay PORT [DIRECTORY]

POST /whip publishes, POST /whep/<anything> plays, DELETE on the Location ends it. With a directory it speaks TLS, by the
certificate.pem and key.pem in there.
"""

import asyncio
import re
import ssl
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket


class Relay:
    def __init__(self):
        self.sessions = {}
        self.players = {}
        self.ask = None
        self.ssrc = None

    async def publish(self, connection, offer):
        await connection.setRemoteDescription(offer)
        receiver = connection.getTransceivers()[0].receiver
        # Packets as they come: aiortc itself would decode them.
        receiver._handle_rtp_packet = self.forward
        self.ask = receiver._send_rtcp_pli

    async def play(self, connection, offer):
        await connection.setRemoteDescription(offer)
        transceiver = connection.getTransceivers()[0]
        transceiver.direction = "sendonly"

        @connection.on("connectionstatechange")
        async def connected():
            if connection.connectionState == "connected":
                codecs = transceiver._codecs
                self.players[connection] = (transceiver.sender, codecs[0].payloadType)
                if self.ask and self.ssrc:
                    await self.ask(self.ssrc)

    async def forward(self, packet, arrival_time_ms):
        self.ssrc = packet.ssrc
        for sender, payload_type in list(self.players.values()):
            copy = RtpPacket(payload_type=payload_type, marker=packet.marker, sequence_number=packet.sequence_number,
                             timestamp=packet.timestamp, ssrc=sender._ssrc, payload=packet.payload)
            try:
                await sender.transport._send_rtp(copy.serialize(sender._RTCRtpSender__rtp_header_extensions_map))
            except ConnectionError:
                pass

    async def answer(self, method, path, body):
        """Status, headers and body of the answer to a request."""
        if method == "POST":
            connection = RTCPeerConnection()
            offer = RTCSessionDescription(body, "offer")
            await (self.publish if path == "/whip" else self.play)(connection, offer)
            await connection.setLocalDescription(await connection.createAnswer())
            location = f"/session/{len(self.sessions) + 1}"
            self.sessions[location] = connection
            headers = f"Content-Type: application/sdp\r\nLocation: {location}\r\n"
            return "201 Created", headers, connection.localDescription.sdp
        connection = self.sessions.get(path)
        if method != "DELETE" or connection is None:
            return "404 Not Found", "", ""
        self.players.pop(connection, None)
        await connection.close()
        return "200 OK", "", ""

    async def serve(self, reader, writer):
        """One request on each connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            status, headers, text = await self.answer(method, path, body.decode())
            length = f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n"
            writer.write(f"HTTP/1.1 {status}\r\n{headers}{length}\r\n{text}".encode())
            await writer.drain()
        finally:
            writer.close()


async def main(port, directory=None):
    tls = None
    if directory:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(f"{directory}/certificate.pem", f"{directory}/key.pem")
    server = await asyncio.start_server(Relay().serve, "127.0.0.1", port, ssl=tls)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0, *sys.argv[2:3]))
