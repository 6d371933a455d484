"""The end of a session: what no span carries, what is billed by time, and the record of the call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import Event

from ._diagnostics import Diagnostics
from ._forks import reset_after_fork
from .bill import CallCost
from .cost import EXACT, Cost
from .dialects import Attributes, Dialects, SpanFacts
from .dialects import voice_cost as ours
from .errors import UsageError
from .livekit.events import SpanKey, UsageEvent
from .livekit.metrics import decoded, moment, read_metrics, unreadable_usage
from .livekit.spans import SESSION_IDS
from .pricing import Pricing, agent_of
from .session_rates import SessionItem, session_usages, sip_start_ns
from .sessions import Accruals, Accrued, Reports, Session, SessionBook, add_accrual

__all__ = ["IDS", "Ending", "OwnSpan", "seconds_of", "unreadable"]

# Of a span, for spans of our own: who is spoken to.
IDS = ("gen_ai.conversation.id", "langfuse.session.id", "session.id", "langfuse.user.id", "user.id")

_BILLION = Decimal(10**9)
_MAX_OUTSIDE = 256  # spans outside sessions below which usage was reported
_NO_IDS: Mapping[str, Any] = MappingProxyType({})


class OwnSpan(NamedTuple):
    """A span to be made for what no span of LiveKit's carries.

    Attributes:
        name: The component and ``_usage``: ``stt_usage``, ``telephony_usage``.
        parent: The ``agent_session``, or the span that was current outside sessions; zeros for none.
        start_ns: First report it holds, nanoseconds since the epoch.
        end_ns: Last report it holds.
        attributes: Complete.
    """

    name: str
    parent: SpanKey
    start_ns: int
    end_ns: int
    attributes: Attributes


class Ending:
    """Settles sessions and makes their records.

    Attributes:
        outside: What was reported outside sessions, by the span that was current.
    """

    def __init__(
        self,
        pricing: Pricing,
        dialects: Dialects,
        book: SessionBook,
        diagnostics: Diagnostics,
        items: tuple[SessionItem, ...] = (),
        on_record: Callable[[CallCost], None] = lambda record: None,
    ) -> None:
        """Settle into one session book.

        Args:
            pricing: Prices what is left.
            dialects: Attributes of our own spans.
            book: The sessions.
            diagnostics: Logs malformed reports.
            items: What every call is billed for.
            on_record: Called with the record of each session that ends; must not raise or block.
        """
        self._pricing = pricing
        self._dialects = dialects
        self._book = book
        self._diagnostics = diagnostics
        self._items = items
        self._on_record = on_record
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget what was reported outside sessions, in a forked child: the parent has it."""
        self.outside: dict[SpanKey, Accruals] = {}
        self._reports = Reports()

    def accrue(self, session: Session, event: UsageEvent, *, heard: bool) -> list[OwnSpan]:
        """Price a report for the next user turn (``heard``) or a span of our own; return spans to be made at once."""
        cost = self._cost_of(event, session)
        if cost is None:
            return []
        if session.ended:
            self._pricing.late(cost.usage)
        overflow = self._book.accrue(session, cost, event.time_ns, heard=heard)
        return [self._carried(session, overflow)] if overflow is not None else []

    def _cost_of(self, event: UsageEvent, session: Session | None) -> Cost | None:
        """The cost of a report, None where it bills nothing."""
        try:
            usage = read_metrics(event.component, decoded(event.text), event.time_ns)
        except UsageError as error:
            self._diagnostics.fault(error, f"a report of {event.component.value}")
            usage = unreadable_usage(event.component, event.text, event.time_ns)
            return self._pricing.unpriced(usage, session, unreadable(error))
        return None if usage is None else self._pricing.price(usage, session)

    # outside sessions

    def accrue_outside(self, event: UsageEvent) -> list[OwnSpan]:
        """Price a report that belongs to no session, for a span below the one that is current."""
        cost = self.cost_outside(event)
        if cost is None:
            return []
        with self._book.gate.lock:
            overflow = add_accrual(self.outside.setdefault(event.span_key, {}), cost, event.time_ns)
            oldest = next(iter(self.outside)) if len(self.outside) > _MAX_OUTSIDE else None
        spans = [self._carried_outside(event.span_key, overflow, _NO_IDS)] if overflow is not None else []
        return spans if oldest is None else spans + self.end_outside(oldest)

    def cost_outside(self, event: UsageEvent) -> Cost | None:
        """Price a report that belongs to no session; None where it bills nothing, or repeats another."""
        with self._book.gate.lock:
            if self._reports.is_repeat(event):
                return None
        return self._cost_of(event, None)

    def end_outside(self, key: SpanKey, attributes: Mapping[str, Any] = _NO_IDS) -> list[OwnSpan]:
        """Spans for what was reported below a span outside sessions.

        Args:
            key: The span.
            attributes: Of the span, where it has ended.
        """
        ids = {name: attributes[name] for name in IDS if name in attributes}
        with self._book.gate.lock:
            accruals = self.outside.pop(key, {})
        return [self._carried_outside(key, accrued, ids) for accrued in accruals.values()]

    def _carried_outside(self, key: SpanKey, accrued: Accrued, ids: Mapping[str, Any]) -> OwnSpan:
        self._pricing.unclaimed(accrued.cost.usage, None)
        return self._own_span(key, ids, accrued.cost, accrued.first_ns, accrued.last_ns)

    # sessions

    def end(
        self, session: Session, end_ns: int, attributes: Mapping[str, Any], events: Iterable[Event] = ()
    ) -> tuple[Attributes, list[OwnSpan]]:
        """End a session: return what its span gets, and the spans to be made before that leaves.

        Args:
            session: The session. Where it ends elsewhere at this moment, nothing is left to do.
            end_ns: Its end, nanoseconds since the epoch.
            attributes: Of its span.
            events: Of its span.
        """
        if not self._book.begin_to_end(session):
            return {}, []
        end_ns = max(end_ns, session.start_ns)  # a clock may jump back
        spans, written = session.own_spans, Attributes()
        try:
            session.identity = _inherited(attributes)
            self._add_left(session, spans)
            spans += self._charges(session, end_ns, attributes, events)
            record = self.record(session, end_ns, attributes, ended=True)
            written = self._written(record)
            self._book.gate.outside(partial(self._on_record, record))
        except Exception as error:  # noqa: BLE001  # the spans so far are made all the same
            self._diagnostics.fault(error, "the end of a session")
        except BaseException:  # an interrupt: it ends at shutdown
            session.ending = False
            raise
        session.own_spans = []
        return written, spans + self.settle(self._book.close(session), end_ns)

    def _written(self, record: CallCost) -> Attributes:
        """What the span of a session gets."""
        totals = ours.total_attributes(
            "session",
            record.by_component,
            record.usd,
            unpriced=record.unpriced,
            estimated=any(part.estimated_usd for part in record.parts),
        )
        return totals | self._dialects.session_attributes(record, self._book.add_to_trace(record))

    def settle(self, sessions: Iterable[Session], now_ns: int) -> list[OwnSpan]:
        """Price everything that no span has claimed, and end the sessions that have not ended."""
        spans: list[OwnSpan] = []
        for session in sessions:
            if session.ended:
                self._add_left(session, spans)
            else:
                spans += self.end(session, now_ns, session.attributes)[1]
        return spans

    def flush(self, session: Session) -> list[OwnSpan]:
        """Spans for what a session has heard and no span carries yet; requests under way keep theirs."""
        spans: list[OwnSpan] = []
        if session.ended:
            self._add_left(session, spans)
        else:
            spans += self._accrued(session)
        return spans

    def record(self, session: Session, now_ns: int, attributes: Mapping[str, Any], *, ended: bool) -> CallCost:
        """The record of a session, with all that was reported by now."""
        parts, turns = self._book.bill_of(session)
        trace_id, span_id = f"{session.key[0]:032x}", f"{session.key[1]:016x}"
        ids = {**session.identity, **attributes}
        named = next((str(ids[key]) for key in SESSION_IDS if ids.get(key)), trace_id)
        return CallCost(
            session_id=named,
            trace_id=trace_id,
            span_id=span_id,
            agent=agent_of(session),
            started_at=moment(session.start_ns),
            seconds=seconds_of(now_ns - session.start_ns),
            ended=ended,
            parts=parts,
            turns=turns,
        )

    def _add_left(self, session: Session, spans: list[OwnSpan]) -> None:
        """Add spans for what no span has claimed; an interrupt leaves the rest for the next time."""
        for event in self._book.unclaimed(session):
            spans += self.accrue(session, event, heard=False)
        spans += self._accrued(session)

    def _accrued(self, session: Session) -> list[OwnSpan]:
        """Spans for what is priced and waits for one."""
        left = [*self._book.take_heard(session), *self._book.take_unclaimed(session)]
        return [self._carried(session, accrued) for accrued in left]

    def _carried(self, session: Session, accrued: Accrued) -> OwnSpan:
        """A span of our own for a cost that no span of LiveKit's carries."""
        self._pricing.unclaimed(accrued.cost.usage, session)
        return self.own_span(session, accrued.cost, accrued.first_ns, accrued.last_ns)

    def _charges(
        self, session: Session, end_ns: int, attributes: Mapping[str, Any], events: Iterable[Event]
    ) -> list[OwnSpan]:
        """Spans for what is billed by time or per call."""
        if not self._items:
            return []
        sip_ns = sip_start_ns(attributes, events, session.start_ns)
        spoken_ns = None if sip_ns is None else max(end_ns - sip_ns, 0)
        at = datetime.fromtimestamp(end_ns / 1e9, timezone.utc)
        spans = []
        for usage in session_usages(self._items, at, end_ns - session.start_ns, spoken_ns):
            cost = self._pricing.price(usage, session)
            self._book.add_cost(session, cost, None)
            spans.append(self.own_span(session, cost, session.start_ns, end_ns))
        return spans

    def own_span(self, session: Session, cost: Cost, start_ns: int, end_ns: int) -> OwnSpan:
        """A span of our own that carries a cost of a session."""
        return self._own_span(session.key, session.identity, cost, start_ns, end_ns)

    def _own_span(self, parent: SpanKey, ids: Mapping[str, Any], cost: Cost, start_ns: int, end_ns: int) -> OwnSpan:
        name = f"{cost.usage.component.value}_usage"
        written = self._dialects.cost_attributes(cost, SpanFacts(name=name, attributes=ids, is_error=False))
        return OwnSpan(name=name, parent=parent, start_ns=start_ns, end_ns=end_ns, attributes={**ids, **written})


def unreadable(error: UsageError) -> str:
    """Why usage that could not be read has no cost."""
    return f"metrics could not be read: {error}"


def seconds_of(length_ns: int) -> Decimal:
    """Nanoseconds as seconds, not below zero."""
    return EXACT.divide(Decimal(max(length_ns, 0)), _BILLION)


def _inherited(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What spans of our own take over from their session: ids and the application's metadata.

    LiveKit's and the conventions' own attributes describe the session span itself, but for the
    conversation id, which Langfuse reads as its session.
    """
    own = ("lk.", "gen_ai.", "voice_cost.", "langfuse.observation.", "exception.", "error.")
    return {
        key: value for key, value in attributes.items() if key == "gen_ai.conversation.id" or not key.startswith(own)
    }
