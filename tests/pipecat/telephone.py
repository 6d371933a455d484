"""The telephone: audio in by a script, audio out to nobody, and a caller who knows when the agent speaks.

The caller's audio comes in frames of a sixteenth of a second, whose lengths binary numbers hold exactly: Pipecat adds
up seconds as doubles, and only then its sums have the digits of the truth.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from ..vendors.server import Pace
from ..vendors.speech import tone

__all__ = ["FRAME_SECONDS", "Earpiece", "FrameWatch", "Microphone"]

FRAME_SECONDS = 1 / 16
SAMPLE_RATE = 16_000
_PATIENCE_SECONDS = 10.0


class Microphone(BaseInputTransport):
    """The caller's audio: tones and silence.

    Attributes:
        is_ready: Set when the pipeline has started.
    """

    def __init__(self, *, speed: float, frame_seconds: float = FRAME_SECONDS) -> None:
        """Wait for the caller.

        Args:
            speed: Seconds of audio per second of the clock.
            frame_seconds: Length of a frame.
        """
        super().__init__(TransportParams(audio_in_enabled=True, audio_in_sample_rate=SAMPLE_RATE))
        self.is_ready = asyncio.Event()
        self._speed, self._frame_seconds = speed, frame_seconds

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.is_ready.set()

    async def speak(self, seconds: float) -> None:
        """Send a tone."""
        await self._send(tone(self._frame_seconds, SAMPLE_RATE), seconds)

    async def be_silent(self, seconds: float) -> None:
        """Send silence."""
        await self._send(bytes(round(self._frame_seconds * SAMPLE_RATE) * 2), seconds)

    async def _send(self, audio: bytes, seconds: float) -> None:
        pace = Pace()
        for _ in range(round(seconds / self._frame_seconds)):
            await pace.step(self._frame_seconds / self._speed)
            await self.push_audio_frame(InputAudioRawFrame(audio=audio, sample_rate=SAMPLE_RATE, num_channels=1))


class Earpiece(BaseOutputTransport):
    """Plays the agent's audio to nobody."""

    def __init__(self, *, speed: float | None) -> None:
        """Wait for the agent.

        Args:
            speed: Seconds of audio per second of the clock; None plays it at once.
        """
        super().__init__(TransportParams(audio_out_enabled=True))
        self._speed = speed

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if self._speed is not None:
            await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate / self._speed)
        return True


class FrameWatch(FrameProcessor):
    """Passes frames on, and counts them by class."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[type[Frame]] = Counter()
        self._awaited: Counter[type[Frame]] = Counter()
        self._changed = asyncio.Condition()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        async with self._changed:
            self._counts[type(frame)] += 1
            self._changed.notify_all()
        await self.push_frame(frame, direction)

    async def next(self, kind: type[Frame]) -> None:
        """Wait for the first frame of a class that was not awaited before."""
        self._awaited[kind] += 1
        async with asyncio.timeout(_PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self._counts[kind] >= self._awaited[kind])
