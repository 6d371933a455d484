"""Which session a span or event belongs to, what still waits for its span, and running totals.

A session begins with its ``agent_session`` span. Spans inherit it from their parent. Reports of usage
wait here for the span that carries them, speech-to-text for the next ``user_turn``. What no span
claimed is settled when the session ends. Everything is bounded in number and age.

There is one book in a process: LiveKit may use another provider, with another processor, while a session runs.
The processor that saw a session begin accounts for it.

Nothing here prices or reads attributes, and the lock is not held while somebody does.
"""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from ._forks import reset_after_fork
from ._reentry import Gate
from .bill import Bill, CallCost, CostPart, TraceCost, TurnCost
from .cost import EXACT, Cost, summed, total_of
from .livekit.events import SpanKey, UsageEvent
from .livekit.spans import SESSION_IDS
from .usage import Component

__all__ = ["BOOK", "Accruals", "Accrued", "Reports", "Session", "SessionBook", "SpanNode", "Totals", "add_accrual"]

_MAX_WAITING = 32  # reports of one session that no span has claimed: each further one settles the oldest
_MAX_ACCRUED = 8  # models of one session whose cost waits for a span: each further one gets a span at once
_MAX_REMEMBERED = 4_096  # texts of reports, and requests outside sessions
_MAX_SPANS = 65_536  # of one running session that children and events may still name, ended or not
_MAX_ENDED_SPANS = 512  # of one that has ended
_MAX_ENDED_SESSIONS = 64
_MAX_NESTED = 32  # requests around one another that are told of the innermost
_MAX_OPEN_TURNS = 64  # of one session; the oldest is taken to have ended
_MAX_TURNS = 4_096  # of one session in its record
_MAX_SESSIONS = 10_000
_MAX_TRACES = 1_024
_REPEAT_NS = 2 * 10**9  # within which a class around another component reports its work once more
_MAX_SILENCE_NS = 24 * 3_600 * 10**9  # of a session, until it is taken to be over
_MAX_DROPPED = 4  # sessions, with each that begins
_SWEEP = 4  # spans of dropped sessions that are forgotten with each span that begins


