"""The bill of a call: its costs added up by component and model, and its cost record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from .cost import EXACT, Cost, CostLine, add_up, exact_sum
from .usage import Component, Unit

__all__ = ["OTHER_MODELS", "Bill", "CostPart", "SessionCost", "TraceCost", "TurnCost", "UnreportedPart"]

_ZERO = Decimal(0)
_SECONDS_PER_MINUTE = Decimal(60)
_MAX_MODELS = 64  # of one call; further models share one part
OTHER_MODELS = "other models"  # provider and model of that part


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """The cost of one model in a session.

    Attributes:
        component: The part of the agent that used it.
        provider: Provider id.
        model: Model id.
        display_name: Name of the model to show, if a price entry has one.
        usage_count: Number of usages, priced or unpriced: requests, or reports of speech-to-text.
        quantities: Billed amount per unit.
        lines: The same by rate: amount, US dollars, list price. Empty if the spans carried their costs, and for
            the models of a call beyond 64, which share one part, ``other models``.
        usd: US dollars, after the discount.
        list_usd: US dollars before the discount.
        markup_usd: The markup on it.
        estimated_usd: The part of ``usd`` that is an estimate.
        unpriced_count: Number of usages without a cost.
        unpriced_quantities: Their amounts.
        unpriced_reason: Reason why the last of them has no cost.
    """

    component: Component
    provider: str
    model: str
    display_name: str | None
    usage_count: int
    quantities: Mapping[Unit, Decimal]
    lines: tuple[CostLine, ...]
    usd: Decimal
    list_usd: Decimal
    markup_usd: Decimal
    estimated_usd: Decimal
    unpriced_count: int
    unpriced_quantities: Mapping[Unit, Decimal]
    unpriced_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreportedPart:
    """Work of one model that a vendor bills and the framework reports no usage for, as an estimate.

    Attributes:
        component: The component that used it.
        provider: Provider id.
        model: Model id.
        reason: ``"cut off"``, ``"failed"``, ``"no report"``, ``"tail"`` (after the last report of a stream) or
            ``"connection"`` (open, without audio).
        request_count: Requests, tries of them that failed, or streams.
        quantities: The likely amount per unit.
        usd: The likely US dollars; None if there is no estimate.
        low_usd: The least.
        high_usd: The most.
        method: Method of the estimate; None if there is none.
        rule: The vendor's documented billing rule, or ``"not documented"``.
        is_lower_bound: True if even ``high_usd`` may be too low: images, audio or hidden reasoning.
    """

    component: Component
    provider: str
    model: str
    reason: str
    request_count: int
    quantities: Mapping[Unit, Decimal]
    usd: Decimal | None
    low_usd: Decimal | None
    high_usd: Decimal | None
    method: str | None
    rule: str | None
    is_lower_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCost:
    """The cost of one agent turn and of the speech-to-text before it.

    Attributes:
        number: 1 for the first turn that ended.
        by_component: US dollars of each component.
        unpriced_count: Usages without a cost.
        estimated: True if it includes an estimate.
        unreported_usd: The likely US dollars of requests without usage, in addition; of a turn, they are known at
            the end of the session.
    """

    number: int
    by_component: Mapping[Component, Decimal]
    unpriced_count: int
    estimated: bool
    unreported_usd: Decimal = _ZERO

    @property
    def usd(self) -> Decimal:
        """US dollars."""
        return exact_sum(self.by_component.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCost:
    """The cost of a session, so far or final. Its parts add up to its total, digit for digit.

    Attributes:
        session_id: The first that the session has: conversation id, Langfuse's or the application's session id,
            LiveKit's job id, trace id.
        trace_id: Trace id of the ``agent_session`` span, 32 hexadecimal digits.
        span_id: Id of the same span, 16 hexadecimal digits.
        agent: Name of the agent that the job was dispatched to; None outside jobs.
        started_at: Start, UTC.
        seconds: Length so far.
        ended: True if it has ended.
        parts: Costs by component and model.
        turns: The turns that have ended. Costs outside of turns are only in ``parts``.
        unreported: Estimates of what was used and not reported, by model and reason.
        is_unreported_billed: True if they are in ``parts`` and ``usd`` too.
        currency: ``USD``.
        revision: Label of the deployment (``VOICE_COST_REVISION``), or None.
    """

    session_id: str
    trace_id: str
    span_id: str
    agent: str | None
    started_at: datetime
    seconds: Decimal
    ended: bool
    parts: tuple[CostPart, ...]
    turns: tuple[TurnCost, ...]
    unreported: tuple[UnreportedPart, ...] = ()
    is_unreported_billed: bool = False
    currency: str = "USD"
    revision: str | None = None

    @property
    def ended_at(self) -> datetime:
        """End, UTC; the current time for a live call."""
        return self.started_at + timedelta(seconds=float(self.seconds))

    @property
    def usd(self) -> Decimal:
        """US dollars, after discounts."""
        return exact_sum([part.usd for part in self.parts])

    @property
    def list_usd(self) -> Decimal:
        """US dollars before discounts."""
        return exact_sum([part.list_usd for part in self.parts])

    @property
    def markup_usd(self) -> Decimal:
        """The markup on the cost."""
        return exact_sum([part.markup_usd for part in self.parts])

    @property
    def estimated_usd(self) -> Decimal:
        """The part of the cost that is an estimate."""
        return exact_sum([part.estimated_usd for part in self.parts])

    @property
    def unreported_usd(self) -> Decimal:
        """The likely US dollars of what was used and not reported, as far as it can be estimated."""
        return exact_sum([part.usd for part in self.unreported if part.usd is not None])

    @property
    def unreported_count(self) -> int:
        """The number of requests, tries of them and streams whose usage was not reported."""
        return sum(part.request_count for part in self.unreported)

    @property
    def usd_with_unreported(self) -> Decimal:
        """US dollars of what was reported and what was not."""
        return self.usd if self.is_unreported_billed else EXACT.add(self.usd, self.unreported_usd)

    @property
    def unpriced_count(self) -> int:
        """The number of usages without a cost."""
        return sum(part.unpriced_count for part in self.parts)

    @property
    def by_component(self) -> dict[Component, Decimal]:
        """US dollars of each component that has a cost."""
        found: dict[Component, Decimal] = {}
        for part in self.parts:
            if part.usage_count > part.unpriced_count:
                found[part.component] = EXACT.add(found.get(part.component, _ZERO), part.usd)
        return found

    @property
    def usd_per_minute(self) -> Decimal | None:
        """US dollars per minute of this call; None if it has no length."""
        return _per_minute(self.usd, self.seconds)

    @property
    def next_turn_usd(self) -> Decimal:
        """The most expensive of the last three turns, as an estimate of the next. Zero before the first."""
        return max((turn.usd for turn in self.turns[-3:]), default=_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCost:
    """The cost of the ended sessions of one trace, which may contain several.

    Attributes:
        by_component: US dollars of each component that has a cost.
        unpriced_count: Number of usages without a cost.
        seconds: Length of all sessions.
    """

    by_component: Mapping[Component, Decimal] = field(default_factory=dict)
    unpriced_count: int = 0
    seconds: Decimal = _ZERO

    def plus(self, record: SessionCost) -> TraceCost:
        """Return this cost with one more session."""
        by_component = dict(self.by_component)
        add_up(by_component, record.by_component)
        return TraceCost(
            by_component=by_component,
            unpriced_count=self.unpriced_count + record.unpriced_count,
            seconds=EXACT.add(self.seconds, record.seconds),
        )

    @property
    def usd(self) -> Decimal:
        """US dollars."""
        return exact_sum(self.by_component.values())

    @property
    def usd_per_minute(self) -> Decimal | None:
        """US dollars per minute; None if the sessions have no length."""
        return _per_minute(self.usd, self.seconds)


class _Part:
    """Sums of one component and model."""

    __slots__ = (
        "display_name",
        "estimated_usd",
        "lines",
        "list_usd",
        "markup_usd",
        "quantities",
        "unpriced_count",
        "unpriced_quantities",
        "unpriced_reason",
        "usage_count",
        "usd",
    )

    def __init__(self) -> None:
        self.usd = self.list_usd = self.markup_usd = self.estimated_usd = _ZERO
        self.usage_count = self.unpriced_count = 0
        self.unpriced_reason: str | None = None
        self.display_name: str | None = None
        self.quantities: dict[Unit, Decimal] = {}
        self.unpriced_quantities: dict[Unit, Decimal] = {}
        self.lines: dict[tuple[Unit, int], CostLine] = {}  # by the rate's id: hashing a rate is slow

    def add(self, cost: Cost, count: int, *, in_lines: bool = True) -> None:
        self.usage_count += count
        if cost.usd is None:
            self.unpriced_count, self.unpriced_reason = self.unpriced_count + 1, cost.unpriced_reason
            add_up(self.unpriced_quantities, cost.usage.quantities)
            return
        add = EXACT.add
        add_up(self.quantities, cost.usage.quantities)
        self.display_name = cost.display_name or self.display_name
        self.usd = add(self.usd, cost.usd)
        self.list_usd = add(self.list_usd, cost.list_usd or cost.usd)
        if cost.estimated:
            self.estimated_usd = add(self.estimated_usd, cost.usd)
        if cost.markup_usd is not None:
            self.markup_usd = add(self.markup_usd, cost.markup_usd)
        for unit, amount, rate, usd, list_usd in cost.lines if in_lines else ():
            seen = self.lines.get((unit, id(rate)))
            if seen is not None:
                amount, usd, list_usd = add(seen.amount, amount), add(seen.usd, usd), add(seen.list_usd, list_usd)
            self.lines[unit, id(rate)] = CostLine(unit, amount, rate, usd, list_usd)

    def copy(self) -> _Part:
        other = _Part()
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(other, name, dict(value) if isinstance(value, dict) else value)
        return other

    def frozen(self, component: Component, provider: str, model: str) -> CostPart:
        return CostPart(
            component=component,
            provider=provider,
            model=model,
            display_name=self.display_name,
            usage_count=self.usage_count,
            quantities=dict(self.quantities),
            lines=tuple(self.lines.values()),
            usd=self.usd,
            list_usd=self.list_usd,
            markup_usd=self.markup_usd,
            estimated_usd=self.estimated_usd,
            unpriced_count=self.unpriced_count,
            unpriced_quantities=dict(self.unpriced_quantities),
            unpriced_reason=self.unpriced_reason,
        )


class Bill:
    """Adds up the costs of a call. Not safe to use from several threads at once."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[tuple[Component, str, str], _Part] = {}

    def add(self, cost: Cost, count: int = 1) -> None:
        """Add a cost; count it if it is unpriced.

        Args:
            cost: The cost.
            count: Number of usages; more than one if it is a sum.
        """
        usage = cost.usage
        key = (usage.component, usage.provider, usage.model)
        part = self._parts.get(key)
        is_further = part is None and len(self._parts) >= _MAX_MODELS
        if is_further:
            key = (usage.component, OTHER_MODELS, OTHER_MODELS)
            part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Part()
        part.add(cost, count, in_lines=not is_further)

    def copy(self) -> Bill:
        """Return a copy to add to."""
        other = Bill()
        other._parts = {key: part.copy() for key, part in self._parts.items()}
        return other

    @property
    def usd(self) -> Decimal:
        """US dollars so far."""
        return exact_sum([part.usd for part in self._parts.values()])

    def parts(self) -> tuple[CostPart, ...]:
        """Return the costs by component and model."""
        return tuple(part.frozen(*key) for key, part in sorted(self._parts.items(), key=lambda item: item[0]))


def _per_minute(usd: Decimal, seconds: Decimal) -> Decimal | None:
    return EXACT.divide(EXACT.multiply(usd, _SECONDS_PER_MINUTE), seconds) if seconds > 0 else None
