"""State of calls: the sessions of this process, their usage that waits for a span, and their totals.

Nothing here has a separate lock: sessions are read and changed only in steps of `SessionRegistry.gate`.
There is one registry per process, because a framework may switch to another provider with another processor while
a session runs. The processor that received the start of a session accounts for it.
"""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from .._runtime.forks import reset_after_fork
from .._runtime.locks import Gate
from ..bill import Bill, CostPart, SessionCost, TraceCost, TurnCost, UnreportedPart
from ..cost import EXACT, Cost, exact_sum, merge_costs
from ..export.dialects import Label
from ..export.usage_spans import UsageSpan
from ..sources import Source, SpanKey
from ..usage import Component, Usage
from .matching import Matching, Repeats
from .plan import PlannedCost, PlannedCosts
from .span_tree import SpanTree
from .unreported import UnreportedWork

__all__ = ["REGISTRY", "PendingCost", "PendingCosts", "Session", "SessionRegistry", "Totals"]

_MAX_PENDING = 8  # models of one session whose cost waits for a span
_MAX_OPEN_TURNS = 64  # of one session; the oldest is then treated as ended
_MAX_TURNS = 4_096  # of one session in its record
_MAX_SPANS_OF_ENDED = 512
_MAX_ENDED_SESSIONS = 64
_MAX_SESSIONS = 10_000
_MAX_DROPPED_AT_ONCE = 4  # sessions, each time one begins
_MAX_TRACES = 1_024
_MAX_SILENCE_NS = 24 * 3_600 * 10**9  # of a session, until it is treated as ended

_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


AnyCost = Cost | PlannedCost


class Totals:
    """Running cost per component, in US dollars."""

    __slots__ = ("by_component", "estimated", "unpriced")

    def __init__(self) -> None:
        self.by_component: dict[Component, Decimal] = {}
        self.unpriced = 0
        self.estimated = False

    def add(self, cost: AnyCost) -> None:
        """Add one cost; count it if it is unpriced."""
        if cost.usd is None:
            self.unpriced += 1
            return
        usage = cost.reading if isinstance(cost, PlannedCost) else cost.usage
        self._add_usd(usage.component, cost.usd)
        self.estimated |= cost.estimated

    def merge(self, other: Totals) -> None:
        """Add other totals."""
        for component, usd in other.by_component.items():
            self._add_usd(component, usd)
        self.unpriced += other.unpriced
        self.estimated = self.estimated or other.estimated

    @property
    def usd(self) -> Decimal:
        """Sum of all components, in US dollars."""
        return exact_sum(self.by_component.values())

    def _add_usd(self, component: Component, usd: Decimal) -> None:
        before = self.by_component.get(component)
        self.by_component[component] = usd if before is None else EXACT.add(before, usd)

    def __bool__(self) -> bool:
        return bool(self.by_component or self.unpriced)


@dataclass(slots=True)
class PendingCost:
    """Costs of one component and model that wait for a span, and the time of their reports."""

    cost: AnyCost
    first_ns: int
    last_ns: int

    def add(self, cost: AnyCost, time_ns: int) -> None:
        """Add a cost of the same component and model."""
        if isinstance(cost, PlannedCost) and isinstance(self.cost, PlannedCost) and cost.plan is self.cost.plan:
            self.cost = self.cost.plus(cost)
        else:
            self.cost = merge_costs([to_cost(self.cost), to_cost(cost)])
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)


class PendingCosts:
    """Costs that wait for a span, by component and model, those without amounts separately. Limited in models."""

    __slots__ = ("_by_model",)

    def __init__(self) -> None:
        self._by_model: dict[tuple[Component, str, str, bool], PendingCost] = {}

    def __bool__(self) -> bool:
        return bool(self._by_model)

    def add(self, cost: AnyCost, time_ns: int) -> PendingCost | None:
        """Add a cost; return the oldest if there are too many."""
        usage = cost.reading if isinstance(cost, PlannedCost) else cost.usage
        key = (usage.component, usage.provider, usage.model, bool(usage.quantities))
        pending = self._by_model.get(key)
        if pending is None:
            self._by_model[key] = PendingCost(cost, time_ns, time_ns)
        else:
            pending.add(cost, time_ns)
        return self.pop_oldest() if len(self._by_model) > _MAX_PENDING else None

    def costs(self) -> list[AnyCost]:
        """Return the costs, the oldest first."""
        return [pending.cost for pending in self._by_model.values()]

    def pop_model(self, provider: str, model: str) -> list[PendingCost]:
        """Remove and return the costs of one model."""
        keys = [key for key in self._by_model if key[1:3] == (provider, model)]
        return [self._by_model.pop(key) for key in keys]

    def pop_oldest(self) -> PendingCost:
        """Remove and return the oldest cost."""
        return self._by_model.pop(next(iter(self._by_model)))

    def pop_all(self) -> list[PendingCost]:
        """Remove and return all costs, the oldest first."""
        taken, self._by_model = list(self._by_model.values()), {}
        return taken


