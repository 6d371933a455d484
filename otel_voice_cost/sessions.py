"""Which session a span or event belongs to, what still waits for its span, and running totals.

A session begins with its ``agent_session`` span. Spans inherit it from their parent. Reports of usage
wait here for the span that carries them, speech-to-text for the next ``user_turn``. What no span
claimed is settled when the session ends. Everything is bounded in number and age.

Nothing here prices or reads attributes, and no lock is held while somebody does.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from ._forks import reset_after_fork
from .bill import Bill, CostPart, TurnCost
from .cost import EXACT, Cost, summed, total_usd
from .livekit.events import SpanKey, UsageEvent
from .livekit.spans import SESSION_IDS
from .usage import Component

__all__ = ["Accrued", "Session", "SessionBook", "SpanNode", "Totals"]

_MAX_WAITING = 4_096  # reports of one session that no span has claimed yet
_MAX_ENDED_SPANS = 512  # ended spans of one session that late children and events may still name
_MAX_ENDED_SESSIONS = 64
_MAX_TURNS = 4_096  # of one session in its record
_MAX_SESSIONS = 10_000
_MAX_AGE_NS = 24 * 3_600 * 10**9


class _BoundedCounter:
    """A multiset of texts that forgets its oldest."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, key: str) -> None:
        self._counts[key] = self._counts.pop(key, 0) + 1
        if len(self._counts) > _MAX_WAITING:
            self._counts.popitem(last=False)

    def take(self, key: str) -> bool:
        """Remove one ``key`` and say whether there was one."""
        count = self._counts.get(key, 0)
        if count > 1:
            self._counts[key] = count - 1
        elif count:
            del self._counts[key]
        return count > 0


class Totals:
    """Running cost per component, in US dollars."""

    __slots__ = ("by_component", "estimated", "unpriced")

    def __init__(self) -> None:
        self.by_component: dict[Component, Decimal] = {}
        self.unpriced = 0
        self.estimated = False

    def add(self, cost: Cost) -> None:
        """Add one cost; an unpriced one is counted."""
        if cost.usd is None:
            self.unpriced += 1
            return
        self._plus(cost.usage.component, cost.usd)
        self.estimated |= cost.estimated

    def merge(self, other: Totals) -> None:
        """Add another total."""
        for component, usd in other.by_component.items():
            self._plus(component, usd)
        self.unpriced += other.unpriced
        self.estimated = self.estimated or other.estimated

    @property
    def usd(self) -> Decimal:
        """US dollars of all components."""
        return total_usd(self.by_component.values())

    def _plus(self, component: Component, usd: Decimal) -> None:
        before = self.by_component.get(component)
        self.by_component[component] = usd if before is None else EXACT.add(before, usd)

    def __bool__(self) -> bool:
        return bool(self.by_component or self.unpriced)


@dataclass(slots=True)
class Accrued:
    """Costs of one component and model that wait for a span, and when they were reported."""

    cost: Cost
    first_ns: int
    last_ns: int

    def add(self, cost: Cost, time_ns: int) -> None:
        """Add a cost of the same component and model."""
        self.cost = summed([self.cost, cost])
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)


_Model = tuple[Component, str, str]
_Accruals = dict[_Model, Accrued]


