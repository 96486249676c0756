"""Data planes that are added, drained and replaced while rooms are live."""

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
from pathlib import Path

from .peers import Player, Publisher, until, until_async
from .scenario import scenario
from .server import OUTPUT, ROOT, Server, free_udp_ports, program

OFFER = ROOT / "controlplane" / "tests" / "sdp" / "clients" / "obs.sdp"
# What a data plane may have beyond what it starts with, and sessions that are more than that.
ROOM_BYTES, TOO_MANY = 16 * 1024 * 1024, 5000

STOP_SECONDS = 10
RESTART_SECONDS = 20


class DataPlane:
    """One more data plane of a server, started by hand as an operator would."""

    def __init__(self, server, name, *flags):
        self.server, self.name, self.flags = server, name, flags
        self.log_path = OUTPUT / f"{server.name}-{name}.log"

    async def __aenter__(self):
        command = [str(program()), "dataplane", "--name", self.name, "--control-socket", self.server.control_socket,
                   "--udp-port", str(free_udp_ports()), "--udp-host", "127.0.0.1", "--workers", "1",
                   "--io", self.server.io, *self.flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, NO_COLOR="1"))
        await serves(self.server, self.name)
        return self

    async def __aexit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


async def shards(server):
    """What `GET /shards` says, by name."""
    answer = await server.private("GET", "/shards")
    assert answer.status == 200, answer
    return {shard["name"]: shard for shard in json.loads(answer.text)}


async def serves(server, name):
    async def ready():
        return (await shards(server)).get(name, {}).get("ready")

    await until_async(ready, f"data plane {name} takes sessions", RESTART_SECONDS)


async def where(server, room):
    """The data planes that sessions of a room are on."""
    answer = await server.private("GET", f"/rooms/{room}")
    assert answer.status == 200, answer
    found = json.loads(answer.text)
    return {session["shard"] for session in found["publishers"] + found["subscribers"]}


def assert_whole(player):
    for stream in player.tap.streams.values():
        assert not stream.missing(), f"{player.path} misses {stream.missing()[:10]}"


@scenario(own=("--workers", "1"))
async def data_planes_come_and_go_under_live_rooms(server, note):
    """A second one is added, the first is drained and ends with its last session; nobody who watches loses a packet."""
    first = server.plane("dataplane")
    async with Publisher(server, "old", "alice", variant=0) as alice, Player(server, "old", "viewer") as viewer:
        await viewer.sees(0)
        async with DataPlane(server, "second"):
            async with Publisher(server, "new", "bob", variant=1), Player(server, "new", "viewer") as other:
                await other.sees(1)
                assert await where(server, "old") == {"dataplane"}
                assert await where(server, "new") == {"second"}, "a new room goes where there is more room"

                drained = await server.private("POST", "/shards/dataplane/drain")
                assert drained.status == 200, drained
                state = (await shards(server))["dataplane"]
                assert state["draining"] and not state["ready"], state
                refused = await server.public("POST", "/sub/old/late", viewer.pc.localDescription.sdp,
                                              {"Content-Type": "application/sdp"})
                assert refused.status == 503 and "being drained" in refused.text, refused
                async with Publisher(server, "later", "carol", variant=2), Player(server, "later", "viewer") as late:
                    await late.sees(2)
                    assert await where(server, "later") == {"second"}
                # Who is there stays, and loses nothing.
                await viewer.sees(0, frames=30)
                assert server.plane("dataplane") == first
                await viewer.leave()
                await alice.leave()
                assert_whole(viewer)

                await until(lambda: server.plane("dataplane") not in (None, first), "it ends and is started anew",
                            RESTART_SECONDS)
                await serves(server, "dataplane")
                assert not (await shards(server))["dataplane"]["draining"]
                async with Publisher(server, "old", "alice", variant=3), Player(server, "old", "viewer") as again:
                    await again.sees(3)
                    assert await where(server, "old") == {"dataplane"}, "the emptier of the two"
                await other.sees(1, frames=30)
                assert_whole(other)
                note(f"{other.frames} frames meanwhile")
    assert "data plane drained" in server.log_text()


