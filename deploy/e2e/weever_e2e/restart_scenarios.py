"""Drains and upgrades: a Weever that ends in order, and a control plane that is replaced while hundreds watch."""

import asyncio
import json
import signal

from .loadgen_scenarios import loadgen
from .peers import Player, Publisher, until, until_async
from .scenario import scenario

VIEWERS = 500
MEASURE_SECONDS = 20
JOIN_SECONDS = 60
AGAIN_SECONDS = 30


@scenario(own=("--drain-timeout", "600"), ios=("uring",))
async def sigterm_drains_the_whole(server, note):
    """Nobody new is let in, who watches loses nothing, and it ends by itself when the last has left."""
    async with Publisher(server, "room", "alice", variant=0) as alice, Player(server, "room", "viewer") as viewer:
        await viewer.sees(0)
        planes = (server.plane("controlplane"), server.plane("dataplane"))
        server.process.send_signal(signal.SIGTERM)

        async def busy():
            answer = await server.private("GET", "/readiness")
            return (answer.status, answer.text) == (503, "BUSY")

        await until_async(busy, "readiness says BUSY")
        assert (await server.private("GET", "/liveness")).status == 200
        refused = await server.public("POST", "/sub/room/late", viewer.pc.localDescription.sdp,
                                      {"Content-Type": "application/sdp"})
        assert refused.status == 503 and refused.header("Retry-After"), refused
        await viewer.sees(0, frames=30)
        assert (server.plane("controlplane"), server.plane("dataplane")) == planes
        await viewer.leave()
        assert server.process.poll() is None, "it ended with a session left"
        await alice.leave()
        for stream in viewer.tap.streams.values():
            assert not stream.missing(), f"the viewer misses {stream.missing()[:10]}"
    code = await asyncio.to_thread(server.process.wait, AGAIN_SECONDS)
    assert code == 0, f"it ended with {code}"
    note(f"{viewer.frames} frames")


async def subscribers(server, room):
    """Full IDs of those whose media connection stands."""
    answer = await server.private("GET", f"/rooms/{room}")
    if answer.status != 200:
        return set()
    return {one["full_id"] for one in json.loads(answer.text)["subscribers"] if one["connected"]}


async def replaced(server, how, known):
    """Ends the control plane, and waits until the next one knows everybody."""
    data = server.plane("dataplane")
    gone = await server.kill_plane("controlplane", how)
    await until(lambda: server.plane("controlplane") not in (None, gone), "there is another control plane", AGAIN_SECONDS)
    await server.ready(AGAIN_SECONDS)
    now = await subscribers(server, "load")
    assert now == known, f"{len(known - now)} were forgotten, {len(now - known)} are new"
    assert server.plane("dataplane") == data, "the data plane went with it"


@scenario(own=("--workers", "1"), ios=("uring",))
async def control_plane_replaced_under_500_viewers(server, note):
    """SIGTERM, then SIGKILL while 500 watch: no packet is lost, no session forgotten, and new ones join."""
    measuring = asyncio.ensure_future(loadgen(
        "broadcast", "--server", f"http://127.0.0.1:{server.port}", "--room", "load", "--viewers", str(VIEWERS),
        "--bitrate", "50", "--fps", "10", "--seconds", str(MEASURE_SECONDS), "--join-rate", "100"))
    try:
        async def all_there():
            if measuring.done():
                await measuring
            return len(await subscribers(server, "load")) >= VIEWERS

        await until_async(all_there, "all viewers are connected", JOIN_SECONDS)
        async with Publisher(server, "small", "alice", variant=0), Player(server, "small", "old") as old:
            await old.sees(0)
            known = await subscribers(server, "load")
            await replaced(server, signal.SIGTERM, known)
            await replaced(server, signal.SIGKILL, known)
            assert not measuring.done(), "the measurement was over before"
            async with Player(server, "small", "new") as new:
                await new.sees(0)
            left = await server.public("DELETE", old.location)
            assert left.status == 200, left
            old.location = None
            assert await server.listed("sub", "small") == []
        report = await measuring
    finally:
        measuring.cancel()
    assert report["viewers"]["with_media"] == VIEWERS, report["viewers"]
    assert report["lost"] == 0, f"{report['lost']} of {report['packets']} packets were lost"
    assert report["packets"] > VIEWERS * MEASURE_SECONDS * 5, report["packets"]
    assert await server.listed("sub", "load") == [], "they left by the last control plane"
    note(f"{report['packets']} packets to {VIEWERS} viewers, {report['freezes']} freezes")
