"""Estimates of usage that a vendor bills and the framework does not report: pure functions of numbers.

Each estimate has three amounts: the likely one, and the least and most that the vendor may bill. They are calibrated
with complete requests to the same model; without any, a prompt is not estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from ..cost import EXACT, add_up
from ..usage import Amount, Unit

__all__ = ["CompleteRequest", "CompleteSpeech", "Estimate", "estimate_request", "estimate_seconds", "estimate_speech"]

TOKENS_PER_ITEM = 4  # that frame a message, as OpenAI counts
_CACHE_STEP = 128  # tokens, of OpenAI's prompt cache
_CHARACTERS_PER_TOKEN = 4.0  # of English, until a session tells
_PLAUSIBLE = (1.0, 8.0)  # characters per token that a session may tell
_CHARACTERS_PER_SECOND = 15.0  # of speech, until a session tells
_LEAST_SECONDS, _LEAST_PART = 0.5, 0.01  # of a connection: less is a difference of clocks
_MILLISECOND = Decimal("0.001")

Amounts = Mapping[Unit, Decimal]


class CompleteRequest(NamedTuple):
    """A request to a language model whose usage was reported.

    Attributes:
        characters: Of its prompt, without tool definitions.
        items: Messages, calls and results in its prompt.
        tools: Tool definitions.
        prompt_tokens: As reported, cached ones included.
        cached_tokens: As reported.
        received: Characters of the answer: text and arguments of calls.
        completion_tokens: As reported, reasoning included.
        reasoning_tokens: As reported.
    """

    characters: int
    items: int
    tools: int
    prompt_tokens: int
    cached_tokens: int
    received: int
    completion_tokens: int
    reasoning_tokens: int


class CompleteSpeech(NamedTuple):
    """Complete syntheses of one model, added up.

    Attributes:
        characters: As reported.
        seconds: Of audio that came.
        quantities: As billed.
    """

    characters: int
    seconds: float
    quantities: Amounts

    def plus(self, characters: int, seconds: float, quantities: Mapping[Unit, Amount]) -> CompleteSpeech:
        """The same with one more synthesis."""
        added = dict(self.quantities)
        add_up(added, quantities)
        return CompleteSpeech(self.characters + characters, self.seconds + seconds, added)


class Estimate(NamedTuple):
    """Amounts that a vendor may bill.

    Attributes:
        likely: The most probable.
        low: The least.
        high: The most.
        method: The way they came about.
        is_lower_bound: True if even the most may be too little: images, audio or hidden reasoning.
    """

    likely: Amounts
    low: Amounts
    high: Amounts
    method: str
    is_lower_bound: bool = False


def estimate_request(
    complete: Sequence[CompleteRequest],
    *,
    characters: int,
    items: int,
    tools: int,
    received: int,
    stated: Amounts | None = None,
    is_own: bool = True,
) -> Estimate | None:
    """Estimate the tokens of a request to a language model without usage.

    The prompt is that of the complete request nearest in characters, and what it grew by since: tools, instructions
    and frames are the same in both. The cached part is the longest other prompt of the session, in steps of 128,
    if the session ever reported cached tokens.

    Args:
        complete: Requests to the same model, those with as many tools first choice.
        characters: Of the prompt.
        items: Of the prompt.
        tools: Tool definitions.
        received: Characters of the answer that came.
        stated: Amounts of the prompt, if the vendor has stated them: only the answer is estimated then.
        is_own: True if the complete requests are of the same session.

    Returns:
        None without a complete request.
    """
    written = round(received / _answer_rate(complete)) if received else 0
    is_lower_bound = any(request.reasoning_tokens for request in complete)
    if stated:
        answered = {**stated, Unit.OUTPUT_TOKEN: Decimal(written)} if written else stated
        return Estimate(answered, stated, answered, "prompt stated", is_lower_bound)
    if not complete:
        return None
    alike = [request for request in complete if request.tools == tools] or complete
    anchor = min(alike, key=lambda request: abs(request.characters - characters))
    growth = (characters - anchor.characters) / _growth_rate(alike) + TOKENS_PER_ITEM * (items - anchor.items)
    prompt = max(1, round(anchor.prompt_tokens + growth))
    caches = any(request.cached_tokens for request in complete)
    shorter = max((r.prompt_tokens for r in alike if r.characters <= characters), default=0)
    cached = min(shorter, prompt) // _CACHE_STEP * _CACHE_STEP if caches and is_own else 0
    most_cached = prompt // _CACHE_STEP * _CACHE_STEP if caches else 0
    return Estimate(
        likely=_tokens(prompt, cached, written),
        low=_tokens(prompt, most_cached, 0),
        high=_tokens(prompt, 0, written),
        method="anchor+growth" if is_own else "anchor of another call",
        is_lower_bound=is_lower_bound,
    )


def estimate_speech(
    complete: CompleteSpeech | None, *, sent: int, pushed: int, received_seconds: float
) -> Estimate | None:
    """Estimate what a synthesis that was cut off is billed for.

    Args:
        complete: Complete syntheses of the same model.
        sent: Characters that the plugin took from its tokenizer, one more for each piece; 0 if it uses none.
        pushed: Characters that it was given.
        received_seconds: Audio that came.

    Returns:
        None if nothing was sent.
    """
    characters = sent or (pushed if received_seconds > 0 else 0)
    if characters <= 0:
        return None
    spoken = complete is not None and complete.seconds > 0 and complete.characters > 0
    rate = complete.characters / complete.seconds if complete is not None and spoken else _CHARACTERS_PER_SECOND
    played = min(characters, round(received_seconds * rate))
    return Estimate(
        likely=_speech(complete, characters),
        low=_speech(complete, played),
        high=_speech(complete, max(characters, pushed)),
        method="tokenizer" if sent else "text pushed",
    )


def estimate_seconds(basis_seconds: float, reported_seconds: float, method: str) -> Estimate | None:
    """Estimate the seconds of speech-to-text that were not reported.

    Args:
        basis_seconds: Audio pushed, or the time that the connection was open, as the vendor bills.
        reported_seconds: By the same connection.
        method: ``"audio pushed"`` or ``"open time"``.

    Returns:
        None for less than half a second, or one in a hundred: clocks differ.
    """
    missing = basis_seconds - reported_seconds
    if missing < _LEAST_SECONDS or missing < basis_seconds * _LEAST_PART:
        return None
    amounts = {Unit.AUDIO_SECOND: Decimal(str(missing)).quantize(_MILLISECOND, context=EXACT)}
    return Estimate(likely=amounts, low=amounts, high=amounts, method=method)


def _growth_rate(requests: Iterable[CompleteRequest]) -> float:
    """Return the characters per token by which prompts grew from one request to the next."""
    ordered = sorted(requests, key=lambda request: request.characters)
    characters, tokens = 0, 0
    for before, after in pairwise(ordered):
        characters += after.characters - before.characters
        tokens += after.prompt_tokens - before.prompt_tokens - TOKENS_PER_ITEM * (after.items - before.items)
    return _plausible(characters, tokens)


def _answer_rate(requests: Iterable[CompleteRequest]) -> float:
    """Return the characters per token of complete answers."""
    answers = [r for r in requests if r.received > 0 and r.completion_tokens > r.reasoning_tokens]
    return _plausible(sum(r.received for r in answers), sum(r.completion_tokens - r.reasoning_tokens for r in answers))


def _plausible(characters: int, tokens: int) -> float:
    rate = characters / tokens if tokens > 0 else 0.0
    return rate if _PLAUSIBLE[0] <= rate <= _PLAUSIBLE[1] else _CHARACTERS_PER_TOKEN


def _tokens(prompt: int, cached: int, written: int) -> Amounts:
    amounts = {Unit.INPUT_TOKEN: prompt - cached, Unit.CACHED_INPUT_TOKEN: cached, Unit.OUTPUT_TOKEN: written}
    return {unit: Decimal(n) for unit, n in amounts.items() if n > 0}


def _speech(complete: CompleteSpeech | None, characters: int) -> Amounts:
    """Return what so many characters are billed for: in all units in which complete ones were."""
    if characters <= 0:
        return {}
    amounts = {Unit.CHARACTER: Decimal(characters)}
    if complete is not None and complete.characters > 0:
        for unit, amount in complete.quantities.items():
            if unit is not Unit.CHARACTER:
                part = EXACT.divide(EXACT.multiply(amount, Decimal(characters)), Decimal(complete.characters))
                amounts[unit] = part.quantize(_MILLISECOND if unit.is_seconds else Decimal(1), context=EXACT)
    return {unit: n for unit, n in amounts.items() if n > 0}
