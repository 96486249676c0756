"""What a running broadcast outlives: floods, planes without a CPU, a clock that jumps, a log that nobody takes."""

import asyncio
import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path as File

from .fault_scenarios import assert_no_gap
from .path import Path
from .peers import Player, Publisher, until, until_async
from .scenario import scenario
from .server import OUTPUT, Server

ONCE = ("uring",)
FLOOD_SECONDS = 6
# Longer than either plane waits for a word of the other.
LONG_STOP_SECONDS = 8
DAY = 24 * 3600


@contextlib.asynccontextmanager
async def broadcast(server, room):
    """alice publishes, viewer watches; also what the server sent to the viewer, as it left."""
    async with Path() as path:
        async with Publisher(server, room, "alice", variant=0) as alice:
            viewer = Player(server, room, "viewer")
            viewer.change_answer = path.redirect
            async with viewer:
                await viewer.sees(0)
                yield alice, viewer, path


def nothing_missed(viewer, path):
    assert_no_gap(path.sent)
    for stream in viewer.tap.streams.values():
        assert not stream.missing(), f"the viewer misses {stream.missing()[:10]}"


@scenario(own=(), ios=ONCE)
async def viewers_play_through_floods(server, note):
    """Dawdlers, POSTs, HTTP/2 resets and guesses by thousands: who is over a limit is told, and no viewer misses a packet."""
    async with broadcast(server, "calm") as (_, viewer, path):
        before, begin = len(path.sent), time.monotonic()
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "weever_e2e.floods", str(server.port), str(FLOOD_SECONDS),
            cwd=File(__file__).resolve().parents[1], stdout=subprocess.PIPE)
        try:
            await viewer.sees(0, frames=30, seconds=60)
            ready = await server.private("GET", "/readiness")
            assert ready.status == 200, "probes are answered meanwhile"
            told, _ = await asyncio.wait_for(flood.communicate(), 60)
        finally:
            if flood.returncode is None:
                flood.kill()
                await flood.wait()
        counts = json.loads(told)
        for what in ("post 400", "told to wait", "streams reset", "dawdlers", "guesses wrong"):
            assert counts.get(what, 0) > 0, f"no {what}: {counts}"
        assert counts["streams reset"] > 1000 and counts["guesses wrong"] > 100, counts
        assert counts.get("guesses right", 0) == 0, counts
        await viewer.sees(0)
        nothing_missed(viewer, path)
        during = len(path.sent) - before
        assert during > 50, f"only {during} packets were sent in {time.monotonic() - begin:.1f} s"
        assert await server.listed("pub", "flood") == [] and await server.listed("sub", "flood") == []

        async def served_again():
            async with Player(server, "calm", "late") as late:
                await late.sees(0)
            return True

        # Its address may still be over its rate for a moment.
        await until_async(lambda: answered(served_again), "who comes later is served", 30)
        note(f"{during} packets without a gap; {sum(counts.values())} attacks")