@scenario(own=("--workers", "1"), ios=("uring",))
async def sigterm_drains_one_data_plane(server, note):
    """SIGTERM to one of two: it gets nobody new, who watches there loses nothing, and it ends with its last session."""
    async with Publisher(server, "old", "alice", variant=0), Player(server, "old", "viewer") as viewer:
        await viewer.sees(0)
        assert await where(server, "old") == {"dataplane"}
        async with DataPlane(server, "second") as second, Publisher(server, "new", "bob", variant=1) as bob:
            async with Player(server, "new", "viewer") as other:
                await other.sees(1)
                assert await where(server, "new") == {"second"}
                second.process.terminate()

                async def draining():
                    return (await shards(server)).get("second", {}).get("draining")

                await until_async(draining, "it says that it is being drained")
                assert not (await shards(server))["second"]["ready"]
                refused = await server.public("POST", "/sub/new/late", other.pc.localDescription.sdp,
                                              {"Content-Type": "application/sdp"})
                assert refused.status == 503 and refused.header("Retry-After"), refused
                async with Publisher(server, "later", "carol", variant=2), Player(server, "later", "viewer") as late:
                    await late.sees(2)
                    assert await where(server, "later") == {"dataplane"}
                await other.sees(1, frames=30)
                assert second.process.poll() is None, "it ended with sessions left"
                await other.leave()
                await bob.leave()
                assert_whole(other)
            code = await asyncio.to_thread(second.process.wait, STOP_SECONDS)
            assert code == 0, f"it ended with {code}"
        async with DataPlane(server, "second"), Publisher(server, "new", "bob", variant=3):
            async with Player(server, "new", "viewer") as again:
                await again.sees(3)
                assert await where(server, "new") == {"second"}, "its successor is as good"
        await viewer.sees(0, frames=30)
        assert_whole(viewer)
        note(f"{other.frames} frames on the drained one")


@scenario(ios=("uring",))
async def a_data_plane_out_of_memory_takes_nobody_with_it(_server, note):
    """Its memory is limited and filled with sessions: it ends with a clear line, is started again, and the other serves on."""
    server = Server("memory", "uring", "--workers", "1", "--max-joins-per-address", "0", "--max-requests-per-address", "0")
    # Memory that is only set aside doesn't count then.
    server.environment = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}
    server.log_path.unlink(missing_ok=True)
    sdp = {"Content-Type": "application/sdp"}
    async with server, DataPlane(server, "spare"):
        first = await server.public("POST", "/pub/first/somebody", OFFER.read_text(), sdp)
        assert first.status == 201, first
        async with Publisher(server, "room", "alice", variant=0), Player(server, "room", "viewer") as viewer:
            await viewer.sees(0)
            assert await where(server, "room") == {"spare"}
            assert (await server.private("POST", "/shards/spare/drain")).status == 200
            full = server.plane("dataplane")
            begin = int(re.search(r"(?m)^VmData:\s*(\d+) kB", Path(f"/proc/{full}/status").read_text())[1]) * 1024
            resource.prlimit(full, resource.RLIMIT_DATA, (begin + ROOM_BYTES, begin + ROOM_BYTES))
            sessions = 0
            while server.plane("dataplane") == full:
                sessions += 1
                assert sessions < TOO_MANY, "it never ran out of memory"
                await server.public("POST", f"/pub/r{sessions}/a", OFFER.read_text(), sdp)
            text = server.log_text()
            assert "memory allocation of" in text, "the log doesn't say why"
            await serves(server, "dataplane")
            async with Publisher(server, "later", "bob", variant=1), Player(server, "later", "viewer") as later:
                await later.sees(1)
            await viewer.sees(0)
            assert_whole(viewer)
    note(f"{sessions} sessions filled {ROOM_BYTES >> 20} MiB")
