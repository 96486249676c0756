"""Chromium: the demo site's own tests, and Chromium as a viewer of other clients."""

import asyncio
import os

from .encoder import Ffmpeg
from .media_scenarios import wait_listed
from .scenario import scenario
from .server import ROOT

SCRIPT = ROOT / "deploy" / "e2e" / "browser" / "run.mjs"
SECONDS = 240


async def chromium(server, *arguments):
    environment = dict(os.environ, WEEVER_PUBLIC=f"http://localhost:{server.port}",
                       WEEVER_PRIVATE=f"http://127.0.0.1:{server.private_port}")
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace")
    assert process.returncode == 0, f"{' '.join(arguments)} ended with {process.returncode}:\n{text[-6000:]}"
    return text
