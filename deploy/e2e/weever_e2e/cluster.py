"""Clusters of the tests' own: Redis, NATS and some Weevers, each on free ports, each ended by its pid."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from contextlib import AsyncExitStack

from .peers import until
from .server import OUTPUT, Server, free_tcp_port

START_SECONDS = 10
STOP_SECONDS = 10


def accepts(host, port):
    try:
        with socket.create_connection((host, port), 1):
            return True
    except OSError:
        return False


class Engine:
    """A program that nodes connect to. It comes back at the same address, with nothing of what it knew."""

    def __init__(self, name, program, host="127.0.0.1"):
        found = shutil.which(program)
        assert found, f"{program} is missing: `deploy/test system` installs it"
        self.name, self.program, self.host = name, found, host
        self.port = free_tcp_port()
        self.process = None
        self.folder = tempfile.mkdtemp(prefix=f"weever-{name}-")

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def arguments(self):
        raise NotImplementedError

    async def start(self):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        with open(OUTPUT / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen([self.program, *self.arguments()], cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        await until(lambda: accepts(self.host, self.port) or self.process.poll() is not None, f"{self.name} listens",
                    START_SECONDS)
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}; see {OUTPUT}/{self.name}.log"

    async def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def kill(self):
        """Asserts that it was there, and is gone."""
        assert self.process is not None and self.process.poll() is None, f"{self.name} was not running"
        await self.stop(signal.SIGKILL)
        assert not accepts(self.host, self.port), f"{self.name} still answers"


class Redis(Engine):
    def __init__(self, host="127.0.0.1"):
        super().__init__("redis", "redis-server", host)
        self.url = f"redis://{host}:{self.port}"

    def arguments(self):
        return ["--port", str(self.port), "--bind", self.host, "--save", "", "--appendonly", "no",
                "--dir", self.folder, "--protected-mode", "no"]


class Nats(Engine):
    def __init__(self, host="127.0.0.1"):
        super().__init__("nats", "nats-server", host)
        self.monitor = free_tcp_port()
        self.url = f"nats://{host}:{self.port}"

    def arguments(self):
        return ["-a", self.host, "-p", str(self.port), "-m", str(self.monitor)]

    async def told(self, page="varz"):
        """What it says of itself (https://docs.nats.io, monitoring)."""
        def ask():
            with urllib.request.urlopen(f"http://{self.host}:{self.monitor}/{page}", timeout=5) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)

    async def passed(self):
        """Messages and bytes that came to it, and those that it sent on."""
        now = await self.told()
        return {name: now[name] for name in ("in_msgs", "out_msgs", "in_bytes", "out_bytes")}


class Node(Server):
    """A Weever in a cluster."""

    def __init__(self, name, io, redis, nats, *flags):
        super().__init__(f"cluster-{name}", io, "--pod-name", name, "--redis", redis, "--nats", nats, "--workers", "1", *flags)
        self.node = name

    async def die(self):
        """kill -9 of the whole node: none of its processes says goodbye."""
        pids = [self.process.pid, *self.children()]
        assert len(pids) == 3, f"{self.name} has the processes {pids}"
        # The parent first, or it would start the others anew.
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        self.process = None
        self._remove_socket_dir()


class Cluster:
    """Nodes by number, from 0."""

    def __init__(self, io, nodes=2, flags=(), engines=True):
        self.redis, self.nats = Redis(), Nats()
        self.nodes = [Node(f"node{n}", io, self.redis.url, self.nats.url, *flags) for n in range(nodes)]
        self.engines = engines

    async def __aenter__(self):
        async with AsyncExitStack() as stack:
            if self.engines:
                await stack.enter_async_context(self.redis)
                await stack.enter_async_context(self.nats)
            for node in self.nodes:
                node.log_path.unlink(missing_ok=True)
                await stack.enter_async_context(node)
            self.stack = stack.pop_all()
        return self

    async def __aexit__(self, *failure):
        await self.stack.__aexit__(*failure)
        for node in self.nodes:
            assert "panicked" not in node.log_text(), f"a panic in {node.log_path}"

    def __getitem__(self, number):
        return self.nodes[number]


class Divided(Cluster):
    """Two nodes, the second one on an island."""

    def __init__(self, io, island, flags=()):
        super().__init__(io, 0)
        self.redis, self.nats = Redis(island.engines), Nats(island.engines)
        self.nodes = [Node(f"node{n}", io, self.redis.url, self.nats.url, *flags) for n in range(2)]
        self.nodes[1].host, self.nodes[1].namespace = island.host, island.name