@dataclass(eq=False, repr=False, slots=True)
class Session:
    """One session of a framework.

    A cost that stops waiting for a span is added to the bill in the same step.

    Attributes:
        key: Trace and span id of its span.
        start_ns: Start, nanoseconds since the epoch.
        owner: The `Accounting` that is responsible for it.
        source: Source of its span.
        attributes: Live view of its span's attributes; empty once the span has ended.
        last_ns: Time of its last activity.
        is_ending: True once its end has begun.
        has_ended: True once its end is complete.
        is_dropped: True once it is removed: later usage belongs to no session.
        agent: Name of the agent, empty if it has none; None until it is first read.
        identity: Attributes for usage spans.
        names_trace: True if no span of the application stands above it, so that it may name the trace.
        labels: Attributes for every span; None until the first needs them.
        is_charged: True once its charges by time or number are booked.
        is_recorded: True once its record is handed over.
        usage_spans: Created at its end and not emitted yet.
        loop: Its event loop and context, for budget callbacks.
        marks: Budget marks that are not reached yet.
        matching: Reports that await their span.
        repeats: Reports of the same work.
        unreported: Work that nobody reported.
        estimates: Of that work, and of each agent turn's; None until the session ends.
        is_unreported_billed: True if the estimates of it are in the bill.
        spans: Spans below it, the oldest first.
    """

    key: SpanKey
    start_ns: int
    owner: weakref.ref[Any]
    source: Source
    attributes: Mapping[str, Any] = field(default_factory=dict)
    last_ns: int = 0
    is_ending: bool = False
    has_ended: bool = False
    is_dropped: bool = False
    is_charged: bool = False
    is_recorded: bool = False
    agent: str | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    names_trace: bool = True
    labels: list[Label] | None = None
    usage_spans: list[UsageSpan] = field(default_factory=list)
    loop: AbstractEventLoop | None = None
    context: Context | None = None
    marks: dict[str, None] = field(default_factory=lambda: {"warning": None, "exceeded": None})
    matching: Matching = field(default_factory=Matching)
    repeats: Repeats = field(default_factory=Repeats)
    unreported: UnreportedWork = field(default_factory=UnreportedWork)
    estimates: tuple[tuple[UnreportedPart, ...], dict[SpanKey, Decimal]] | None = None
    is_unreported_billed: bool = False
    spans: deque[SpanKey] = field(default_factory=deque)
    _bill: Bill = field(default_factory=Bill)
    _planned: PlannedCosts = field(default_factory=PlannedCosts)  # not in the bill, but for the sums above
    _open_turns: dict[SpanKey, Totals] = field(default_factory=dict)
    _ended_turns: list[TurnCost] = field(default_factory=list)
    _turn_keys: list[SpanKey] = field(default_factory=list)  # of the same
    _stt_usage: PendingCosts = field(default_factory=PendingCosts)  # since the last user turn
    _stt_before_turn: Totals = field(default_factory=Totals)  # goes to the next agent turn
    _unmatched: PendingCosts = field(default_factory=PendingCosts)

    @property
    def has_pending(self) -> bool:
        """True if costs wait for usage spans or, in an ended session, usage spans or late reports wait."""
        is_late = self.has_ended and bool(self.matching or self.usage_spans)
        return is_late or bool(self._stt_usage or self._unmatched)

    def touch(self, time_ns: int) -> None:
        """Record activity."""
        self.last_ns = max(self.last_ns, time_ns)

    # costs

    def add_cost(self, cost: AnyCost, turn: SpanKey | None = None) -> None:
        """Add a cost to the totals of the session and of an open turn."""
        self._add_to_bill(cost)
        totals = self._open_turns.get(turn) if turn is not None else None
        if totals is not None:
            totals.add(cost)

    def _add_to_bill(self, cost: AnyCost) -> None:
        if not (isinstance(cost, PlannedCost) and self._planned.add(cost)):
            self._bill.add(to_cost(cost))

    def add_pending(self, cost: AnyCost, time_ns: int, *, is_stt: bool) -> PendingCost | None:
        """Keep a cost for the next user turn (``is_stt``) or a usage span; return the oldest if too many wait."""
        overflow = (self._stt_usage if is_stt else self._unmatched).add(cost, time_ns)
        if overflow is not None:
            self._add_to_bill(overflow.cost)
        return overflow

    def pop_stt_usage(self, *, before_turn: bool = False, model: Usage | None = None) -> list[PendingCost]:
        """Remove and return the speech-to-text costs since the last call, the largest amount first.

        Args:
            before_turn: True to count them for the next agent turn too.
            model: A usage of the only model to take; None for all.
        """
        taken = self._stt_usage.pop_all() if model is None else self._stt_usage.pop_model(model.provider, model.model)
        for pending in taken:
            self._add_to_bill(pending.cost)
            if before_turn:
                self._stt_before_turn.add(pending.cost)
        return sorted(taken, key=_get_amount, reverse=True) if len(taken) > 1 else taken

    def pop_pending(self) -> Iterator[PendingCost]:
        """Remove and yield the costs that wait for a span."""
        for costs in (self._stt_usage, self._unmatched):
            while costs:
                pending = costs.pop_oldest()
                self._add_to_bill(pending.cost)
                yield pending

    # turns

    def begin_turn(self, turn: SpanKey) -> None:
        """Record the start of an agent turn."""
        self._open_turns[turn] = Totals()
        if len(self._open_turns) > _MAX_OPEN_TURNS:
            oldest = next(iter(self._open_turns))
            self._add_ended_turn(oldest, self._open_turns.pop(oldest))

    def pop_turn(self, turn: SpanKey) -> Totals:
        """Close an agent turn; return its costs and those of the speech-to-text before it."""
        totals = self._open_turns.pop(turn, None) or Totals()
        before, self._stt_before_turn = self._stt_before_turn, Totals()
        totals.merge(before)
        self._add_ended_turn(turn, totals)
        return totals

    def _add_ended_turn(self, turn: SpanKey, totals: Totals) -> None:
        if totals and len(self._ended_turns) < _MAX_TURNS:
            self._turn_keys.append(turn)
            self._ended_turns.append(
                TurnCost(
                    number=len(self._ended_turns) + 1,
                    by_component=totals.by_component,
                    unpriced_count=totals.unpriced,
                    estimated=totals.estimated,
                )
            )

    # totals

    @property
    def parts(self) -> tuple[CostPart, ...]:
        """The parts of the bill, including costs that wait for a span."""
        pending = self._pending()
        bill = self._bill.copy() if pending or self._planned else self._bill
        for count, cost in self._planned:
            bill.add(cost, count)
        for cost in pending:
            bill.add(cost)
        return bill.parts()

    def turns(self, unreported: Mapping[SpanKey, Decimal]) -> tuple[TurnCost, ...]:
        """The agent turns that have ended."""
        if not unreported:
            return tuple(self._ended_turns)
        return tuple(
            replace(cost, unreported_usd=unreported[turn]) if turn in unreported else cost
            for turn, cost in zip(self._turn_keys, self._ended_turns, strict=True)
        )

    @property
    def usd(self) -> Decimal:
        """US dollars so far, including costs that wait for a span."""
        pending = [cost.usd for cost in self._pending() if cost.usd is not None]
        return exact_sum([self._bill.usd, self._planned.usd, *pending])

    def _pending(self) -> list[Cost]:
        return [to_cost(cost) for cost in self._stt_usage.costs() + self._unmatched.costs()]


