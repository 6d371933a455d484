"""Scripted transcription: each burst of tone in the caller's audio is the next line."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Transcriber", "Transcript"]

_BYTES_PER_SAMPLE = 2
_LOUD = 1_000
_INTERIM_SECONDS = 0.2  # speech before the first interim transcript
_PART_SECONDS = 0.8  # speech in each part of a line but the last
_PAUSE_SECONDS = 0.3  # silence that ends an utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A step in the transcription of an utterance.

    Attributes:
        text: Text of the current part; empty if speech has only started.
        is_final: Whether the text will not change.
        is_end: Whether the utterance is over.
        start: Start of the part, in seconds of the stream.
        end: End of the part, in seconds of the stream.
    """

    text: str
    is_final: bool = False
    is_end: bool = False
    start: float
    end: float

    def words(self) -> list[tuple[str, float, float]]:
        """Return each word with its start and end, in seconds of the stream."""
        words = self.text.split()
        seconds = (self.end - self.start) / max(1, len(words))
        return [(word, self.start + i * seconds, self.start + (i + 1) * seconds) for i, word in enumerate(words)]


class Transcriber:
    """Transcribes one stream of 16-bit mono audio.

    Attributes:
        seconds: Audio received.
    """

    def __init__(self, lines: deque[str], sample_rate: int) -> None:
        """Start at the first line that is left.

        Args:
            lines: The caller's lines, one per burst, removed as they are spoken. A bar divides a line into parts that
                become final one after the other.
            sample_rate: Samples per second.
        """
        self.seconds = 0.0
        self._lines, self._sample_rate = lines, sample_rate
        self._parts: deque[str] = deque()
        self._part_start = self._speech_end = 0.0
        self._has_interim = False

    def transcribe(self, audio: bytes) -> Iterator[Transcript]:
        """Yield the transcripts that the next 50 to 100 ms of audio bring about."""
        start = self.seconds
        self.seconds += len(audio) / _BYTES_PER_SAMPLE / self._sample_rate
        if max(array("h", audio)) > _LOUD:
            self._speech_end = self.seconds
            if not self._parts and self._lines:
                self._parts = deque(part.strip() for part in self._lines.popleft().split("|"))
                self._start_part(start)
                yield self._transcript("")
            if self._parts:
                yield from self._transcribe_speech()
        elif self.seconds - self._speech_end > _PAUSE_SECONDS:
            yield from self.finish()

    def finish(self) -> Iterator[Transcript]:
        """Yield the rest of the current utterance as final, if there is one."""
        if self._parts:
            yield self._transcript(" ".join(self._parts), is_final=True, is_end=True)
            self._parts.clear()

    def _transcribe_speech(self) -> Iterator[Transcript]:
        spoken = self.seconds - self._part_start
        if not self._has_interim and spoken > _INTERIM_SECONDS:
            self._has_interim = True
            yield self._transcript(self._parts[0])
        if len(self._parts) > 1 and spoken > _PART_SECONDS:
            yield self._transcript(self._parts.popleft(), is_final=True)
            self._start_part(self.seconds)

    def _start_part(self, at: float) -> None:
        self._part_start, self._has_interim = at, False

    def _transcript(self, text: str, *, is_final: bool = False, is_end: bool = False) -> Transcript:
        return Transcript(text=text, is_final=is_final, is_end=is_end, start=self._part_start, end=self._speech_end)
