"""Work of one session that a vendor bills and the framework does not report.

==============================  ===========================  =====================================
How it ended                    Language model               Speech
==============================  ===========================  =====================================
cut off                         prompt, and what came of it  text that was sent
no report, though it ended well prompt, and what came of it  text that was sent
timeout                         prompt                       counted
broken after something came     prompt, and what came of it  counted
broken before, or refused       counted                      counted
nothing complete to learn from  counted                      text that was sent
==============================  ===========================  =====================================

Speech-to-text is billed by the audio pushed, or by the time that its connection was open, minus what the connection
reported. Adapters are not requests. "Counted" means that there is a reason and no estimate.

Estimates are calculated as late as possible, at the end of the session: the requests that follow tell most about the
prompt of one that was cut off.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from ..bill import UnreportedPart
from ..cost import EXACT, Cost, add_up
from ..sources import Ending, SpanKey, Work
from ..usage import Amount, Component, Mode, Reading, Unit, Usage, to_moment, with_amounts
from .estimates import (
    CompleteRequest,
    CompleteSpeech,
    Estimate,
    estimate_request,
    estimate_seconds,
    estimate_speech,
)

if TYPE_CHECKING:
    from ..prices.vendor_rules import VendorRule

__all__ = ["Anchors", "Attempt", "Pricing", "UnreportedWork"]

_MAX_ATTEMPTS = 64  # of one session that await its end; older ones are priced by what is known by then
_MAX_STREAMS = 256  # of one session
_MAX_COMPLETE = 64  # requests of one model in one session
_MAX_ANCHORS = 64  # requests of one model, of all sessions
_MAX_MODELS = 64
_ZERO = Decimal(0)
_BILLED_ALIKE = frozenset({Ending.CUT_OFF, Ending.COMPLETE})

Model = tuple[Component, str, str]


class Pricing(NamedTuple):
    """The prices that estimates need.

    Attributes:
        cost: Returns the cost of a usage.
        rule: Returns the vendor's rule on work that was not finished.
    """

    cost: Callable[[Usage], Cost]
    rule: Callable[[Usage], VendorRule]


class Attempt(NamedTuple):
    """A request, or one try of it, without usage.

    Attributes:
        usage: Its model and moment, without amounts.
        ending: How it ended.
        turn: The agent turn it belongs to.
        work: Its numbers; None if the source does not watch work.
        received: Characters of the answer that came in this try.
    """

    usage: Usage
    ending: Ending
    turn: SpanKey | None
    work: Work | None
    received: int = 0


class Anchors:
    """The last complete requests to each model in this process, for sessions without a complete one."""

    def __init__(self) -> None:
        self._requests: OrderedDict[Model, deque[CompleteRequest]] = OrderedDict()

    def add(self, model: Model, request: CompleteRequest) -> None:
        """Add a complete request."""
        if model not in self._requests and len(self._requests) >= _MAX_MODELS:
            self._requests.popitem(last=False)
        self._requests.setdefault(model, deque(maxlen=_MAX_ANCHORS)).append(request)

    def find(self, model: Model) -> Sequence[CompleteRequest]:
        """Return those of a model."""
        return self._requests.get(model, ())


class _Sum:
    """Estimates of one kind."""

    __slots__ = ("high", "is_priced", "likely", "low", "quantities", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.is_priced = False
        self.likely = self.low = self.high = _ZERO
        self.quantities: dict[Unit, Decimal] = {}

    def add(self, estimate: Estimate, costs: tuple[Decimal, Decimal, Decimal]) -> None:
        self.is_priced = True
        self.likely, self.low, self.high = (
            EXACT.add(before, usd) for before, usd in zip((self.likely, self.low, self.high), costs, strict=True)
        )
        add_up(self.quantities, estimate.likely)


class _Kind(NamedTuple):
    """Estimates that are added up have these in common. The fields are those of `UnreportedPart`."""

    component: Component
    provider: str
    model: str
    reason: str
    method: str | None
    rule: str | None
    is_lower_bound: bool


class _Sums:
    """Estimates added up by kind, and the likely US dollars by agent turn."""

    def __init__(self, other: _Sums | None = None) -> None:
        self._by_kind: dict[_Kind, _Sum] = {} if other is None else copy.deepcopy(other._by_kind)
        self.by_turn: dict[SpanKey, Decimal] = {} if other is None else dict(other.by_turn)

    def add(self, found: _Found, pricing: Pricing) -> None:
        """Price an estimate and add it. One without a price is counted."""
        usage, estimate = found.usage, found.estimate
        costs = None if estimate is None else _costs(usage, estimate, pricing)
        is_estimated = estimate is not None and costs is not None
        total = self._by_kind.setdefault(
            _Kind(
                component=usage.component,
                provider=usage.provider,
                model=usage.model,
                reason=found.reason,
                method=estimate.method if estimate is not None and is_estimated else None,
                rule=found.rule if is_estimated else None,
                is_lower_bound=estimate is not None and estimate.is_lower_bound,
            ),
            _Sum(),
        )
        total.requests += 1
        if estimate is not None and costs is not None:
            total.add(estimate, costs)
            if found.turn is not None:
                self.by_turn[found.turn] = EXACT.add(self.by_turn.get(found.turn, _ZERO), costs[0])

    def parts(self) -> tuple[UnreportedPart, ...]:
        """Return the sums."""
        return tuple(
            UnreportedPart(
                **kind._asdict(),
                request_count=total.requests,
                quantities=dict(total.quantities),
                usd=total.likely if total.is_priced else None,
                low_usd=total.low if total.is_priced else None,
                high_usd=total.high if total.is_priced else None,
            )
            for kind, total in self._by_kind.items()
        )


class _Found(NamedTuple):
    """One request, try or stream.

    Attributes:
        usage: Its model and moment.
        reason: As `UnreportedPart.reason`.
        turn: The agent turn it belongs to.
        estimate: None if it can only be counted.
        rule: The vendor's, in words.
    """

    usage: Usage
    reason: str
    turn: SpanKey | None
    estimate: Estimate | None
    rule: str


class UnreportedWork:
    """The unreported work of one session, and the complete work that calibrates its estimates. Bounded."""

    __slots__ = ("_attempts", "_requests", "_settled", "_speech", "_streams")

    def __init__(self) -> None:
        self._attempts: deque[Attempt] = deque()  # not priced yet: what follows tells more of them
        self._settled = _Sums()
        self._streams: deque[Work] = deque(maxlen=_MAX_STREAMS)
        self._requests: dict[Model, deque[CompleteRequest]] = {}
        self._speech: dict[Model, CompleteSpeech] = {}

    def add(self, attempt: Attempt, pricing: Pricing, anchors: Anchors) -> None:
        """Add a request, or one try of it, without usage. One that was sent nothing is ignored."""
        work, component = attempt.work, attempt.usage.component
        if work is not None and component is Component.TTS and not (work.sent_characters or work.pushed_characters):
            return
        self._attempts.append(attempt)
        if len(self._attempts) > _MAX_ATTEMPTS:
            for found in self._find(self._attempts.popleft(), pricing, anchors):
                self._settled.add(found, pricing)

    def discard(self, usage: Usage) -> None:
        """Remove a synthesis whose span lost its metrics: its usage is reported and priced without the span."""
        characters = usage.quantities.get(Unit.CHARACTER)
        for attempt in self._attempts if usage.component is Component.TTS else ():
            if attempt.work is not None and attempt.work.pushed_characters == characters:
                self._attempts.remove(attempt)
                return

    def add_stream(self, work: Work) -> None:
        """Add a stream of speech-to-text."""
        self._streams.append(work)

    def add_complete(self, usage: Usage | Reading, work: Work, received: int, anchors: Anchors) -> None:
        """Add a request whose usage was reported: it calibrates the estimates.

        Args:
            usage: As reported; of speech as billed.
            work: Its numbers.
            received: Characters of the answer that came in its last try.
            anchors: Of the process.
        """
        model, amounts = (usage.component, usage.provider, usage.model), usage.quantities
        if usage.component is Component.TTS:
            before = self._speech.get(model) or CompleteSpeech(0, 0.0, {})
            if model in self._speech or len(self._speech) < _MAX_MODELS:
                characters = int(amounts.get(Unit.CHARACTER, _ZERO)) or work.pushed_characters
                self._speech[model] = before.plus(characters, work.received_seconds, amounts)
        elif usage.component is Component.LLM:
            request = CompleteRequest(
                characters=work.prompt_characters,
                items=work.prompt_items,
                tools=work.tools,
                prompt_tokens=_count(amounts, Unit.INPUT_TOKEN, Unit.CACHED_INPUT_TOKEN, Unit.CACHE_WRITE_TOKEN),
                cached_tokens=_count(amounts, Unit.CACHED_INPUT_TOKEN),
                received=received,
                completion_tokens=_count(amounts, Unit.OUTPUT_TOKEN, Unit.REASONING_TOKEN),
                reasoning_tokens=_count(amounts, Unit.REASONING_TOKEN),
            )
            if model in self._requests or len(self._requests) < _MAX_MODELS:
                self._requests.setdefault(model, deque(maxlen=_MAX_COMPLETE)).append(request)
            anchors.add(model, request)

    def parts(self, pricing: Pricing, anchors: Anchors) -> tuple[tuple[UnreportedPart, ...], dict[SpanKey, Decimal]]:
        """Return all estimates by model, reason and method, and the likely US dollars of each agent turn."""
        if not (self._attempts or self._streams):
            return self._settled.parts(), self._settled.by_turn
        sums = _Sums(self._settled)
        for attempt in self._attempts:
            for found in self._find(attempt, pricing, anchors):
                sums.add(found, pricing)
        for found in self._find_seconds(pricing):
            sums.add(found, pricing)
        return sums.parts(), sums.by_turn

    def _find(self, attempt: Attempt, pricing: Pricing, anchors: Anchors) -> Iterator[_Found]:
        rule = pricing.rule(attempt.usage)
        is_cut_off = attempt.ending in _BILLED_ALIKE
        if (rule.cancelled if is_cut_off else rule.failed) != "free":
            reason = attempt.ending.value if is_cut_off else "failed"
            yield _Found(attempt.usage, reason, attempt.turn, self._estimate(attempt, rule, anchors), rule.text)

    def _find_seconds(self, pricing: Pricing) -> Iterator[_Found]:
        for work in self._streams:
            if not work.ended_ns or work.is_reported:  # it may still report, or did so in tokens
                continue
            usage = Usage(
                component=work.component,
                provider=work.provider,
                model=work.model,
                at=to_moment(work.ended_ns),
                mode=Mode.STREAMING,
            )
            rule = pricing.rule(usage)
            is_open = rule.time == "open"
            seconds = (work.ended_ns - work.started_ns) / 1e9 if is_open else work.pushed_seconds
            if rule.connection_increment:
                seconds = ceil(seconds / float(rule.connection_increment)) * float(rule.connection_increment)
            estimate = estimate_seconds(seconds, work.reported_seconds, "open time" if is_open else "audio pushed")
            if estimate is not None:
                reason = "no report" if not work.reported_seconds else "connection" if is_open else "tail"
                yield _Found(usage, reason, None, estimate, rule.time_text)

    def _estimate(self, attempt: Attempt, rule: VendorRule, anchors: Anchors) -> Estimate | None:
        work, ending = attempt.work, attempt.ending
        model = (attempt.usage.component, attempt.usage.provider, attempt.usage.model)
        if work is None:
            return None
        if attempt.usage.component is Component.TTS:
            if ending not in _BILLED_ALIKE:
                return None
            spoken = estimate_speech(
                self._speech.get(model),
                sent=work.sent_characters,
                pushed=work.pushed_characters,
                received_seconds=work.received_seconds,
            )
            if spoken is None or rule.cancelled not in ("generated", "whole"):
                return spoken
            return spoken._replace(likely=spoken.low if rule.cancelled == "generated" else spoken.high)
        if ending is Ending.REFUSED or (ending is Ending.BROKEN and not attempt.received):
            return None
        own = self._requests.get(model)
        estimate = estimate_request(
            list(own or anchors.find(model)),
            characters=work.prompt_characters,
            items=work.prompt_items,
            tools=work.tools,
            received=0 if ending is Ending.TIMEOUT else attempt.received,
            stated=_stated(work),
            is_own=own is not None,
        )
        if estimate is not None and (work.has_media or rule.cancelled == "whole"):
            return estimate._replace(is_lower_bound=True)
        return estimate


def _stated(work: Work) -> dict[Unit, Decimal]:
    """Return the amounts of a prompt that the vendor has stated."""
    plain = work.prompt_tokens - work.cached_tokens - work.written_tokens
    amounts = (plain, work.cached_tokens, work.written_tokens)
    units = (Unit.INPUT_TOKEN, Unit.CACHED_INPUT_TOKEN, Unit.CACHE_WRITE_TOKEN)
    return {unit: Decimal(n) for unit, n in zip(units, amounts, strict=True) if n > 0}


def _count(amounts: Mapping[Unit, Amount], *units: Unit) -> int:
    return sum(int(amounts.get(unit, _ZERO)) for unit in units)


def _costs(usage: Usage, estimate: Estimate, pricing: Pricing) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return the likely, least and most US dollars; None without a rate."""
    found = []
    for amounts in (estimate.likely, estimate.low, estimate.high):
        usd = pricing.cost(with_amounts(usage, amounts)).usd if amounts else _ZERO
        if usd is None:
            return None
        found.append(usd)
    return found[0], min(found), max(found)
