"""Test pictures and tones that can be told from black, silence and each other after encoding."""

import asyncio
import fractions
import time

import av
import numpy
from aiortc import MediaStreamTrack

WIDTH, HEIGHT = 320, 240
FRAMES_PER_SECOND = 20
VIDEO_CLOCK = 90000
AUDIO_RATE = 48000
AUDIO_SAMPLES = 960  # 20 ms
# Far apart in every encoder's colour space. A picture's variant is by how many bars it is rotated.
BARS = numpy.array(
    [(200, 40, 40), (40, 180, 40), (40, 40, 200), (190, 190, 40), (190, 40, 190), (40, 190, 190)], dtype=numpy.int16
)
FAR = 60
TONE_AMPLITUDE = 12000


def _picture(variant, number):
    image = numpy.empty((HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    width = WIDTH // len(BARS)
    for bar in range(len(BARS)):
        right = WIDTH if bar == len(BARS) - 1 else (bar + 1) * width
        image[:, bar * width:right] = BARS[(bar + variant) % len(BARS)]
    # A white square that wanders along the bottom: whether the picture moves.
    left = (number * 8) % (WIDTH - 32)
    image[HEIGHT - 40:HEIGHT - 8, left:left + 32] = 255
    return image


def variant_of(frame):
    """Which of our pictures a decoded frame shows, None when it is none of them."""
    image = frame.to_ndarray(format="rgb24").astype(numpy.int16)
    height, width = image.shape[:2]
    seen = []
    for bar in range(len(BARS)):
        centre = int((bar + 0.5) * width / len(BARS))
        patch = image[height // 4:height // 2, centre - width // 40:centre + width // 40].mean(axis=(0, 1))
        distances = numpy.abs(BARS - patch).max(axis=1)
        if distances.min() > FAR:
            return None
        seen.append(int(distances.argmin()))
    first = seen[0]
    rotated = [(first + bar) % len(BARS) for bar in range(len(BARS))]
    return first if seen == rotated else None


def liveliness(frame):
    """Standard deviation of the luminance: 0 for black or any one colour, above 40 for a test picture."""
    return float(frame.to_ndarray(format="gray").std())


class Picture(MediaStreamTrack):
    """Colour bars with a wandering square."""

    kind = "video"

    def __init__(self, variant=0):
        super().__init__()
        self.variant = variant
        self.number = 0
        self.begin = None
        self.frames = [_picture(variant, number) for number in range((WIDTH - 32) // 8)]

    async def recv(self):
        await self._pace(self.number / FRAMES_PER_SECOND)
        frame = av.VideoFrame.from_ndarray(self.frames[self.number % len(self.frames)], format="rgb24")
        frame.pts = self.number * VIDEO_CLOCK // FRAMES_PER_SECOND
        frame.time_base = fractions.Fraction(1, VIDEO_CLOCK)
        self.number += 1
        return frame

    async def _pace(self, due):
        self.begin = self.begin or time.monotonic()
        await asyncio.sleep(max(0, self.begin + due - time.monotonic()))


class Tone(MediaStreamTrack):
    """A sine on both channels."""

    kind = "audio"

    def __init__(self, hertz=440):
        super().__init__()
        self.hertz = hertz
        self.number = 0
        self.begin = None

    async def recv(self):
        await Picture._pace(self, self.number * AUDIO_SAMPLES / AUDIO_RATE)
        at = numpy.arange(self.number * AUDIO_SAMPLES, (self.number + 1) * AUDIO_SAMPLES)
        wave = (numpy.sin(2 * numpy.pi * self.hertz * at / AUDIO_RATE) * TONE_AMPLITUDE).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(numpy.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = AUDIO_RATE
        frame.pts = self.number * AUDIO_SAMPLES
        frame.time_base = fractions.Fraction(1, AUDIO_RATE)
        self.number += 1
        return frame


def pitch_of(samples):
    """(strongest frequency in Hz, root mean square) of mono samples at 48 kHz."""
    samples = samples.astype(numpy.float64)
    loudness = float(numpy.sqrt((samples**2).mean()))
    spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
    spectrum[:2] = 0
    return float(spectrum.argmax() * AUDIO_RATE / len(samples)), loudness
