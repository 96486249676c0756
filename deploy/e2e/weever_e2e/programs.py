"""Publishers and players that are programs of their own: GStreamer's whipclientsink and whepclientsrc, libwebrtc in Node."""

import asyncio

from .server import ROOT

GSTREAMER = ROOT / "target" / "gst-clients" / "debug" / "weever-gst-clients"
ASK_SECONDS = 20
LEAVE_SECONDS = 30
SAID = 3000


class Program:
    """Tells its counts when asked, and leaves when its input ends."""

    def __init__(self, *command):
        self.command = command

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, cwd=ROOT / "deploy" / "e2e")
        self.said = asyncio.ensure_future(self.process.stderr.read())
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.said

    async def counts(self):
        """(frames, of them different from the one before) by name."""
        try:
            self.process.stdin.write(b"\n")
            await self.process.stdin.drain()
            found = {}
            while line := (await asyncio.wait_for(self.process.stdout.readline(), ASK_SECONDS)).decode().strip():
                name, frames, changed = line.split()
                found[name] = (int(frames), int(changed))
            if self.process.stdout.at_eof():
                raise ConnectionError("it has ended")
            return found
        except ConnectionError:
            await self.process.wait()
            raise AssertionError(f"{self.command} ended with {self.process.returncode}: {await self._words()}") from None

    async def leave(self):
        """As an operator's end of it: it has to end in order."""
        self.process.stdin.close()
        code = await asyncio.wait_for(self.process.wait(), LEAVE_SECONDS)
        assert code == 0, f"{self.command} ended with {code}: {await self._words()}"

    async def _words(self):
        return (await self.said).decode(errors="replace")[:SAID]


def gstreamer(pipeline):
    assert GSTREAMER.exists(), f"{GSTREAMER} is missing: build it by `deploy/test build`"
    return Program(str(GSTREAMER), pipeline)


def wrtc(what, url):
    return Program("node", "wrtc/client.mjs", what, url)
