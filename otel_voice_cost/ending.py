"""The end of a session: what no span carries, what is billed by time, and the record of the call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import Event

from ._diagnostics import Diagnostics
from .bill import CallCost
from .cost import EXACT, Cost
from .dialects import Attributes, Dialects, SpanFacts
from .dialects import voice_cost as ours
from .errors import UsageError
from .livekit.events import SpanKey, UsageEvent
from .livekit.metrics import decoded, moment, read_metrics
from .livekit.spans import SESSION_IDS
from .pricing import Pricing, agent_of
from .session_rates import SessionItem, session_usages, sip_start_ns
from .sessions import Session, SessionBook

__all__ = ["Ending", "OwnSpan", "seconds_of"]

_BILLION = Decimal(10**9)


class OwnSpan(NamedTuple):
    """A span to be made for what no span of LiveKit's carries.

    Attributes:
        name: The component and ``_usage``: ``stt_usage``, ``telephony_usage``.
        session_key: The ``agent_session`` that is its parent.
        start_ns: First report it holds, nanoseconds since the epoch.
        end_ns: Last report it holds.
        attributes: Complete.
    """

    name: str
    session_key: SpanKey
    start_ns: int
    end_ns: int
    attributes: Attributes


class Ending:
    """Settles sessions and makes their records."""

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

    def accrue(self, session: Session, event: UsageEvent, *, heard: bool) -> None:
        """Price a report for the next user turn (``heard``) or a span of our own.

        Raises:
            UsageError: The report is malformed.
        """
        usage = read_metrics(event.component, decoded(event.text), event.time_ns)
        if usage is not None:
            if session.ended:
                self._pricing.late(usage)
            self._book.accrue(session, self._pricing.price(usage, session), event.time_ns, heard=heard)

    def end(
        self, session: Session, end_ns: int, attributes: Mapping[str, Any], events: Iterable[Event] = ()
    ) -> tuple[Attributes, list[OwnSpan]]:
        """End a session: return what its span gets, and the spans to be made before that leaves.

        Args:
            session: A session that has not ended.
            end_ns: Its end, nanoseconds since the epoch.
            attributes: Of its span.
            events: Of its span.
        """
        end_ns = max(end_ns, session.start_ns)  # a clock may jump back
        try:
            session.identity = _inherited(attributes)
            spans = self._left(session) + self._charges(session, end_ns, attributes, events)
            record = self.record(session, end_ns, attributes, ended=True)
            written = self._written(record)
        finally:
            dropped = self._book.close(session)
        self._on_record(record)
        return written, spans + self.settle(dropped, end_ns)

    def _written(self, record: CallCost) -> Attributes:
        """What the span of a session gets."""
        totals = ours.total_attributes(
            "session",
            record.by_component,
            record.usd,
            unpriced=record.unpriced,
            estimated=any(part.estimated_usd for part in record.parts),
        )
        return totals | self._dialects.session_attributes(record)

    def settle(self, sessions: Iterable[Session], now_ns: int) -> list[OwnSpan]:
        """Price everything that no span has claimed, and end the sessions that have not ended."""
        spans: list[OwnSpan] = []
        with localcontext(EXACT):
            for session in sessions:
                if session.ended or session.passive:
                    spans += self._left(session)
                else:
                    spans += self.end(session, now_ns, session.attributes)[1]
        return spans

    def flush(self, sessions: Iterable[Session]) -> list[OwnSpan]:
        """Spans for what running sessions have heard and no span carries yet; requests under way keep theirs."""
        with localcontext(EXACT):
            return [span for session in sessions for span in self._accrued(session)]

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

    def _left(self, session: Session) -> list[OwnSpan]:
        """Spans for what no span has claimed."""
        for event in self._book.unclaimed(session):
            try:
                self.accrue(session, event, heard=False)
            except UsageError as error:
                self._diagnostics.fault(error, f"a report of {event.component.value}")
        return self._accrued(session)

    def _accrued(self, session: Session) -> list[OwnSpan]:
        """Spans for what is priced and waits for one."""
        left = [*self._book.take_heard(session), *self._book.take_unclaimed(session)]
        for accrued in left:
            self._book.add_cost(session, accrued.cost, None)
            self._pricing.unclaimed(accrued.cost.usage, session)
        return [self.own_span(session, accrued.cost, accrued.first_ns, accrued.last_ns) for accrued in left]

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
        """A span of our own that carries a cost."""
        name = f"{cost.usage.component.value}_usage"
        facts = SpanFacts(name=name, attributes=session.identity, is_error=False)
        return OwnSpan(
            name=name,
            session_key=session.key,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes={**session.identity, **self._dialects.cost_attributes(cost, facts)},
        )


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
