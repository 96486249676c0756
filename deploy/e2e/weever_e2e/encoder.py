"""ffmpeg's WHIP muxer as publisher: H.264 and Opus, setup:passive, takes the first UDP candidate."""

import asyncio
import signal

import imageio_ffmpeg

from .server import OUTPUT

STOP_SECONDS = 10


class Ffmpeg:
    """A lavfi picture and a sine at a steady bit rate."""

    def __init__(self, server, room, name, kbit_per_second=1000, size="640x360", rate=30, picture="testsrc2",
                 token=None):
        self.url = f"http://127.0.0.1:{server.port}/pub/{room}/{name}"
        self.log_path = OUTPUT / f"ffmpeg-{room}-{name}.log"
        bits = f"{kbit_per_second}k"
        # A little noise over the picture, so that the encoder has to use its bit rate.
        video = f"{picture}=size={size}:rate={rate},noise=alls=12:allf=t,format=yuv420p"
        self.command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "info", "-nostats", "-nostdin", "-re",
            "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", "sine=frequency=600:sample_rate=48000",
            "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline",
            "-b:v", bits, "-maxrate", bits, "-bufsize", f"{kbit_per_second // 4}k", "-g", str(rate * 2), "-bf", "0",
            "-c:a", "libopus", "-ac", "2", "-b:a", "64k",
            "-f", "whip", *(["-authorization", token] if token else []), self.url,
        ]

    async def __aenter__(self):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, "wb")
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        return self

    async def __aexit__(self, *_):
        try:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGINT)
                try:
                    await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
                except asyncio.TimeoutError:
                    self.process.kill()
                    await self.process.wait()
        finally:
            self.log.close()

    def check(self):
        """It is still running; else says why not."""
        if self.process.returncode is not None:
            tail = self.log_path.read_text(errors="replace")[-1500:]
            raise AssertionError(f"ffmpeg ended with {self.process.returncode}: {tail}")
        return True
