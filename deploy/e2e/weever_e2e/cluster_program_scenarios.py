"""deploy/cluster: starts, tells, survives, ends, and leaves nothing."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from .loadgen_scenarios import loadgen
from .peers import until, until_async
from .plain_http import request
from .scenario import scenario
from .server import ROOT, _alive, _children_of, _kill, program

CLUSTER = ROOT / "deploy" / "cluster"
ONCE = ("uring",)
START_SECONDS = 60
END_SECONDS = 40


def environment():
    return dict(os.environ, WEEVER=str(program()))


def pids(told):
    return [one["pid"] for one in [told["redis"], *told["nats"], *told["nodes"]]]


async def said(command, status, **variables):
    """What it printed, when it ended as it should."""
    process = await asyncio.create_subprocess_exec(*map(str, command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                   stderr=subprocess.STDOUT, env=variables or environment())
    printed, _ = await asyncio.wait_for(process.communicate(), START_SECONDS)
    assert process.returncode == status, f"{command} ended with {process.returncode}: {printed.decode()}"
    return printed.decode()


async def is_ready(node):
    try:
        return (await request(node["private_port"], "GET", "/readiness")).status == 200
    except OSError:
        return False


class Running:
    """A cluster that runs, what it says in cluster.json, and what it prints."""

    def __init__(self, process, told, out):
        self.process, self.told, self.out = process, told, out

    def text(self):
        return self.out.read_text()

    async def ended(self):
        await until(lambda: self.process.poll() is not None, "deploy/cluster ends", END_SECONDS)
        return self.process.returncode


@asynccontextmanager
async def cluster(*words):
    with tempfile.TemporaryDirectory(prefix="weever-e2e-") as folder:
        place, out = Path(folder) / "cluster", Path(folder) / "out"
        with open(out, "wb") as log:
            process = subprocess.Popen([CLUSTER, "--port", "0", "--dir", place, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=environment())
        told = None

        def ready():
            nonlocal told
            assert process.poll() is None, f"it ended with {process.returncode}: {out.read_text()}"
            if (place / "cluster.json").exists():
                told = json.loads((place / "cluster.json").read_text())
            return told is not None and told["ready"]

        try:
            await until(ready, "the cluster is ready", START_SECONDS)
            yield Running(process, told, out)
        finally:
            if process.poll() is None:
                process.terminate()
                await asyncio.to_thread(process.wait, END_SECONDS)
            for pid in [pid for pid in pids(told or {"redis": {"pid": None}, "nats": [], "nodes": []}) if pid]:
                if _alive(pid):
                    _kill(pid)


@scenario(ios=ONCE)
async def cluster_program_has_three_nodes(_server, note):
    """deploy/cluster starts three nodes that see each other's rooms, with three NATS servers, and ends all of it in order."""
    async with cluster("--nodes", "3") as running:
        told = running.told
        assert [node["name"] for node in told["nodes"]] == ["node1", "node2", "node3"], told
        assert all(_alive(pid) for pid in pids(told)), told
        for server in told["nats"]:
            routes = (await request(server["monitor_port"], "GET", "/routez")).json["routes"]
            assert len({route["remote_id"] for route in routes}) == 2, routes
        first, *others = [node["url"] for node in told["nodes"]]
        report = await loadgen("broadcast", "--publish-server", first, "--server", ",".join(others), "--viewers", "4",
                               "--seconds", "3", "--bitrate", "500")
        assert [node["node"] for node in report["nodes"]] == others, report["nodes"]
        for node in report["nodes"]:
            assert (node["viewers"]["with_media"], node["lost"]) == (2, 0), node
        note("p99 " + ", ".join(f"{node['delay_ms']['p99']:.1f} ms" for node in report["nodes"]))
        running.process.send_signal(signal.SIGINT)
        assert await running.ended() == 0, running.text()
        assert not any(_alive(pid) for pid in pids(told)), running.text()
        assert not (Path(told["dir"]) / "cluster.json").exists()
        for node in told["nodes"]:
            assert "panicked" not in Path(node["log"]).read_text()


