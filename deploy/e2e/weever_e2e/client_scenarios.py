"""Publishers and players that are programs of their own, each with a stack that none of the others has."""

import asyncio
import re

from .path import own_address
from .peers import Player, Publisher, until, until_async
from .programs import gstreamer, wrtc
from .scenario import scenario
from .server import ROOT

ENOUGH = 45
PLAY_SECONDS = 40
H264 = ("videotestsrc is-live=true pattern=ball ! videoconvert ! openh264enc bitrate=500000 gop-size=60 ! "
        "video/x-h264,profile=constrained-baseline ! whip.")


def reachable():
    """Flags: libnice has no candidate on 127.0.0.1, so that alone will not do."""
    try:
        return "--workers", "1", "--udp-host", own_address()
    except OSError:
        # Without a network the scenario fails, not the whole program.
        return "--workers", "1"


def readme(element, server, room):
    """The README's pipeline with this element: only the address, the room and what needs a screen are others."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    found = [line.split("gst-launch-1.0", 1)[1].strip() for line in text.splitlines()
             if "gst-launch-1.0" in line and element in line]
    assert len(found) == 1, f"the README has {len(found)} pipelines with {element}"
    pipeline, sinks = re.subn(r"auto(video|audio)sink", r"fakesink name=\1", found[0])
    assert sinks in (0, 2), pipeline
    assert "http://localhost:8443" in pipeline and "/testroom/" in pipeline, pipeline
    return pipeline.replace("http://localhost:8443", f"http://127.0.0.1:{server.port}").replace("testroom", room)


async def plays(player, *names):
    """Until so many frames of each were decoded, nearly all of them different from the one before."""
    seen = {}

    async def enough():
        seen.update(await player.counts())
        return all(seen.get(name, (0, 0))[0] >= ENOUGH for name in names)

    await until_async(enough, lambda: f"{names} played: {seen}", PLAY_SECONDS)
    for name in names:
        frames, changed = seen[name]
        assert changed > frames // 2, f"{name} stands still: {changed} of {frames} are new"


async def nobody_left(server, room):
    async def empty():
        return await server.listed("pub", room) == [] and await server.listed("sub", room) == []

    await until_async(empty, f"all have left {room}")


@scenario(own=reachable(), ios=("uring",))
async def whipclientsink_and_whepclientsrc(server, note):
    """GStreamer's own WHIP and WHEP elements by the README's command lines, each against the other and against aiortc."""
    async with gstreamer(readme("whipclientsink", server, "gst")) as publisher, Player(server, "gst", "aiortc") as viewer:
        async with gstreamer(readme("whepclientsrc", server, "gst")) as player:
            await plays(player, "video", "audio")
            await until(lambda: viewer.frames >= ENOUGH and viewer.liveliness > 10 and viewer.heard > 0,
                        lambda: f"{viewer.frames} frames, liveliness {viewer.liveliness:.0f}", PLAY_SECONDS)
            await player.leave()
            await publisher.leave()
        await viewer.leave()
        note(f"aiortc decoded {viewer.frames} frames")
    await nobody_left(server, "gst")

    pipeline, shown = readme("whipclientsink", server, "gst-h264").split(" videotestsrc ")[0], Player(server, "gst-h264", "a")
    async with gstreamer(f"{pipeline} {H264}") as publisher, shown as viewer:
        pipeline = readme("whepclientsrc", server, "gst-h264").split(" whep. ! audio")[0]
        async with gstreamer(pipeline) as player:
            await plays(player, "video")
            await until(lambda: viewer.frames >= ENOUGH, lambda: f"aiortc decoded {viewer.frames} frames of H.264")
            rooms = await server.private("GET", "/rooms/gst-h264")
            assert '"codec":"H264"' in rooms.text, rooms
            await player.leave()
            await publisher.leave()
    await nobody_left(server, "gst-h264")

    async with Publisher(server, "gst-other", "aiortc", variant=1):
        async with gstreamer(readme("whepclientsrc", server, "gst-other")) as player:
            await plays(player, "video", "audio")


@scenario(ios=("uring",))
async def wrtc_publishes_and_plays(server, note):
    """libwebrtc in Node, against aiortc and against itself."""
    url = f"http://127.0.0.1:{server.port}"
    async with wrtc("publish", f"{url}/pub/wrtc/node") as publisher, Player(server, "wrtc", "aiortc") as viewer:
        async with wrtc("play", f"{url}/sub/wrtc/node-viewer") as player:
            await plays(player, "video")
            await until(lambda: viewer.frames >= ENOUGH and viewer.liveliness > 10,
                        lambda: f"{viewer.frames} frames, liveliness {viewer.liveliness:.0f}", PLAY_SECONDS)
            await player.leave()
            await publisher.leave()
        await viewer.leave()
        note(f"aiortc decoded {viewer.frames} frames")
    await nobody_left(server, "wrtc")
    async with Publisher(server, "wrtc-other", "aiortc", variant=1):
        async with wrtc("play", f"{url}/sub/wrtc-other/node-viewer") as player:
            await plays(player, "video")
