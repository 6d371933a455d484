"""Split the token counts that frameworks report into disjoint units."""

from __future__ import annotations

from ..errors import UsageError
from ..usage import Unit

__all__ = ["TEXT_TOKEN_UNITS", "rest_of", "split_cached", "text_tokens"]

TEXT_TOKEN_UNITS = (
    Unit.INPUT_TOKEN,
    Unit.CACHED_INPUT_TOKEN,
    Unit.CACHE_WRITE_TOKEN,
    Unit.OUTPUT_TOKEN,
    Unit.REASONING_TOKEN,
)


def text_tokens(prompt: int, completion: int, cached: int, written: int, reasoning: int) -> tuple[int, ...]:
    """Return the tokens of a text model in the order of ``TEXT_TOKEN_UNITS``.

    Args:
        prompt: Input, cached and written tokens included.
        completion: Output, reasoning included.
        cached: Input that was read from a cache.
        written: Input that was written to a cache.
        reasoning: Output that was not said.

    Raises:
        UsageError: The parts of a count are more than the count.
    """
    return (
        rest_of("prompt_tokens", prompt, cached + written),
        cached,
        written,
        rest_of("completion_tokens", completion, reasoning),
        reasoning,
    )


def split_cached(unnamed: int, text: int, audio: int) -> tuple[int, int]:
    """Return cached text and audio tokens of which only the sum is known: text first, then audio.

    Args:
        unnamed: The sum.
        text: Text tokens that may be cached.
        audio: Audio tokens that may be cached.
    """
    cached_text = min(unnamed, text)
    return cached_text, min(unnamed - cached_text, audio)


def rest_of(name: str, whole: int, parts: int) -> int:
    """Subtract the parts from a count that includes them.

    Args:
        name: The field, for the error.
        whole: The count.
        parts: The sum of its parts.

    Raises:
        UsageError: The parts are more than the whole.
    """
    if parts > whole:
        raise UsageError(f"{name}: got {whole}, expected at least its parts, {parts}")
    return whole - parts
