"""The base of servers of text-to-speech: a tone that lasts as long as its text takes to say, made at a fixed pace."""

from __future__ import annotations

import array
import asyncio
import math
from contextlib import suppress
from functools import lru_cache

from .server import Pace

__all__ = ["Synthesis", "speech_seconds", "tone"]

_CHUNK_SECONDS = 0.2
_CHARACTERS_PER_SECOND = 15.0


def speech_seconds(text: str) -> float:
    """Return how long the text takes to say."""
    return len(text) / _CHARACTERS_PER_SECOND


def tone(seconds: float, sample_rate: int) -> bytes:
    """Return 16-bit mono audio."""
    samples = round(seconds * sample_rate)
    return (_second(sample_rate) * (samples // sample_rate + 1))[: 2 * samples]


class Synthesis:
    """One synthesis: texts in, audio out. It goes on if nobody listens any more.

    Attributes:
        model: Model that was asked.
        characters: Characters received.
        reason: How it ended so far, as in `MeterEntry`.
    """

    def __init__(self, model: str, sample_rate: int, audio_speed: float) -> None:
        """Wait for texts.

        Args:
            model: Model that was asked.
            sample_rate: Samples per second.
            audio_speed: Seconds of audio made per second of the clock.
        """
        self.model = model
        self.characters = 0
        self.reason = "cut off"
        self._sample_rate = sample_rate
        self._audio_speed = audio_speed
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def receive(self, text: str) -> None:
        """Add a text to the synthesis; it is billed."""
        self.characters += len(text)
        if text.strip():
            self._texts.put_nowait(text)

    def end(self) -> None:
        """End the synthesis after the texts received."""
        self._texts.put_nowait(None)

    def stop(self) -> None:
        """Stop at once: the connection is closed."""
        self._task.cancel()

    async def run(self) -> None:
        """Send the audio of each text as it comes, then the end."""
        start = 0.0
        while (text := await self._texts.get()) is not None:
            await self.send_text(text, start)
            left, pace = speech_seconds(text), Pace()
            start += left
            while left > 0:
                seconds = min(left, _CHUNK_SECONDS)
                await pace.step(seconds / self._audio_speed)
                await self.send_audio(tone(seconds, self._sample_rate))
                left -= seconds
        await self.send_end()
        self.reason = "complete"

    async def _run(self) -> None:
        with suppress(ConnectionError):  # the client may have left
            await self.run()

    async def send_text(self, text: str, start: float) -> None:
        """Send the times of the words of a text, if the vendor does that. ``start`` is in seconds."""

    async def send_audio(self, chunk: bytes) -> None:
        """Send audio."""
        raise NotImplementedError

    async def send_end(self) -> None:
        """Send the message after the last audio."""
        raise NotImplementedError


@lru_cache(maxsize=4)
def _second(sample_rate: int) -> bytes:
    samples = (int(8_000 * math.sin(2 * math.pi * 220 * i / sample_rate)) for i in range(sample_rate))
    return array.array("h", samples).tobytes()
