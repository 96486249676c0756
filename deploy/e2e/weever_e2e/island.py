"""A network namespace with two links to the tests' own: one to clients, one to Redis and NATS, which can be cut."""

import asyncio
import os
import subprocess

# Of RFC 2544's block for tests; the process id keeps two runs apart.
BLOCK = "198.18"


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"


class Island:
    """`near` is the tests' end of the clients' link, `host` the other one; `engines` is the tests' end of the other link."""

    def __init__(self):
        number = os.getpid() % 60
        self.name = f"weever-island-{os.getpid()}"
        self.links = [f"wv{os.getpid()}{letter}" for letter in "ce"]
        nets = [f"{BLOCK}.{4 * number + part}" for part in (0, 1)]
        self.near, self.host = f"{nets[0]}.1", f"{nets[0]}.2"
        self.engines, self.far = f"{nets[1]}.1", f"{nets[1]}.2"

    async def __aenter__(self):
        await asyncio.to_thread(self._make)
        return self

    async def __aexit__(self, *_):
        # The links go with it.
        await asyncio.to_thread(ip, "netns", "delete", self.name)

    def _make(self):
        ip("netns", "add", self.name)
        try:
            ip("-n", self.name, "link", "set", "lo", "up")
            ends = ((self.near, self.host), (self.engines, self.far))
            for link, (here, there) in zip(self.links, ends, strict=True):
                ip("link", "add", link, "type", "veth", "peer", "name", "e" + link[-1], "netns", self.name)
                ip("addr", "add", f"{here}/30", "dev", link)
                ip("link", "set", link, "up")
                ip("-n", self.name, "addr", "add", f"{there}/30", "dev", "e" + link[-1])
                ip("-n", self.name, "link", "set", "e" + link[-1], "up")
        except AssertionError:
            ip("netns", "delete", self.name)
            raise

    async def cut(self):
        """Whatever is under way to the engines stays there; nobody is told."""
        await asyncio.to_thread(ip, "link", "set", self.links[1], "down")

    async def heal(self):
        await asyncio.to_thread(ip, "link", "set", self.links[1], "up")