class _BoundedCounter:
    """A multiset of texts that forgets its oldest."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, key: str) -> None:
        self._counts[key] = self._counts.pop(key, 0) + 1
        if len(self._counts) > _MAX_REMEMBERED:
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
        return total_of(self.by_component.values())

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


def _amount_heard(accrued: Accrued) -> Decimal:
    return total_of(accrued.cost.usage.quantities.values())


class Reports:
    """The last reports of work that no span tells apart; a class around another component reports its work once more.

    It does so at once. Where the vendor names no request, the amounts alone say little: then one of the two objects
    must have the other as an attribute, too.
    """

    def __init__(self) -> None:
        self._work: OrderedDict[Hashable, list[list[UsageEvent]]] = OrderedDict()  # its reports, by component and work

    def is_repeat(self, event: UsageEvent) -> bool:
        """Note a report, and say whether another object has reported the same work just before."""
        if event.work is None:
            return False
        key, since_ns = (event.component, event.work), event.time_ns - _REPEAT_NS
        recent = [reports for reports in self._work.get(key, ()) if reports[0].time_ns >= since_ns][-_MAX_WAITING:]
        known = next((reports for reports in recent if _is_of(event, reports)), None)
        if known is None:
            recent.append([event])
        else:
            known.append(event)
        self._work[key] = recent
        self._work.move_to_end(key)
        if len(self._work) > _MAX_REMEMBERED:
            self._work.popitem(last=False)
        return known is not None


def _is_of(event: UsageEvent, reports: list[UsageEvent]) -> bool:
    """Whether a report repeats others: of a named request, or of one of two objects around another."""
    if any(event.reporter == other.reporter for other in reports):
        return False
    names_request = event.work is not None and bool(event.work[0])
    return names_request or any(o.reporter in event.holds or event.reporter in o.holds for o in reports)


Accruals = dict[tuple[Component, str, str, bool], Accrued]  # by model; what could not be read apart


def add_accrual(accruals: Accruals, cost: Cost, time_ns: int) -> Accrued | None:
    """Add a cost to those that wait for a span; return the oldest if there are too many."""
    usage = cost.usage
    key = (usage.component, usage.provider, usage.model, bool(usage.quantities))
    if key in accruals:
        accruals[key].add(cost, time_ns)
    else:
        accruals[key] = Accrued(cost, time_ns, time_ns)
    return accruals.pop(next(iter(accruals))) if len(accruals) > _MAX_ACCRUED else None


@dataclass(eq=False, repr=False, slots=True)
class Session:
    """One AgentSession."""

    key: SpanKey
    start_ns: int
    owner: weakref.ref[Any]  # the processor that accounts for it
    attributes: Mapping[str, Any] = field(default_factory=dict)  # of its span, by now; empty once it has ended
    last_ns: int = 0  # its last sign of life
    ending: bool = False  # somebody has begun to end it
    ended: bool = False
    dropped: bool = False  # and forgotten: what comes now belongs to no session
    agent: str | None = None  # its name; empty where it has none
    bill: Bill = field(default_factory=Bill)
    ended_turns: list[TurnCost] = field(default_factory=list)
    loop: AbstractEventLoop | None = None  # and context it runs in, for a budget's callbacks
    context: Context | None = None
    marks: dict[str, None] = field(default_factory=lambda: {"warned": None, "exceeded": None})  # not reached yet
    heard: Accruals = field(default_factory=dict)  # speech-to-text since the last user turn
    heard_before_turn: Totals = field(default_factory=Totals)  # goes to the next agent turn
    unclaimed: Accruals = field(default_factory=dict)  # priced, for spans of our own
    turns: dict[SpanKey, Totals] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)  # for spans of our own
    own_spans: list[Any] = field(default_factory=list)  # made of it when it ends; kept where that is interrupted
    waiting: OrderedDict[str, deque[UsageEvent]] = field(default_factory=OrderedDict)
    waiting_count: int = 0
    reports: Reports = field(default_factory=Reports)
    early: _BoundedCounter = field(default_factory=_BoundedCounter)  # span came before its event
    settled: _BoundedCounter = field(default_factory=_BoundedCounter)  # priced without its span
    spans: deque[SpanKey] = field(default_factory=deque)  # the oldest first, without its own


@dataclass(eq=False, repr=False, slots=True)
class SpanNode:
    """What is known of a turn or request, and shared by the spans below it that are neither."""

    session: Session | None
    turn: SpanKey | None  # the agent turn above it, or itself
    request: SpanNode | None = None  # the nearest request above it, or itself
    component: Component | None = None  # of the request, if it is one
    outer: SpanNode | None = None  # the request that this request is part of
    covered: bool = False  # a request inside it bills
    work_inside: list[Hashable] = field(default_factory=list)  # of the last requests inside it that bill

    def cover(self, work: Hashable) -> None:
        """Note that this request bills: those it is part of may only repeat it.

        Args:
            work: What tells its work apart; None where nothing can.
        """
        outer = self.outer
        for _ in range(_MAX_NESTED):
            if outer is None or outer.component is not self.component:
                return
            outer.covered = True
            if work is not None:
                outer.work_inside = [*outer.work_inside[1 - _MAX_WAITING :], work]
            outer = outer.outer


_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})
_OUTSIDE = SpanNode(session=None, turn=None)


class SessionBook:
    """All live sessions of a process, and the last ended ones for what comes late.

    Attributes:
        gate: Its lock. Whoever is called from inside, by a garbage collection or signal handler, waits there.
        has_seen_livekit: Whether any span of LiveKit's has begun.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget everything."""
        self.gate.reset()
        self.has_seen_livekit = False
        self._nodes: dict[SpanKey, SpanNode] = {}
        self._open: set[SpanKey] = set()
        self._outside: OrderedDict[SpanKey, None] = OrderedDict()  # spans of requests outside any session
        self._live: OrderedDict[SpanKey, Session] = OrderedDict()
        self._ended: OrderedDict[SpanKey, Session] = OrderedDict()
        self._traces: OrderedDict[str, TraceCost] = OrderedDict()
        self._to_forget: deque[tuple[Session, deque[SpanKey]]] = deque()

    def open(
        self, key: SpanKey, start_ns: int, *, owner: object, attributes: Mapping[str, Any] = _NO_ATTRIBUTES
    ) -> list[Session]:
        """Begin a session; return the sessions dropped for their silence or number.

        Args:
            key: Its span.
            start_ns: Its start, nanoseconds since the epoch.
            owner: The processor that accounts for it.
            attributes: Of the live span, a view. The span itself leads to its provider, which would never be freed.
        """
        session = Session(key=key, start_ns=start_ns, last_ns=start_ns, owner=weakref.ref(owner), attributes=attributes)
        with self.gate.lock:
            self._ended.pop(key, None)  # where ids repeat
            self._nodes[key] = SpanNode(session=session, turn=None)
            self._open.add(key)
            self._live[key] = session
            return self._dropped(start_ns)

    def begin(
        self,
        key: SpanKey,
        above: SpanNode | None,
        *,
        start_ns: int = 0,
        is_turn: bool = False,
        request: Component | None = None,
    ) -> None:
        """Note a span that begins below a known one, and requests anywhere.

        Args:
            key: The span.
            above: What is known of its parent.
            start_ns: Its start, nanoseconds since the epoch.
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
        with self.gate.lock:
            if self.is_open(key):  # another processor of the provider was first
                return
            self._nodes[key] = node
            self._open.add(key)
            if session is None:
                self._outside[key] = None
                if len(self._outside) > _MAX_REMEMBERED:
                    self._forget(self._outside.popitem(last=False)[0])
            else:
                session.last_ns = max(session.last_ns, start_ns)
                self._note(session, key, is_turn=is_turn)
            if self._to_forget:
                self._sweep()

    def node(self, key: SpanKey) -> SpanNode | None:
        """What is known of a span, also some time after its end."""
        node = self._nodes.get(key)
        return None if node is None or (node.session is not None and node.session.dropped) else node

    def is_open(self, key: SpanKey) -> bool:
        """Whether the span is known and has not ended."""
        return key in self._open and self.node(key) is not None

    def is_over(self, key: SpanKey) -> bool:
        """Whether another processor of the provider has had the end of this span before."""
        return key not in self._open and key in self._nodes

    def finish(self, key: SpanKey) -> None:
        """Note the end of a span. Late children and events still find it while its session lasts, and for a while."""
        self._open.discard(key)
        if key in self._outside:
            with self.gate.lock:
                self._outside.pop(key, None)
                self._forget(key)

    def begin_to_end(self, session: Session) -> bool:
        """Claim the end of a session, which can come from two sides at once: its span and a shutdown."""
        with self.gate.lock:
            was_ending, session.ending = session.ending, True
            return not was_ending

    def close(self, session: Session) -> list[Session]:
        """End a session; return the ended sessions dropped for their number."""
        with self.gate.lock:
            session.ended, session.attributes, session.loop, session.context = True, _NO_ATTRIBUTES, None, None
            if self._live.pop(session.key, None) is not None:
                self._ended[session.key] = session
                late = len(session.spans) - _MAX_ENDED_SPANS
                if late > 0:
                    self._to_forget.append((session, deque(session.spans.popleft() for _ in range(late))))
            dropped = []
            while len(self._ended) > _MAX_ENDED_SESSIONS:
                dropped.append(self._drop(self._ended, next(iter(self._ended))))
            return dropped

    def drain(self, owner: object) -> list[Session]:
        """A processor's sessions, ended and live; all are dropped."""
        with self.gate.lock:
            return [
                self._drop(sessions, session.key)
                for sessions in (self._ended, self._live)
                for session in list(sessions.values())
                if session.owner() is owner
            ]

    def unsettled(self, owner: object) -> list[Session]:
        """A processor's sessions that hold costs for spans of our own, and the ended ones that have heard late."""
        with self.gate.lock:
            return [
                session
                for session in (*self._live.values(), *self._ended.values())
                if session.owner() is owner
                and (session.heard or session.unclaimed or (session.ended and session.waiting))
            ]

    def running(self, owner: object = None) -> list[Session]:
        """The live sessions: all, or those that one processor accounts for."""
        with self.gate.lock:
            live = [(session, session.owner()) for session in self._live.values() if not session.ended]
        return [session for session, of in live if of is not None and (owner is None or of is owner)]

    def only_running(self, owner: object = None) -> Session | None:
        """The live session, of all or of those that one processor accounts for; None where there are more or none."""
        found: Session | None = None
        with self.gate.lock:
            for session in self._live.values():
                of = session.owner()
                if of is None or session.ended or (owner is not None and of is not owner):
                    continue
                if found is not None:
                    return None
                found = session
        return found

    def add_to_trace(self, record: CallCost) -> TraceCost:
        """Note the record of a session that has ended; return what the ended sessions of its trace cost."""
        with self.gate.lock:
            before = self._traces.pop(record.trace_id, TraceCost())
            self._traces[record.trace_id] = cost = before.plus(record)
            if len(self._traces) > _MAX_TRACES:
                self._traces.popitem(last=False)
            return cost

    # reports of usage

    def report(self, session: Session, event: UsageEvent) -> UsageEvent | None:
        """Keep a report for its span. Return the oldest if there are too many: settle it now."""
        with self.gate.lock:
            if session.early.take(event.text):
                return None
            session.waiting.setdefault(event.text, deque()).append(event)
            session.waiting_count += 1
            return self._oldest(session) if session.waiting_count > _MAX_WAITING else None

    def claim(self, session: Session, text: str) -> bool:
        """Match a span with its report. False: it was settled before, so it is not priced again."""
        with self.gate.lock:
            if text in session.waiting:
                self._take(session, text)
                return True
            if session.settled.take(text):
                return False
            session.early.add(text)
            return True

    def claim_like(self, session: Session, component: Component, fragments: tuple[str, ...]) -> UsageEvent | None:
        """Match a span that lost its metrics: the oldest report whose JSON has all the fragments."""
        with self.gate.lock:
            for text, events in session.waiting.items():
                if events[0].component is component and all(part in text for part in fragments):
                    session.settled.add(text)  # the span that carries it may end later
                    return self._take(session, text)
        return None

    def unclaimed(self, session: Session) -> Iterator[UsageEvent]:
        """Take all reports that no span has claimed, one after the other."""
        while True:
            with self.gate.lock:
                if not session.waiting:
                    return
                event = self._oldest(session)
            yield event

    def is_repeat(self, session: Session, event: UsageEvent) -> bool:
        """Whether another object of the session has reported this work before: a class around the one that did it."""
        with self.gate.lock:
            return session.reports.is_repeat(event)

    def accrue(self, session: Session, cost: Cost, time_ns: int, *, heard: bool) -> Accrued | None:
        """Keep a cost for the next user turn (``heard``) or for a span of our own. Return one that waits no longer.

        A cost that leaves is added to the session's total in the same step, here and in the two methods below.
        """
        with self.gate.lock:
            overflow = add_accrual(session.heard if heard else session.unclaimed, cost, time_ns)
            if overflow is not None:
                session.bill.add(overflow.cost)
            return overflow

    def take_heard(self, session: Session, *, before_turn: bool = False) -> list[Accrued]:
        """What speech-to-text reported since the last call, the model that heard most first.

        Args:
            session: The session.
            before_turn: Whether it counts for the next agent turn too.
        """
        with self.gate.lock:
            heard, session.heard = session.heard, {}
            for accrued in heard.values():
                session.bill.add(accrued.cost)
                if before_turn:
                    session.heard_before_turn.add(accrued.cost)
        return sorted(heard.values(), key=_amount_heard, reverse=True)

    def take_unclaimed(self, session: Session) -> list[Accrued]:
        """The costs that wait for a span of our own."""
        with self.gate.lock:
            unclaimed, session.unclaimed = session.unclaimed, {}
            for accrued in unclaimed.values():
                session.bill.add(accrued.cost)
        return list(unclaimed.values())

    # totals

    def add_cost(self, session: Session, cost: Cost, turn: SpanKey | None) -> None:
        """Add a cost to its session's total and its turn's."""
        with self.gate.lock:
            session.bill.add(cost)
            if turn in session.turns:
                session.turns[turn].add(cost)

    def take_turn(self, session: Session, turn: SpanKey) -> Totals:
        """Close a turn: its own costs and what was heard before it."""
        with self.gate.lock:
            totals = session.turns.pop(turn, None) or Totals()
            heard, session.heard_before_turn = session.heard_before_turn, Totals()
            totals.merge(heard)
            self._end_turn(session, totals)
            return totals

    def bill_of(self, session: Session) -> tuple[tuple[CostPart, ...], tuple[TurnCost, ...]]:
        """The parts of a session's bill, with what waits for its span, and its turns so far."""
        with self.gate.lock:
            waiting = (*session.heard.values(), *session.unclaimed.values())
            bill = session.bill.copy() if waiting else session.bill
            for accrued in waiting:
                bill.add(accrued.cost)
            return bill.parts(), tuple(session.ended_turns)

    def spent(self, session: Session) -> Decimal:
        """US dollars of a session so far, with what waits for its span."""
        with self.gate.lock:
            waiting = (*session.heard.values(), *session.unclaimed.values())
            return total_of([session.bill.usd, *(a.cost.usd for a in waiting if a.cost.usd is not None)])

    def find(self, owner: object, session_id: str) -> Session | None:
        """The running session that has this id: its trace's, or one its span carries."""
        for session in self.running(owner):
            found = (session.identity, session.attributes)
            if session_id == f"{session.key[0]:032x}" or any(
                session_id == ids.get(key) for ids in found for key in SESSION_IDS
            ):
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

    def _note(self, session: Session, key: SpanKey, *, is_turn: bool) -> None:
        session.spans.append(key)
        if len(session.spans) > _MAX_SPANS:
            self._forget(session.spans.popleft())
        if is_turn:
            session.turns[key] = Totals()
            if len(session.turns) > _MAX_OPEN_TURNS:
                self._end_turn(session, session.turns.pop(next(iter(session.turns))))

    def _end_turn(self, session: Session, totals: Totals) -> None:
        if totals and len(session.ended_turns) < _MAX_TURNS:
            session.ended_turns.append(
                TurnCost(
                    number=len(session.ended_turns) + 1,
                    by_component=totals.by_component,
                    unpriced=totals.unpriced,
                    estimated=totals.estimated,
                )
            )

    def _dropped(self, now_ns: int) -> list[Session]:
        dropped, looked_at = list[Session](), set[SpanKey]()
        while self._live and len(dropped) < _MAX_DROPPED:
            key, oldest = next(iter(self._live.items()))
            is_silent = now_ns - oldest.last_ns >= _MAX_SILENCE_NS
            if is_silent or len(self._live) > _MAX_SESSIONS or oldest.owner() is None:
                dropped.append(self._drop(self._live, key))
            elif now_ns - oldest.start_ns >= _MAX_SILENCE_NS and key not in looked_at:
                self._live.move_to_end(key)  # old, and it speaks; the next may be silent
                looked_at.add(key)
            else:
                break
        return dropped

    def _drop(self, sessions: OrderedDict[SpanKey, Session], key: SpanKey) -> Session:
        session = sessions.pop(key)
        session.dropped = True
        self._forget(key)
        if session.spans:
            self._to_forget.append((session, session.spans))
        return session

    def _sweep(self) -> None:
        """Forget some spans of sessions that are over: all at once would take too long."""
        session, spans = self._to_forget[0]
        for _ in range(min(_SWEEP, len(spans))):
            key = spans.popleft()
            node = self._nodes.get(key)
            if node is not None and node.session is session:  # where ids repeat, it may be another's by now
                self._forget(key)
        if not spans:
            self._to_forget.popleft()

    def _forget(self, key: SpanKey) -> None:
        self._nodes.pop(key, None)
        self._open.discard(key)


BOOK = SessionBook()
"""The sessions of this process."""