@dataclass(eq=False, repr=False, slots=True)
class Session:
    """One AgentSession."""

    key: SpanKey
    start_ns: int
    passive: bool  # another processor does the accounting
    span: ReadableSpan | None = None  # while it runs
    ended: bool = False
    agent: str | None = None  # its name; empty where it has none
    bill: Bill = field(default_factory=Bill)
    ended_turns: list[TurnCost] = field(default_factory=list)
    loop: AbstractEventLoop | None = None  # and context it runs in, for a budget's callbacks
    context: Context | None = None
    budget_warned: bool = False
    budget_exceeded: bool = False
    heard: _Accruals = field(default_factory=dict)  # speech-to-text since the last user turn
    heard_before_turn: Totals = field(default_factory=Totals)  # goes to the next agent turn
    unclaimed: _Accruals = field(default_factory=dict)  # priced, for spans of our own
    turns: dict[SpanKey, Totals] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)  # for spans of our own
    waiting: OrderedDict[str, deque[UsageEvent]] = field(default_factory=OrderedDict)
    waiting_count: int = 0
    early: _BoundedCounter = field(default_factory=_BoundedCounter)  # span came before its event
    settled: _BoundedCounter = field(default_factory=_BoundedCounter)  # priced without its span
    spans: dict[SpanKey, None] = field(default_factory=dict)
    ended_spans: deque[SpanKey] = field(default_factory=deque)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Of its span, by now; empty once it has ended."""
        return (self.span.attributes if self.span else None) or {}


@dataclass(eq=False, repr=False, slots=True)
class SpanNode:
    """What is known of a turn or request, and shared by the spans below it that are neither."""

    session: Session | None
    turn: SpanKey | None  # the agent turn above it, or itself
    request: SpanNode | None = None  # the nearest request above it, or itself
    component: Component | None = None  # of the request, if it is one
    outer: SpanNode | None = None  # the request that this request is part of
    covered: bool = False  # a request inside it bills

    def cover(self) -> None:
        """Note that this request bills: those it is part of only repeat it."""
        outer = self.outer
        while outer is not None and outer.component is self.component:
            outer.covered = True
            outer = outer.outer


_OUTSIDE = SpanNode(session=None, turn=None)


class SessionBook:
    """All live sessions of one processor, and the last ended ones for what comes late."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget everything."""
        self._lock = Lock()
        self._nodes: dict[SpanKey, SpanNode] = {}
        self._outside: dict[SpanKey, None] = {}  # spans of requests outside any session
        self._live: OrderedDict[SpanKey, Session] = OrderedDict()
        self._ended: OrderedDict[SpanKey, Session] = OrderedDict()

    def open(self, key: SpanKey, start_ns: int, *, passive: bool, span: ReadableSpan | None = None) -> list[Session]:
        """Begin a session; return the sessions dropped for their age or number."""
        session = Session(key=key, start_ns=start_ns, passive=passive, span=span)
        with self._lock:
            self._nodes[key] = SpanNode(session=session, turn=None)
            session.spans[key] = None
            self._live[key] = session
            return self._dropped(start_ns)

    def begin(
        self, key: SpanKey, above: SpanNode | None, *, is_turn: bool = False, request: Component | None = None
    ) -> None:
        """Note a span that begins below a known one, and requests anywhere.

        Args:
            key: The span.
            above: What is known of its parent.
            is_turn: Whether it is an agent turn.
            request: The component, if the span is a request.
        """
        if above is None:
            if request is None:
                return
            above = _OUTSIDE
        session, node = above.session, above
        if is_turn or request is not None:
            node = SpanNode(session=session, turn=key if is_turn else above.turn, request=above.request)
        if request is not None:
            node.component, node.outer, node.request = request, above.request, node
        with self._lock:
            self._nodes[key] = node
            spans = session.spans if session else self._outside
            spans[key] = None
            if session is None and len(spans) > _MAX_WAITING:
                self._forget(spans, next(iter(spans)))
            elif session is not None and is_turn:
                session.turns[key] = Totals()

    def node(self, key: SpanKey) -> SpanNode | None:
        """What is known of a span, also some time after its end."""
        return self._nodes.get(key)

    def finish(self, key: SpanKey) -> None:
        """Note the end of a span. Late children and events still find it for a while."""
        node = self._nodes.get(key)
        if node is None:
            return
        session = node.session
        with self._lock:
            if session is None:
                self._forget(self._outside, key)
                return
            session.ended_spans.append(key)
            if len(session.ended_spans) > _MAX_ENDED_SPANS:
                self._forget(session.spans, session.ended_spans.popleft())

    def close(self, session: Session) -> list[Session]:
        """End a session; return the ended sessions dropped for their number."""
        with self._lock:
            session.ended, session.span, session.loop, session.context = True, None, None, None
            if self._live.pop(session.key, None) is not None:
                self._ended[session.key] = session
            dropped = []
            while len(self._ended) > _MAX_ENDED_SESSIONS:
                dropped.append(self._drop(self._ended))
            return dropped

    def drain(self, *, live: bool) -> Iterator[Session]:
        """The ended sessions, and the live ones too if asked; those are dropped."""
        with self._lock:
            sessions = list(self._ended.values())
            while live and self._live:
                sessions.append(self._drop(self._live))
        yield from sessions

    def running(self) -> list[Session]:
        """The live sessions that this processor accounts for."""
        with self._lock:
            return [session for session in self._live.values() if not session.passive]

    # reports of usage

    def report(self, session: Session, event: UsageEvent) -> UsageEvent | None:
        """Keep a report for its span. Return the oldest if there are too many: settle it now."""
        with self._lock:
            if session.early.take(event.text):
                return None
            session.waiting.setdefault(event.text, deque()).append(event)
            session.waiting_count += 1
            return self._oldest(session) if session.waiting_count > _MAX_WAITING else None

    def claim(self, session: Session, text: str) -> bool:
        """Match a span with its report. False: it was settled before, so it is not priced again."""
        with self._lock:
            if text in session.waiting:
                self._take(session, text)
                return True
            if session.settled.take(text):
                return False
            session.early.add(text)
            return True

    def claim_like(self, session: Session, component: Component, fragments: tuple[str, ...]) -> UsageEvent | None:
        """Match a span that lost its metrics: the oldest report whose JSON has all the fragments."""
        with self._lock:
            for text, events in session.waiting.items():
                if events[0].component is component and all(part in text for part in fragments):
                    session.settled.add(text)  # the span that carries it may end later
                    return self._take(session, text)
        return None

    def unclaimed(self, session: Session) -> list[UsageEvent]:
        """Take all reports that no span has claimed."""
        with self._lock:
            events = []
            while session.waiting:
                events.append(self._oldest(session))
            return events

    def accrue(self, session: Session, cost: Cost, time_ns: int, *, heard: bool) -> None:
        """Keep a cost for the next user turn (``heard``) or for a span of our own."""
        usage = cost.usage
        model = (usage.component, usage.provider, usage.model)
        with self._lock:
            accruals = session.heard if heard else session.unclaimed
            if model in accruals:
                accruals[model].add(cost, time_ns)
            else:
                accruals[model] = Accrued(cost, time_ns, time_ns)

    def take_heard(self, session: Session) -> list[Accrued]:
        """What speech-to-text reported since the last call, the model that heard most first."""
        with self._lock:
            heard, session.heard = session.heard, {}
        return sorted(heard.values(), key=lambda accrued: -sum(accrued.cost.usage.quantities.values()))

    def take_unclaimed(self, session: Session) -> list[Accrued]:
        """The costs that wait for a span of our own."""
        with self._lock:
            unclaimed, session.unclaimed = session.unclaimed, {}
        return list(unclaimed.values())

    # totals

    def add_cost(self, session: Session, cost: Cost, turn: SpanKey | None, *, before_turn: bool = False) -> None:
        """Add a cost to its session's total and its turn's."""
        with self._lock:
            session.bill.add(cost)
            if before_turn:
                session.heard_before_turn.add(cost)
            elif turn in session.turns:
                session.turns[turn].add(cost)

    def take_turn(self, session: Session, turn: SpanKey) -> Totals:
        """Close a turn: its own costs and what was heard before it."""
        with self._lock:
            totals = session.turns.pop(turn, None) or Totals()
            heard, session.heard_before_turn = session.heard_before_turn, Totals()
            totals.merge(heard)
            if totals and len(session.ended_turns) < _MAX_TURNS:
                session.ended_turns.append(
                    TurnCost(
                        number=len(session.ended_turns) + 1,
                        by_component=totals.by_component,
                        unpriced=totals.unpriced,
                        estimated=totals.estimated,
                    )
                )
            return totals

    def bill_of(self, session: Session) -> tuple[tuple[CostPart, ...], tuple[TurnCost, ...]]:
        """The parts of a session's bill, with what waits for its span, and its turns so far."""
        with self._lock:
            bill = session.bill.copy()
            for accrued in (*session.heard.values(), *session.unclaimed.values()):
                bill.add(accrued.cost)
            return bill.parts(), tuple(session.ended_turns)

    def spent(self, session: Session) -> Decimal:
        """US dollars of a session so far, with what waits for its span."""
        with self._lock:
            waiting = (*session.heard.values(), *session.unclaimed.values())
            return total_usd([session.bill.usd, *(a.cost.usd for a in waiting if a.cost.usd is not None)])

    def find(self, session_id: str) -> Session | None:
        """The running session that has this id: its trace's, or one its span carries."""
        for session in self.running():
            ids = {**session.identity, **session.attributes}
            if session_id == f"{session.key[0]:032x}" or session_id in [ids.get(key) for key in SESSION_IDS]:
                return session
        return None

    # the rest needs the lock

    def _take(self, session: Session, text: str) -> UsageEvent:
        events = session.waiting[text]
        event = events.popleft()
        if not events:
            del session.waiting[text]
        session.waiting_count -= 1
        return event

    def _oldest(self, session: Session) -> UsageEvent:
        text = next(iter(session.waiting))
        session.settled.add(text)
        return self._take(session, text)

    def _dropped(self, now_ns: int) -> list[Session]:
        dropped = []
        while self._live:
            oldest = next(iter(self._live.values()))
            if len(self._live) <= _MAX_SESSIONS and now_ns - oldest.start_ns < _MAX_AGE_NS:
                break
            dropped.append(self._drop(self._live))
        return dropped

    def _drop(self, sessions: OrderedDict[SpanKey, Session]) -> Session:
        _, session = sessions.popitem(last=False)
        for key in list(session.spans):
            self._forget(session.spans, key)
        return session

    def _forget(self, spans: dict[SpanKey, None], key: SpanKey) -> None:
        spans.pop(key, None)
        self._nodes.pop(key, None)
