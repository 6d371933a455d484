"""The ends of a scripted call: a microphone, a speaker, and voice detection by loudness.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``transports/base_input.py``, ``transports/base_output.py``,
    ``audio/vad/vad_analyzer.py``.
"""

from __future__ import annotations

import array
import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

__all__ = ["FRAME_SECONDS", "LoudnessVAD", "Microphone", "Speaker", "is_loud", "tone"]

FRAME_SECONDS = 1 / 16  # exact in binary: Pipecat adds up seconds as doubles
_SAMPLE_RATE = 16_000
_AMPLITUDE = 8_000
_LOUD = 1_000


@lru_cache
def tone(sample_rate: int, seconds: float = FRAME_SECONDS) -> bytes:
    """Return a tone, as 16-bit mono audio; of one frame unless told otherwise."""
    samples = range(round(seconds * sample_rate))
    wave = (int(_AMPLITUDE * math.sin(2 * math.pi * 220 * sample / sample_rate)) for sample in samples)
    return array.array("h", wave).tobytes()


def is_loud(audio: bytes) -> bool:
    """Return True if 16-bit audio has a loud sample."""
    return max(array.array("h", audio), default=0) > _LOUD


class LoudnessVAD(VADAnalyzer):
    """Takes every loud frame for speech. For tones, Pipecat's own models would not."""

    def __init__(self) -> None:
        super().__init__(params=VADParams(min_volume=0.0))

    def num_frames_required(self) -> int:
        return int(FRAME_SECONDS * self.sample_rate)

    def voice_confidence(self, buffer: bytes) -> float:
        return float(is_loud(buffer))


class Microphone(BaseInputTransport):
    """The caller's audio in real time: a tone while the caller speaks, silence on request.

    Args:
        speed: Seconds of audio per second of real time.
        frame_seconds: Length of a frame.
    """

    def __init__(self, *, speed: float = 1.0, frame_seconds: float = FRAME_SECONDS) -> None:
        super().__init__(TransportParams(audio_in_enabled=True, audio_in_sample_rate=_SAMPLE_RATE))
        self.is_ready = asyncio.Event()  # set when the pipeline has started
        self._tone, self._frame_seconds = tone(_SAMPLE_RATE, frame_seconds), frame_seconds
        self._pace = frame_seconds / speed

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.is_ready.set()

    async def speak(self, seconds: float) -> None:
        """Speak for some seconds."""
        await self._send(self._tone, seconds)

    async def be_silent(self, seconds: float) -> None:
        """Send silence for some seconds."""
        await self._send(bytes(len(self._tone)), seconds)

    async def _send(self, audio: bytes, seconds: float) -> None:
        next_at = time.monotonic()
        for _ in range(round(seconds / self._frame_seconds)):
            next_at += self._pace
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            await self.push_audio_frame(InputAudioRawFrame(audio=audio, sample_rate=_SAMPLE_RATE, num_channels=1))


class Speaker(BaseOutputTransport):
    """The bot's audio, played in real time; can be interrupted. Counts what passes, so that a script can wait for it.

    Args:
        speed: Seconds of audio per second of real time.
    """

    def __init__(self, *, speed: float = 1.0) -> None:
        super().__init__(TransportParams(audio_out_enabled=True))
        self._speed = speed
        self._counts: Counter[type[Frame]] = Counter()
        self._changed = asyncio.Condition()

    def count(self, kind: type[Frame]) -> int:
        """Return the number of frames of a class that passed so far."""
        return self._counts[kind]

    async def until(self, condition: Callable[[], bool], patience_seconds: float) -> None:
        """Wait until a condition on the counts is met.

        Raises:
            TimeoutError: It is not met in time.
        """
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), patience_seconds)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate / self._speed)
        return True

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        await super().push_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            async with self._changed:
                self._counts[type(frame)] += 1
                self._changed.notify_all()