async def answered(action):
    try:
        return await action()
    except AssertionError as error:
        if "429" in str(error) or "503" in str(error):
            return False
        raise


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        # The kernel takes its time where a thread is in a system call.
        deadline = time.monotonic() + 5
        while (state := File(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
            assert time.monotonic() < deadline, f"{pid} is in state {state}"
            time.sleep(0.01)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def still_there(server, *peers):
    """Sessions are listed, and go on under the URLs of before."""
    async def listed():
        return (await server.listed("pub", "stops"), await server.listed("sub", "stops")) == (["alice"], ["viewer"])

    await until_async(listed, "the sessions are listed", 30)
    for peer in peers:
        assert (await server.public("GET", peer.location)).status == 200, peer.path


@scenario(own=(), ios=ONCE)
async def planes_without_a_cpu_for_a_second(server, note):
    """SIGSTOP for a second, each plane in turn: nobody is lost, nobody is told of anything."""
    async with broadcast(server, "stops") as (alice, viewer, path):
        for plane in ("controlplane", "dataplane"):
            with stopped(server.plane(plane)):
                before = len(path.sent)
                await asyncio.sleep(1.2)
                during = len(path.sent) - before
            assert (during > 10) == (plane == "controlplane"), f"{plane}: {during} packets while it was stopped"
            await viewer.sees(0)
            await still_there(server, alice, viewer)
        assert_no_gap(path.sent)
        log = server.log_text()
        for word in ("lost the control plane", "data plane lost", "connection was closed", " left "):
            assert word not in log, f"{word!r} is in the log"


@scenario(own=(), ios=ONCE)
async def planes_that_hang_for_long(server, note):
    """SIGSTOP for longer than they wait for each other: they part, meet again, and everybody goes on."""
    async with broadcast(server, "stops") as (alice, viewer, path):
        with stopped(server.plane("controlplane")):
            before = len(path.sent)
            await asyncio.sleep(LONG_STOP_SECONDS)
            during = len(path.sent) - before
        assert during > 100, f"media stopped with the control plane: {during} packets"
        await server.ready(30)
        await still_there(server, alice, viewer)
        await viewer.sees(0)
        nothing_missed(viewer, path)
        assert "lost the control plane" in server.log_text(), "the data plane noticed"
        with stopped(server.plane("dataplane")):
            async def missed():
                return (await server.private("GET", "/readiness")).status == 503

            await until_async(missed, "its silence is noticed", 20)
            await asyncio.sleep(2)
        await server.ready(30)
        await still_there(server, alice, viewer)
        await viewer.sees(0, seconds=30)
        async with Player(server, "stops", "late") as late:
            await late.sees(0)
        note(f"{during} packets without a gap while the control plane hung")


def full_pipe():
    """Both ends of a pipe that takes not a byte more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    return reader, writer


async def lives_without_a_log(server):
    """A broadcast, and a plane that dies: both are worth many lines."""
    await server.start()
    for pid in (server.plane("controlplane"), server.plane("dataplane"), server.process.pid):
        assert os.readlink(f"/proc/{pid}/fd/2") == os.readlink(f"/proc/self/fd/{server.stderr}")
    planes = {which: server.plane(which) for which in ("controlplane", "dataplane")}
    async with broadcast(server, "mute") as (_, viewer, path):
        killed = await server.kill_plane("controlplane")
        await until(lambda: server.plane("controlplane") not in (None, killed), "it is started again", 20)
        await server.ready(20)
        await viewer.sees(0)
        nothing_missed(viewer, path)
        async with Player(server, "mute", "late") as late:
            await late.sees(0)
    assert server.plane("dataplane") == planes["dataplane"], "the data plane died of its log"
    assert await server.stop() == 0


@scenario(own=(), ios=ONCE)
async def a_log_that_nobody_takes(server, note):
    """Standard error on a full disk, and on a pipe that nobody reads: everything goes on but the log."""
    full = os.open("/dev/full", os.O_WRONLY)
    reader, writer = full_pipe()
    try:
        try:
            os.write(full, b"x")
            raise AssertionError("/dev/full takes what is written")
        except OSError as error:
            note(f"{error.strerror}")
        for name, log in (("full", full), ("pipe", writer)):
            mute = Server(f"weever-uring-log-{name}", "uring", "--log", "debug")
            mute.stderr = log
            try:
                await lives_without_a_log(mute)
            finally:
                await mute.stop()
    finally:
        for one in (full, reader, writer):
            os.close(one)


def time_of_last(log, word):
    """When the server says that it was, in the last line with this word."""
    line = [line for line in log.splitlines() if word in line][-1]
    return datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()


def build_clock():
    library = OUTPUT / "clock.so"
    source = File(__file__).resolve().parents[1] / "clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@scenario(own=(), ios=ONCE)
async def the_wall_clock_jumps(server, note):
    """Two days ahead, three back, in a broadcast: no session, no token and no packet is lost."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    step = OUTPUT / "clock-step"

    def set_step(seconds):
        # In place: the processes have it mapped.
        with open(step, "r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    step.write_bytes(bytes(8))
    moved = Server("weever-uring-clock", "uring", "--auth")
    moved.environment = {"LD_PRELOAD": str(build_clock()), "CLOCK_STEP": str(step)}
    try:
        await moved.start()
        for role, name in (("pub", "alice"), ("sub", "viewer"), ("sub", "late")):
            token = json.dumps({"room": "time", "id": name, "token": f"token-{name}"})
            assert (await moved.private("POST", f"/create/{role}", token)).status == 200
        async with Path() as path:
            async with Publisher(moved, "time", "alice", variant=0, token="token-alice") as alice:
                viewer = Player(moved, "time", "viewer", token="token-viewer")
                viewer.change_answer = path.redirect
                async with viewer:
                    await viewer.sees(0)
                    for days in (2, -3, 0):
                        set_step(days * DAY)
                        await viewer.sees(0)
                        async with Player(moved, "time", "late", token="token-late") as late:
                            await late.sees(0)
                        told = time_of_last(moved.log_text(), "id=late")
                        assert abs(told - time.time() - days * DAY) < 600, f"{days} days, but the log is of {told}"
                        for peer in (alice, viewer):
                            assert (await moved.public("GET", peer.location)).status == 200, f"{peer.path}, {days} days"
                        room = (await moved.private("GET", "/rooms/time")).json
                        ages = [one["seconds"] for one in room["publishers"] + room["subscribers"]]
                        assert len(ages) == 2 and all(0 <= age < 600 for age in ages), room
                    nothing_missed(viewer, path)
        log = moved.log_text()
        assert not re.search(r"WARN|ERROR|lost", log), "it took notice"
        assert await moved.stop() == 0
    finally:
        await moved.stop()