def to_cost(cost: AnyCost) -> Cost:
    """Return a cost in full."""
    return cost.to_cost() if isinstance(cost, PlannedCost) else cost


def _get_amount(pending: PendingCost) -> Decimal:
    return exact_sum(to_cost(pending.cost).usage.quantities.values())


class SessionRegistry:
    """The live sessions of a process, and the last ended ones for late reports.

    Attributes:
        gate: The lock of all state in here; steps called during another step are postponed.
        spans: The spans of all sessions.
        has_seen_spans: True once a span of a framework has begun.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget everything."""
        self.gate.reset()
        self.spans = SpanTree()
        self.has_seen_spans = False
        self._live: OrderedDict[SpanKey, Session] = OrderedDict()
        self._ended: OrderedDict[SpanKey, Session] = OrderedDict()
        self._traces: OrderedDict[str, TraceCost] = OrderedDict()

    def open(
        self,
        key: SpanKey,
        start_ns: int,
        *,
        owner: object,
        source: Source,
        attributes: Mapping[str, Any] = _NO_ATTRIBUTES,
    ) -> tuple[Session, list[Session]]:
        """Begin a session.

        Args:
            key: Trace and span id of its span.
            start_ns: Its start, nanoseconds since the epoch.
            owner: The `Accounting` that is responsible for it.
            source: Source of its span.
            attributes: Live view of its span's attributes. The span itself would keep its provider alive.

        Returns:
            The session, and the sessions dropped because they were inactive or too many.
        """
        session = Session(
            key=key,
            start_ns=start_ns,
            owner=weakref.ref(owner),
            source=source,
            attributes=attributes,
            last_ns=start_ns,
        )
        self._ended.pop(key, None)  # ids may repeat
        self.spans.begin_session(key, session)
        self._live[key] = session
        return session, self._drop_silent(start_ns)

    def close(self, session: Session) -> list[Session]:
        """End a session; return the oldest ended sessions if there are too many."""
        session.has_ended, session.attributes, session.loop, session.context = True, _NO_ATTRIBUTES, None, None
        if self._live.get(session.key) is session:  # ids may repeat: another session may have it
            del self._live[session.key]
            self._ended[session.key] = session
            self.spans.forget_session(session, keep=_MAX_SPANS_OF_ENDED)
        dropped = []
        while len(self._ended) > _MAX_ENDED_SESSIONS:
            dropped.append(self._drop(self._ended, next(iter(self._ended))))
        return dropped

    def drain(self, owner: object) -> list[Session]:
        """Remove and return a processor's sessions, ended and live."""
        return [
            self._drop(sessions, session.key)
            for sessions in (self._ended, self._live)
            for session in list(sessions.values())
            if session.owner() is owner
        ]

    def with_pending(self, owner: object) -> list[Session]:
        """Return a processor's sessions with costs for usage spans."""
        return [
            session
            for session in (*self._live.values(), *self._ended.values())
            if session.has_pending and session.owner() is owner
        ]

    def running(self, owner: object = None) -> list[Session]:
        """Return all live sessions, or those that one processor accounts for."""
        live = [(session, session.owner()) for session in self._live.values() if not session.has_ended]
        return [session for session, of in live if of is not None and (owner is None or of is owner)]

    def only_running(self, owner: object = None, source: Source | None = None) -> Session | None:
        """Return the live session, or None unless there is exactly one.

        Args:
            owner: Only those that one processor accounts for.
            source: Only those of one framework.
        """
        found: Session | None = None
        for session in self._live.values():
            of = session.owner()
            if of is None or session.has_ended or (owner is not None and of is not owner):
                continue
            if source is not None and session.source.name != source.name:
                continue
            if found is not None:
                return None
            found = session
        return found

    def add_to_trace(self, record: SessionCost) -> TraceCost:
        """Add the record of an ended session; return the cost of the ended sessions of its trace."""
        before = self._traces.pop(record.trace_id, TraceCost())
        self._traces[record.trace_id] = cost = before.plus(record)
        if len(self._traces) > _MAX_TRACES:
            self._traces.popitem(last=False)
        return cost

    def _drop_silent(self, now_ns: int) -> list[Session]:
        dropped, looked_at = list[Session](), set[SpanKey]()
        while self._live and len(dropped) < _MAX_DROPPED_AT_ONCE:
            key, oldest = next(iter(self._live.items()))
            is_silent = now_ns - oldest.last_ns >= _MAX_SILENCE_NS
            if is_silent or len(self._live) > _MAX_SESSIONS or oldest.owner() is None:
                dropped.append(self._drop(self._live, key))
            elif now_ns - oldest.start_ns >= _MAX_SILENCE_NS and key not in looked_at:
                self._live.move_to_end(key)  # old but active; the next may be inactive
                looked_at.add(key)
            else:
                break
        return dropped

    def _drop(self, sessions: OrderedDict[SpanKey, Session], key: SpanKey) -> Session:
        session = sessions.pop(key)
        session.is_dropped = True
        self.spans.forget_session(session)
        return session


REGISTRY = SessionRegistry()
"""The sessions of this process."""
