"""Browsers: the demo site's own tests (`browser/run.mjs`), and Chromium and Firefox, and GStreamer, as viewers of
others."""

import asyncio
import json
import os
import re

from .encoder import Ffmpeg
from .media_scenarios import wait_listed
from .path import Path, own_address
from .scenario import scenario, with_server
from .server import ROOT, Server

E2E = ROOT / "deploy" / "e2e"
WATCH_SECONDS = 80
LOSS = 0.02
# Firefox has no H.264 decoder of its own, GStreamer 1.22 no AV1 depacketizer.
VIEWERS = {"VP8": ("chromium", "firefox", "gstreamer"), "VP9": ("chromium", "firefox", "gstreamer"),
           "H264": ("chromium", "gstreamer"), "AV1": ("chromium", "firefox")}
# Of playing, for each viewer.
PLAY_SECONDS = 6
# No line for so long: something hangs that the tests' own limits don't catch.
SILENT_SECONDS = 120


async def node(server, script, *arguments):
    environment = dict(os.environ, WEEVER_PUBLIC=f"http://127.0.0.1:{server.port}",
                       WEEVER_PRIVATE=f"http://127.0.0.1:{server.private_port}")
    return await asyncio.create_subprocess_exec(
        "node", str(E2E / script), *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)


async def end(process):
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


async def suite_names(words):
    """The site's tests with one of these words in their name; all without words."""
    process = await asyncio.create_subprocess_exec(
        "node", str(E2E / "browser" / "run.mjs"), "--list", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, f"run.mjs --list ended with {process.returncode}"
    names = [name for name in output.decode().splitlines() if name]
    return [name for name in names if not words or any(word in name for word in words)]


def alone(name, io):
    """Runs one of the site's tests again, on a server of its own."""
    words = [name.removesuffix(f" [{io}]")]

    async def again(report):
        async def after(report, server, io):
            await suite(report, server, io, words)

        await with_server(report, Server(f"weever-{io}-site-again", io), f"server of {name}", [], after)

    return again


async def suite(report, server, io, words):
    """Runs the site's tests; each of their lines becomes one of ours."""
    wanted = await suite_names(words)
    if not wanted:
        return
    process = await node(server, "browser/run.mjs", *words)
    told, failing, details = 0, None, []

    def finish_failure():
        nonlocal failing, details
        if failing is not None:
            report.fail(failing[0], failing[1], "\n".join(details), again=alone(failing[0], io))
        failing, details = None, []

    try:
        while line := await asyncio.wait_for(process.stdout.readline(), SILENT_SECONDS):
            line = line.decode(errors="replace").rstrip()
            found = re.fullmatch(r"(ok|FAIL)\s+(.*) \(([\d.]+) s\)", line)
            if found:
                finish_failure()
                told += 1
                name, seconds = f"{found[2]} [{io}]", float(found[3])
                if found[1] == "ok":
                    report.ok(name, seconds)
                else:
                    failing = (name, seconds)
            elif line and not re.fullmatch(r"\d+ passed, \d+ failed", line):
                details.append(line.strip())
        finish_failure()
        await process.wait()
    except asyncio.TimeoutError:
        finish_failure()
        report.fail(f"the site's tests [{io}]", SILENT_SECONDS, f"silent for {SILENT_SECONDS} s", server)
    finally:
        await end(process)
    if told != len(wanted):
        missing = "\n".join(details[-20:])
        report.fail(f"the site's tests [{io}]", 0, f"{told} of {len(wanted)} were run\n{missing}", server)


@scenario()
async def chromium_watches_ffmpeg(server, note):
    """H.264 and Opus by WHIP, seen and heard in the demo site's pages."""
    async with Ffmpeg(server, "browser-ffmpeg", "encoder+1", picture="smptebars") as ffmpeg:
        await wait_listed(server, "browser-ffmpeg", "encoder+1")
        process = await node(server, "chromium_watches.mjs", "browser-ffmpeg", "encoder")
        try:
            output, _ = await asyncio.wait_for(process.communicate(), WATCH_SECONDS)
        finally:
            await end(process)
        ffmpeg.check()
        assert process.returncode == 0, output.decode(errors="replace")[-4000:]


async def play_under_loss(server, note, codec):
    # Firefox has no candidate of its own on 127.0.0.1.
    async with Path(loss_to_client=LOSS, seed=11, host=own_address()) as path:
        path.server = ("127.0.0.1", server.udp_port)
        process = await node(server, "viewers_play.mjs", f"plays-{codec}", codec, str(PLAY_SECONDS), str(server.udp_port),
                             f"{path.host} {path.port}", *VIEWERS[codec])
        try:
            output, _ = await asyncio.wait_for(process.communicate(), WATCH_SECONDS)
        finally:
            await end(process)
        output = output.decode(errors="replace")
        assert process.returncode == 0, output[-4000:]
        played = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert [one["viewer"] for one in played] == list(VIEWERS[codec]), output[-4000:]
        for one in played:
            assert one["codec"].lower() == f"video/{codec}".lower(), one
            assert one["framesSent"] > PLAY_SECONDS * 5, one
            # What was lost came again: the picture goes on. The rest is for a machine that has no time to decode.
            assert one["framesDecoded"] >= 0.75 * one["framesSent"], one
            assert one["freezes"] <= 1, one
        assert path.dropped > 0
        note("; ".join(f"{one['viewer']}: {one['framesDecoded']} of {one['framesSent']} frames, {one['nacks']} NACKs"
                       for one in played))


@scenario(own=("--workers", "1"))
async def viewers_play_vp8_under_loss(server, note):
    """Chromium, Firefox and GStreamer over a path that loses 2 %: what is lost comes again, and the picture goes on."""
    await play_under_loss(server, note, "VP8")


@scenario(own=("--workers", "1"))
async def viewers_play_vp9_under_loss(server, note):
    """The same with this codec."""
    await play_under_loss(server, note, "VP9")


@scenario(own=("--workers", "1"))
async def viewers_play_h264_under_loss(server, note):
    """The same with this codec; no Firefox."""
    await play_under_loss(server, note, "H264")


@scenario(own=("--workers", "1"))
async def viewers_play_av1_under_loss(server, note):
    """The same with this codec; no GStreamer."""
    await play_under_loss(server, note, "AV1")
