"""The load generator against servers of other stacks, with the command line that it has for Weever."""

import asyncio
import json
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from .browser import end, node
from .peers import Player, until
from .scenario import scenario
from .server import OUTPUT
from .tls import certify

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
LOADGEN = os.environ.get("WEEVER_LOADGEN", str(ROOT / "target/debug/weever-loadgen"))
VIEWERS = 3
# Their seconds aren't quite the same.
AGREE_PERCENT = 0.5
WITNESS_SECONDS = 10


@asynccontextmanager
async def relay(name, *command):
    """A server of another stack; gives its port and process."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with open(OUTPUT / f"relay-{name}.log", "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=HERE.parent, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log)
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), 15)).decode()
            assert line.startswith("listening on "), f"{name} did not start: {line!r}"
            yield int(line.split()[-1]), process.pid
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run_loadgen(*arguments, code=0):
    """What it prints, out and err. Fails when it doesn't end with this code."""
    process = await asyncio.create_subprocess_exec(
        LOADGEN, *arguments, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == code, f"loadgen ended with {process.returncode}: {err.decode()} {out.decode()[-2000:]}"
    return out.decode(), err.decode()


async def loadgen(*arguments):
    """Its report. Fails when it does."""
    out, _ = await run_loadgen(*arguments)
    return json.loads(out)


async def watch(port, pid, note, *more, scheme="http"):
    report = await loadgen(
        "broadcast", "--whip", f"{scheme}://127.0.0.1:{port}/whip", "--whep", f"{scheme}://127.0.0.1:{port}/whep/{{n}}",
        *more,
        "--viewers", str(VIEWERS), "--seconds", "4", "--verify", "all", "--server-pid", str(pid))
    assert report["viewers"]["with_media"] == VIEWERS, report["viewers"]
    assert report["first_keyframe_ms"]["count"] == VIEWERS, report["first_keyframe_ms"]
    # 1 Mbit/s in packets of at most 1100 bytes is about 120 a second, for each viewer.
    assert report["packets"] > 4 * 100 * VIEWERS, report["packets"]
    assert report["verified_packets"] == report["packets"] and report["auth_failures"] == 0
    assert report["foreign_packets"] == 0 and report["lost"] == 0, f"{report['lost']} lost"
    assert report["server_ns_per_packet"] > 0
    note(f"{report['packets']} packets, {report['server_ns_per_packet'] / 1000:.0f} us of {report['cipher']} each")


@scenario()
async def loadgen_holds_a_conference(server, note):
    """Four people: each gets the picture and the sound of the three others, and nothing of its own."""
    report = await loadgen(
        "conference", "--server", f"http://127.0.0.1:{server.port}", "--room", "conference", "--audio",
        "--viewers", "4", "--bitrate", "300", "--seconds", "4", "--server-pid", str(server.process.pid))
    assert report["viewers"]["with_media"] == 4 and report["lost"] == 0, report["viewers"]
    sent = report["sent"]["packets"]
    assert abs(report["packets"] - 3 * sent) < 0.05 * 3 * sent, f"{report['packets']} of {sent} by each for the others"
    note(f"{report['packets']} packets")


@scenario(ios=("uring",))
async def loadgen_reads_the_servers_own_metrics(server, note):
    """CPU and memory by Weever's metrics agree with those by its processes."""
    measure = ["broadcast", "--server", f"http://127.0.0.1:{server.port}", "--room", "metrics", "--viewers", "20",
               "--bitrate", "3000", "--seconds", "6"]
    by_metrics = await loadgen(*measure, "--server-metrics", f"http://127.0.0.1:{server.private_port}/metrics")
    by_pid = await loadgen(*measure, "--server-pid", str(server.process.pid))
    told = (await server.private("GET", "/metrics")).text
    theirs = by_metrics["server_ns_per_packet"]
    process = next(one for one in by_pid["server"] if "dataplane" in one["name"])
    ours = process["ns_per_packet"]
    # Told once a second, and of the workers alone.
    assert 0.5 < theirs / ours < 1.5, f"{theirs} ns by metrics, {ours} ns by process"
    assert by_metrics["server_rss_per_viewer_bytes"] is not None
    memory = int(re.search(r"^weever_shard_resident_memory_bytes\{.*\} (\d+)", told, re.MULTILINE)[1])
    of_process = process["rss_bytes"]
    assert 0.8 < memory / of_process < 1.2, f"{memory} bytes by metrics, {of_process} bytes by process"
    note(f"{theirs:.0f} ns and {memory >> 20} MiB by metrics, {ours:.0f} ns and {of_process >> 20} MiB by process")


async def seen_by_aiortc(server, room):
    """Packets that came and packets that were lost, as aiortc counts them."""
    async with Player(server, room, "aiortc") as player:
        await until(lambda: player.tap.packets() > 100, lambda: "aiortc gets no packets")
        await asyncio.sleep(WITNESS_SECONDS)
        stats = (await player.video_receiver().getStats()).values()
        # Retransmissions are a stream of their own to aiortc, a small one.
        theirs = max((one for one in stats if one.type == "inbound-rtp"), key=lambda one: one.packetsReceived)
        return theirs.packetsReceived, theirs.packetsLost


async def seen_by_chromium(server, room):
    """The same by Chromium."""
    process = await node(server, "chromium_counts.mjs", room, str(WITNESS_SECONDS))
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        await end(process)
    assert process.returncode == 0, output.decode(errors="replace")[-4000:]
    theirs = json.loads(output)
    return theirs["packetsReceived"], theirs["packetsLost"]


@scenario()
async def loadgen_and_others_agree_on_loss(server, note):
    """A stream that loses 2 % before the server: whoever watches it counts the same."""
    url = f"http://127.0.0.1:{server.port}"
    measuring = asyncio.ensure_future(loadgen(
        "broadcast", "--whip", f"{url}/pub/agree/source", "--whep", f"{url}/sub/agree/viewer{{n}}", "--viewers", "2",
        "--seconds", "18", "--bitrate", "6000", "--no-nack", "--impair-publishers", "loss=2%,on=media"))
    try:
        await asyncio.sleep(2.5)
        seen = await asyncio.gather(seen_by_aiortc(server, "agree"), seen_by_chromium(server, "agree"))
        assert not measuring.done(), "the witnesses took longer than the stream"
        report = await measuring
    finally:
        measuring.cancel()
    way = report["impaired_from_publishers"]
    figures = {"injected": (way["passed"], way["lost"]), "aiortc": seen[0], "Chromium": seen[1]}
    ours = report["loss_percent"]
    percents = {name: 100 * lost / (lost + came) for name, (came, lost) in figures.items()}
    note(f"loadgen {ours:.2f} %, " + ", ".join(f"{name} {percent:.2f} %" for name, percent in percents.items()))
    for name, (came, _) in figures.items():
        assert came > 3000 and abs(ours - percents[name]) < AGREE_PERCENT, f"{name}: {figures[name]}, loadgen {ours} %"


@scenario(ios=("uring",))
async def loadgen_publishes_files(server, note):
    """aiortc decodes what it publishes from WebM and MP4."""
    url = f"http://127.0.0.1:{server.port}"
    for name in ("vp8-opus.webm", "h264.mp4"):
        room = name.split(".")[0]
        measuring = asyncio.ensure_future(loadgen(
            "broadcast", "--whip", f"{url}/pub/{room}/source", "--whep", f"{url}/sub/{room}/viewer",
            "--media", str(ROOT / "loadgen/tests/media" / name), "--seconds", "8", "--verify", "all"))
        try:
            await asyncio.sleep(1.5)
            async with Player(server, room, "aiortc") as player:
                await until(lambda: player.frames > 30, lambda: f"{name}: aiortc decoded {player.frames} frames")
            report = await measuring
        finally:
            measuring.cancel()
        assert report["lost"] == 0 and report["freezes"] == 0, f"{name}: {report['lost']} lost"
        assert report["delay_ms"]["count"] > 50 and report["delay_ms"]["p50"] < 50, report["delay_ms"]
        note(f"{name}: {report['sent']['packets']} packets")


@scenario(ios=("uring",))
async def loadgen_against_werift(_server, note):
    """WebRTC in TypeScript forwards what it publishes to three viewers."""
    async with relay("werift", "node", "relays/werift.mjs", "0") as (port, pid):
        await watch(port, pid, note)


@scenario(ios=("uring",))
async def loadgen_against_aiortc(_server, note):
    """WebRTC in Python forwards what it publishes to three viewers."""
    async with relay("aiortc", sys.executable, "-m", "weever_e2e.relay", "0") as (port, pid):
        await watch(port, pid, note)


@scenario(ios=("uring",))
async def loadgen_over_tls(_server, note):
    """A certificate by an authority of our own: trusted when that is named, or when none is asked for; else refused."""
    directory = OUTPUT / "tls"
    authority = certify(directory)
    async with relay("tls", sys.executable, "-m", "weever_e2e.relay", "0", str(directory)) as (port, pid):
        await watch(port, pid, note, "--ca", str(authority), scheme="https")
        await watch(port, pid, note, "--insecure", scheme="https")
        url = f"https://127.0.0.1:{port}"
        out, err = await run_loadgen("broadcast", "--whip", f"{url}/whip", "--whep", f"{url}/whep/{{n}}", code=1)
        assert "certificate" in err and "--ca" in err, f"{err}{out}"


@scenario()
async def loadgen_measures_multistream(server, note):
    """Two publishers, four viewers with control channels: each gets both tracks of each publisher."""
    report = await loadgen(
        "broadcast", "--server", f"http://127.0.0.1:{server.port}", "--room", "loadgen", "--publishers", "2", "--audio",
        "--viewers", "4", "--seconds", "8", "--server-pid", str(server.process.pid))
    assert report["viewers"]["with_media"] == 4 and report["lost"] == 0, report["viewers"]
    # A viewer counts from its first keyframe on, up to half a second after the first packet that counts for the sender.
    sent = report["sent"]["packets"]
    assert abs(report["packets"] - 4 * sent) < 0.05 * 4 * sent, f"{report['packets']} of {sent} for four"
    note(f"{report['packets']} packets, p99 {report['delay_ms']['p99']:.1f} ms")
