"""Amounts of units in what Pipecat's services report and in the attributes of its spans.

Source:
    pipecat-ai 1.14.0, ``metrics/metrics.py``, ``LLMTokenUsage``; ``utils/tracing/service_decorators.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...cost import EXACT
from ...usage import Amount, Unit
from ..fields import read_amount, read_count
from ..tokens import TEXT_TOKEN_UNITS, rest_of, split_cached, text_tokens

__all__ = ["AUDIO_SECONDS", "CHARACTERS", "Tokens", "add_up", "latest_tokens", "read_characters", "read_seconds"]

Amounts = dict[Unit, Amount]

AUDIO_SECONDS = "metrics.audio_seconds"
CHARACTERS = "metrics.character_count"

# Fields of a report, and the attributes that Pipecat copies them to.
_FIELDS = {
    "prompt": ("prompt_tokens", "gen_ai.usage.input_tokens"),
    "completion": ("completion_tokens", "gen_ai.usage.output_tokens"),
    "cached": ("cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    "written": ("cache_creation_input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    "reasoning": ("reasoning_tokens", "gen_ai.usage.reasoning.output_tokens"),
    "audio_in": ("input_audio_tokens", "gen_ai.usage.audio.input_tokens"),
    "audio_out": ("output_audio_tokens", "gen_ai.usage.audio.output_tokens"),
    "cached_audio": ("cache_read_input_audio_tokens", "gen_ai.usage.audio.cache_read.input_tokens"),
}


class Tokens(NamedTuple):
    """Tokens as reported, of one request.

    Attributes:
        prompt: Input; without the cached and written tokens if the vendor reports them apart.
        completion: Output, reasoning included.
        cached: Input that was read from a cache.
        written: Input that was written to a cache.
        reasoning: Output that was not said.
        audio_in: The part of the input that was audio.
        audio_out: The part of the output that was audio.
        cached_audio: The part of the cached input that was audio.
    """

    prompt: int
    completion: int
    cached: int
    written: int
    reasoning: int
    audio_in: int
    audio_out: int
    cached_audio: int

    @classmethod
    def from_report(cls, report: object) -> Tokens:
        """Read a report.

        Raises:
            UsageError: A count is not a whole number.
        """
        return cls(*(read_count({name: getattr(report, name, None)}, name) for name, _ in _FIELDS.values()))

    @classmethod
    def from_span(cls, attributes: Mapping[str, Any]) -> Tokens:
        """Read a span.

        Raises:
            UsageError: A count is not a whole number.
        """
        return cls(*(read_count(attributes, key) for _, key in _FIELDS.values()))

    @property
    def has_audio(self) -> bool:
        """True if a part of them is audio."""
        return bool(self.audio_in or self.audio_out)

    @property
    def match_key(self) -> str:
        """Equal for a report and a span of the same response. Reasoning is named otherwise on spans before 1.14."""
        return ",".join(str(count) for count in self._replace(reasoning=0))

    def to_amounts(self, *, is_net: bool, has_modalities: bool) -> Amounts:
        """Return disjoint amounts by unit.

        Args:
            is_net: True if the vendor reports its input without cached and written tokens.
            has_modalities: True if text and audio are separate. Tokens of a realtime model without that split have no
                price: speech costs many times as much as text.

        Raises:
            UsageError: The parts of a count are more than the count.
        """
        prompt = self.prompt + (self.cached + self.written if is_net else 0)
        if not (has_modalities or self.has_audio):
            amounts = text_tokens(prompt, self.completion, self.cached, self.written, self.reasoning)
            return dict(zip(TEXT_TOKEN_UNITS, amounts, strict=True))
        text = rest_of("input_tokens", prompt, self.audio_in)
        unnamed = max(self.cached - self.cached_audio, 0)
        more_audio = self.audio_in - self.cached_audio if not self.cached_audio else 0
        cached_text, cached_audio = split_cached(unnamed, text, more_audio)
        cached_audio += self.cached_audio
        return {
            Unit.INPUT_TEXT_TOKEN: text - cached_text,
            Unit.CACHED_INPUT_TEXT_TOKEN: cached_text,
            Unit.INPUT_AUDIO_TOKEN: rest_of("audio_tokens", self.audio_in, cached_audio),
            Unit.CACHED_INPUT_AUDIO_TOKEN: cached_audio,
            Unit.OUTPUT_TEXT_TOKEN: rest_of("output_tokens", self.completion, self.audio_out),
            Unit.OUTPUT_AUDIO_TOKEN: self.audio_out,
        }


def latest_tokens(reports: Iterable[Tokens]) -> Tokens:
    """Return the tokens of one request from all reports on it: the last if none shrinks, else their sum.

    Some vendors send the usage so far with every piece of the answer.

    Source:
        pipecat-ai 1.7.0, ``services/openai/base_llm.py``, reports each; 1.14.0 only the last.
    """
    total, last = Tokens(*[0] * len(_FIELDS)), Tokens(*[0] * len(_FIELDS))
    for report in reports:
        if any(count < before for count, before in zip(report, last, strict=True)):
            total = Tokens(*map(sum, zip(total, last, strict=True)))
        last = report
    return Tokens(*map(sum, zip(total, last, strict=True)))


def add_up(parts: Iterable[Mapping[Unit, int]]) -> Amounts:
    """Return the sums of amounts by unit."""
    total: Amounts = {}
    for part in parts:
        for unit, amount in part.items():
            total[unit] = total.get(unit, 0) + amount
    return total


def read_seconds(attributes: Mapping[str, Any]) -> Amounts:
    """Return the seconds of audio on a span; none if it has none.

    Raises:
        UsageError: They are not a number.
    """
    return {Unit.AUDIO_SECOND: read_amount(attributes, AUDIO_SECONDS, default=EXACT.create_decimal(0))}


def read_characters(attributes: Mapping[str, Any]) -> Amounts:
    """Return the characters of speech on a span: those that were to be sent; none if it has none.

    Raises:
        UsageError: They are not a whole number.
    """
    return {Unit.CHARACTER: read_count(attributes, CHARACTERS)}
