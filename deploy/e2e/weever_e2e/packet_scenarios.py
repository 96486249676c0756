"""The packet window, read by Wireshark's own tshark."""

import asyncio
import json
import subprocess
import tempfile
import time

from .peers import Player, Publisher, header_length, until
from .scenario import scenario

CAPTURE_SECONDS = 4
TSHARK_SECONDS = 60


def tshark(capture, shown, *fields):
    """The fields of each packet that the display filter lets pass, one list a packet."""
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as file:
        file.write(capture)
        file.flush()
        wanted = [word for field in fields for word in ("-e", field)]
        ran = subprocess.run(["tshark", "-n", "-r", file.name, "-Y", shown, "-T", "fields", *wanted],
                             capture_output=True, text=True, timeout=TSHARK_SECONDS)
    assert ran.returncode == 0, ran.stderr
    return [line.split("\t") for line in ran.stdout.splitlines()]


async def capture(server, path):
    answer = await server.private("GET", f"{path}/packets?format=pcapng&seconds={CAPTURE_SECONDS}")
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "application/x-pcapng", answer
    return answer.body


def by_number(rows):
    """SSRC and sequence number of RTP, and what else was asked for."""
    return {(int(ssrc, 16), int(seq)): rest for ssrc, seq, *rest in rows}


@scenario(ios=("uring",))
async def tshark_reads_a_viewers_packets(server, note):
    """What the file says was sent is what the viewer got: numbers, timestamps, markers; and no byte of payload."""
    got, payloads = {}, []

    def listen(ssrc, _payload_type, data):
        got[ssrc, int.from_bytes(data[2:4], "big")] = [int.from_bytes(data[4:8], "big"), data[1] >> 7]
        payloads.append(data[header_length(data):])

    async with Publisher(server, "packets", "alice", variant=1):
        player = Player(server, "packets", "viewer")
        player.listeners.append(listen)
        async with player:
            await player.sees(1)
            begin = time.time()
            file = await capture(server, "/rooms/packets/sub/viewer")
            end = time.time()
            sent = by_number(await asyncio.to_thread(
                tshark, file, "rtp", "rtp.ssrc", "rtp.seq", "rtp.timestamp", "rtp.marker"))
            await until(lambda: sent.keys() <= got.keys(), lambda: sorted(sent.keys() - got.keys())[:10])
    assert len(sent) > 20 * CAPTURE_SECONDS, f"{len(sent)} packets"
    truth = {"1": 1, "0": 0, "True": 1, "False": 0}
    for number, (timestamp, marker) in sent.items():
        assert got[number] == [int(timestamp), truth[marker]], f"{number}: {got[number]}, {timestamp} {marker}"
    for ssrc in {ssrc for ssrc, _ in sent}:
        numbers = [seq for one, seq in sent if one == ssrc]
        missing = [seq for one, seq in got if one == ssrc and min(numbers) < seq < max(numbers) and seq not in numbers]
        assert not missing or max(numbers) - min(numbers) > 0x8000, f"not in the file: {missing[:10]}"
    # Long enough not to be in the file by chance.
    carried = [payload for payload in payloads if len(payload) >= 40]
    assert carried and not any(payload[8:40] in file for payload in carried)
    times = [float(at) for [at] in await asyncio.to_thread(tshark, file, "rtp || rtcp", "frame.time_epoch")]
    assert begin < min(times) and max(times) < end and times == sorted(times), (begin, min(times), max(times), end)
    assert tshark(file, "rtcp.pt == 200", "rtcp.pt"), "no sender report"
    assert tshark(file, "rtcp.pt == 201", "rtcp.pt"), "no receiver report"
    assert not tshark(file, "_ws.malformed", "frame.number")
    note(f"{len(sent)} packets in {len(file)} bytes")


@scenario(ios=("uring",))
async def tshark_reads_a_publishers_packets(server, note):
    """Both ways: media and reports from it, reports and feedback to it. The same as JSON names the tracks."""
    async with Publisher(server, "packets-in", "alice+1", variant=1):
        async with Player(server, "packets-in", "viewer") as player:
            await player.sees(1)
            path = "/rooms/packets-in/pub/alice+1"
            file, lines = await asyncio.gather(
                capture(server, path),
                server.private("GET", f"{path}/packets?format=json&seconds={CAPTURE_SECONDS}"))
    rtp = by_number(tshark(file, "rtp && frame.packet_flags_direction == 1", "rtp.ssrc", "rtp.seq"))
    assert len(rtp) > 20 * CAPTURE_SECONDS, f"{len(rtp)} packets"
    for shown in ("rtcp.pt == 200 && frame.packet_flags_direction == 1", "rtcp.pt == 201 && frame.packet_flags_direction == 2"):
        assert tshark(file, shown, "rtcp.pt"), f"nothing for {shown}"
    assert not tshark(file, "_ws.malformed", "frame.number")
    told = [json.loads(line) for line in lines.text.splitlines()]
    assert told[0] == {"type": "session", "room": "packets-in", "role": "pub", "full_id": "alice+1"}, told[0]
    assert told[-1]["type"] == "end", told[-1]
    named = {(one["publisher"], one["track"], one["codec"]) for one in told if one["type"] == "rtp"}
    assert named == {("alice+1", "audio0", "opus"), ("alice+1", "video0", "VP8")}, named
    # Both windows looked at the same time, but for their first and last moments.
    both = {(one["ssrc"], one["seq"]) for one in told if one["type"] == "rtp"} & rtp.keys()
    assert len(both) > len(rtp) / 2, f"{len(both)} of {len(rtp)}"
    note(f"{len(rtp)} packets")