@scenario(ios=ONCE)
async def cluster_program_goes_on_without_a_node(_server, _note):
    """A node that is killed is told, the others go on, and it comes back by the words that cluster.json has."""
    async with cluster("--nodes", "2", "--nats-servers", "1") as running:
        kept, lost = running.told["nodes"]
        planes = _children_of(lost["pid"])
        assert len(planes) == 2, planes
        os.kill(lost["pid"], signal.SIGKILL)
        await until(lambda: f"node2 (pid {lost['pid']}) ended with -9" in running.text(), "a word of the lost node")
        assert await is_ready(kept) and running.process.poll() is None
        # Its planes see the end of their parent, and leave the ports to the next.
        await until(lambda: not any(_alive(pid) for pid in planes), "node2's planes end", END_SECONDS)
        again = None

        async def is_back():
            nonlocal again
            # While the dead one's lease holds, its name is taken: the next one is refused, and comes again.
            if again is None or again.poll() is not None:
                with open(lost["log"], "ab") as log:
                    again = subprocess.Popen(lost["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            return await is_ready(lost)

        try:
            await until_async(is_back, "node2 is back", START_SECONDS)
        finally:
            again.send_signal(signal.SIGINT)
            await asyncio.to_thread(again.wait, END_SECONDS)


@scenario(ios=ONCE)
async def cluster_program_leaves_nothing(_server, _note):
    """Killed, it takes all its processes along; ended by --seconds, also its directory."""
    async with cluster("--nodes", "1", "--nats-servers", "1") as running:
        running.process.kill()
        await running.ended()
        await until(lambda: not any(_alive(pid) for pid in pids(running.told)), "the end of all", END_SECONDS)
    with tempfile.TemporaryDirectory(prefix="weever-e2e-") as folder:
        told = await said([CLUSTER, "--port", "0", "--nodes", "1", "--nats-servers", "1", "--seconds", "1"], 0,
                          **environment(), TMPDIR=folder)
        assert "The cluster is up" in told and told.endswith("Ended.\n"), told
        assert os.listdir(folder) == [], os.listdir(folder)


@scenario(ios=ONCE)
async def cluster_program_names_what_is_wrong(_server, _note):
    """Missing programs with how to install them, taken ports and directories, bad flags."""
    for words in (["--nodes", "0"], ["--nats-servers", "10"], ["--port", "65000"], ["--workers", "11"], ["--speed"]):
        await said([CLUSTER, *words], 2)
    assert "examples:" in await said([CLUSTER, "--help"], 0)
    assert "there is no program /nowhere/weever" in await said([CLUSTER, "--weever", "/nowhere/weever"], 1)
    with tempfile.TemporaryDirectory(prefix="weever-e2e-") as folder:
        # Not what is called python3 here: that may be a script which needs a PATH.
        os.symlink(os.path.realpath(sys.executable), f"{folder}/python3")
        # Debian's servers are where a PATH need not look: a copy that looks nowhere else.
        copy = Path(folder) / "cluster"
        copy.write_text(CLUSTER.read_text().replace("/usr/local/sbin:/usr/sbin:/sbin", folder))
        copy.chmod(0o755)
        only = {"PATH": folder, "WEEVER": str(program())}
        assert "redis-server is missing: install it by: apt-get install redis-server" in await said([copy], 1, **only)
        os.symlink(shutil.which("redis-server"), f"{folder}/redis-server")
        assert "nats-server is missing: install it by: apt-get install nats-server" in await said([copy], 1, **only)
    async with cluster("--nodes", "1", "--nats-servers", "1") as running:
        port = running.told["nodes"][0]["port"]
        taken = await said([CLUSTER, "--port", port, "--nodes", "1"], 1)
        assert f"port {port}, for node1, is taken" in taken, taken
        taken = await said([CLUSTER, "--port", "0", "--dir", running.told["dir"]], 1)
        assert f"another cluster's, of process {running.process.pid}" in taken, taken
