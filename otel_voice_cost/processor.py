"""The span processor that users add: lifecycle, the one guard, hand-over."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from ._diagnostics import Diagnostics
from .bill import CallCost
from .budget import Brake, Budget
from .cost import EXACT
from .dialects import Dialects, Options, dialect_problems, known_dialects
from .dialects.voice_cost import MARKS, USD
from .ending import Ending, OwnSpan, seconds_of
from .errors import Problem
from .livekit.events import SpanKey, livekit_provider, read_event
from .livekit.spans import RULES, SILENT, Role, is_livekit
from .meters import Meters
from .order import order_problem, processors_of
from .own_spans import SpanMaker
from .pipeline import Pipeline, span_key
from .pricing import Pricing
from .records import Outbox
from .rewrite import add_attributes, shows_swapped_attributes, with_attributes
from .sessions import Session, SessionBook
from .stats import Stats, stats_of

if TYPE_CHECKING:
    from .prices.catalog import PriceCatalog
    from .settings import Settings

__all__ = ["VoiceCostSpanProcessor"]

_T = TypeVar("_T")
_PATIENCE_SECONDS = 5.0  # for records to be handed over at shutdown

# The first processor to see a session accounts for it; the live span carries who that is.
_owners: weakref.WeakKeyDictionary[Span, weakref.ref[VoiceCostSpanProcessor]] = weakref.WeakKeyDictionary()


class VoiceCostSpanProcessor(SpanProcessor):
    """Puts the true cost of a voice call on the spans of LiveKit Agents.

    Without ``downstream`` add it before the processor that exports: it swaps the attributes of
    the ended span for the processors behind it. With ``downstream`` it wraps one processor, in
    any order, and others on the same provider see the span as it was.

    Never raises, blocks or drops a span: on any fault the span goes on exactly as it came, the
    fault is counted and its first occurrence logged.
    """

    def __init__(
        self,
        downstream: SpanProcessor | None = None,
        *,
        catalog: PriceCatalog | None = None,
        settings: Settings | None = None,
        meter_provider: MeterProvider | None = None,
        on_session_end: Callable[[CallCost], object] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Load prices and listen to LiveKit's usage reports.

        All files are read here, so build it before the event loop runs.

        Args:
            downstream: A processor to wrap.
            catalog: Prices; the default is the shipped ones with the overrides of ``settings``.
            settings: Options; the default is the environment, where a bad variable is logged
                and left out.
            meter_provider: Where metrics go; the default is the global one.
            on_session_end: Called with the record of each session that ends, in a thread of ours.
            budget: What a call may cost; the default is that of ``settings``.
        """
        # What only building needs: half of the time of importing the package.
        from .configuration import configured  # noqa: PLC0415
        from .livekit.listening import subscribe  # noqa: PLC0415
        from .settings import Settings  # noqa: PLC0415

        self._downstream = downstream
        self._is_shut_down = False
        self._diagnostics = Diagnostics()
        if settings is None:
            settings, problems = Settings.from_environment()
            self._log_problems(problems)
        self._active = settings.enabled  # until it is shut down
        self._brake: Brake | None = None
        if settings.debug:
            self._diagnostics.start_debugging()
        self._outbox: Outbox | None = None
        if not self._active:
            return
        self._book = SessionBook()
        self._span_maker = SpanMaker(self, downstream)
        meters = Meters(self._diagnostics, meter_provider)
        outbox = Outbox(self._diagnostics, on_session_end, Path(settings.records) if settings.records else None)
        self._outbox = outbox
        if budget is None and settings.session_budget_usd is not None:
            budget = Budget(per_session=settings.session_budget_usd)
        if budget is not None:
            self._brake = Brake(budget, self._diagnostics)
        prices, items, bad = configured(settings, catalog)
        self._log_problems(bad)
        dialects = self._dialects(settings)
        pricing = Pricing(prices, meters, self._diagnostics)
        hand_over = partial(_hand_over, meters, outbox)
        self._ending = Ending(pricing, dialects, self._book, self._diagnostics, items, hand_over)
        self._pipeline = Pipeline(pricing, self._ending, dialects, self._book, self._diagnostics)
        self._order_checked = downstream is not None
        if downstream is None and not shows_swapped_attributes():
            self._diagnostics.warn(
                "sdk",
                "The installed OpenTelemetry SDK hides attributes that one span processor adds from the next. "
                "Wrap the exporting processor instead: VoiceCostSpanProcessor(BatchSpanProcessor(...)).",
            )
        self._unsubscribe: Callable[[], None] = subscribe(self._on_metrics)

    # span processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which session the span belongs to."""
        if self._active:
            try:
                self._begin(span)
            except Exception as error:  # noqa: BLE001  # as in `_guarded`, whose call would cost more than the work
                self._diagnostics.fault(error, "the start of a span")
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_start, span, parent_context)

    def _on_ending(self, span: Span) -> None:
        if self._downstream is not None and hasattr(self._downstream, "_on_ending"):  # new in SDK 1.40
            self._guarded("the wrapped processor", self._downstream._on_ending, span)

    def on_end(self, span: ReadableSpan) -> None:
        """Give the span its cost and hand it on."""
        if self._active:
            try:
                span = self._priced(span)
            except Exception as error:  # noqa: BLE001  # as in `_guarded`
                self._diagnostics.fault(error, span.name)
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_end, span)

    def shutdown(self) -> None:
        """Put all usage that still waits on spans of its own, stop listening, shut downstream down."""
        if self._active:
            self._guarded("usage that waits at shutdown", self._drain, live=True)
            self._active = False
            self._unsubscribe()
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.shutdown)
        if self._outbox is not None:
            self._outbox.close(_PATIENCE_SECONDS)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Put usage that waits for a span on spans of its own, flush downstream and hand over records.

        So what running sessions heard is safe; their requests under way keep their spans.

        Args:
            timeout_millis: Time for all of it.

        Returns:
            Whether downstream flushed and all records were handed over in time.
        """
        deadline_ns = monotonic_ns() + timeout_millis * 1_000_000

        def left_millis() -> int:
            return max(0, (deadline_ns - monotonic_ns()) // 1_000_000)

        if self._active:
            self._guarded("usage that waits", self._drain, live=False)
        flushed = self._downstream is None or bool(
            self._guarded("the wrapped processor", self._downstream.force_flush, left_millis())
        )
        return (self._outbox is None or self._outbox.flush(left_millis() / 1_000)) and flushed

    def stats(self) -> Stats:
        """What this processor has counted so far."""
        return stats_of(self._diagnostics.counts)

    def live(self, session_id: str | None = None) -> CallCost | None:
        """What a running call has cost so far, or None where there is no such call.

        Args:
            session_id: Its conversation id, Langfuse's or the application's session id, LiveKit's job id or its
                trace id; without one, the session of the current span, as in the code of an agent, else the only
                one that runs.
        """
        return self._guarded("the live view", self._live, session_id) if self._active else None

    def _live(self, session_id: str | None) -> CallCost | None:
        session = self._running(session_id)
        return self._ending.record(session, time_ns(), session.attributes, ended=False) if session else None

    def would_exceed(self, session_id: str | None = None) -> bool:
        """Whether the next turn of a running call may exceed the budget; False where there is no budget or call.

        A turn may cost as much as the dearest of the last three.

        Args:
            session_id: As for `live`.
        """
        record = self.live(session_id) if self._brake is not None else None
        if self._brake is None or record is None:
            return False
        limit = self._brake.budget.usd_for(record.seconds)
        return limit is not None and EXACT.add(record.usd, record.next_turn_usd) > limit

    def _running(self, session_id: str | None) -> Session | None:
        if session_id is not None:
            return self._book.find(session_id)
        context = trace.get_current_span().get_span_context()
        node = self._book.node((context.trace_id, context.span_id))
        session = node.session if node else None
        if session is None:  # 1.2 does not leave the session's span current
            running = self._book.running()
            return running[0] if len(running) == 1 else None
        return None if session.ended or session.passive else session

    def uninstall(self) -> None:
        """Stop listening to LiveKit; spans are then priced by what they carry alone."""
        if self._active:
            self._unsubscribe()

    # the way of a span

    def _guarded(self, place: str, step: Callable[..., _T], *args: Any, **options: Any) -> _T | None:
        """Run a step: a fault must not reach the traced call."""
        try:
            return step(*args, **options)
        except Exception as error:  # noqa: BLE001  # the one guard
            self._diagnostics.fault(error, place)
            return None

    def _begin(self, span: Span) -> None:
        if not self._order_checked:
            self._check_order(span)
        parent = span.parent
        above = self._book.node(parent[:2]) if parent else None
        rule = RULES.get(span.name)
        if rule is None or not is_livekit(span):
            if above is not None:
                self._book.begin(span_key(span), above)
        elif rule.role is Role.SESSION:
            self._begin_session(span)
        else:
            self._book.begin(span_key(span), above, is_turn=rule.role is Role.TURN, request=rule.nests)

    def _begin_session(self, span: Span) -> None:
        owner = _owners.setdefault(span, weakref.ref(self))()
        passive = owner is not None and owner is not self
        if passive:
            self._diagnostics.warn(
                "second processor",
                "Two VoiceCostSpanProcessors see the same sessions. The first accounts for them, this one is passive.",
            )
        self._span_maker.note_provider(span)
        dropped = self._book.open(span_key(span), span.start_time or time_ns(), passive=passive, span=span)
        if self._brake is not None:
            self._note_loop(span_key(span))
        self._flush(dropped)

    def _note_loop(self, key: SpanKey) -> None:
        """Keep the event loop that a session runs in, for callbacks."""
        node = self._book.node(key)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if node is not None and node.session is not None:
            node.session.loop, node.session.context = loop, copy_context()

    def _check_budget(self, key: SpanKey) -> None:
        node = self._book.node(key)
        session = node.session if node else None
        if self._brake is None or session is None or session.ended or session.passive:
            return
        now_ns, attributes = time_ns(), session.attributes
        self._brake.check(
            session,
            self._book.spent(session),
            seconds_of(now_ns - session.start_ns),
            lambda: self._ending.record(session, now_ns, attributes, ended=False),
        )

    def _check_order(self, span: Span) -> None:
        self._order_checked = True
        problem = order_problem(span, self)
        if problem:
            self._diagnostics.warn("order", problem)

    def _priced(self, span: ReadableSpan) -> ReadableSpan:
        """Return the span with its cost: the very same one, or a copy for downstream."""
        key = span_key(span)
        if not is_livekit(span) or (span.name in SILENT and not self._diagnostics.debugging):
            self._book.finish(key)
            return span
        try:
            attributes = self._span_maker.take(key)
            if attributes is None:
                attributes, own_spans = self._pipeline.attributes_for(span, key)
                if own_spans:
                    self._make_spans(own_spans)
        finally:
            self._book.finish(key)
        if self._brake is not None and USD in attributes:
            self._guarded("a budget", self._check_budget, key)
        if self._diagnostics.debugging and MARKS.isdisjoint(attributes):
            self._diagnostics.debug(f"{span.name} {key[1]:016x}: no usage; wrote {', '.join(attributes) or 'nothing'}")
        if not attributes:
            return span
        if self._downstream is not None:
            return with_attributes(span, attributes)
        add_attributes(span, attributes)
        return span

    def _on_metrics(self, metrics: object) -> None:
        self._guarded("a usage report", self._report, metrics)

    def _report(self, metrics: object) -> None:
        event = read_event(metrics)
        if event is None:
            return
        if event.sampled:
            self._pipeline.report(event)
            if self._brake is not None:
                self._guarded("a budget", self._check_budget, event.span_key)
        elif self is next(
            (p for p in processors_of(livekit_provider()) if isinstance(p, VoiceCostSpanProcessor)), None
        ):
            self._pipeline.report_unsampled(event)

    # spans of our own

    def _drain(self, *, live: bool) -> None:
        self._flush(self._book.drain(live=live))
        if not live:
            self._make_spans(self._ending.flush(self._book.running()))

    def _flush(self, sessions: Iterable[Session]) -> None:
        self._make_spans(self._ending.settle(sessions, time_ns()))

    def _make_spans(self, spans: list[OwnSpan]) -> None:
        for span in spans:
            self._guarded(span.name, self._span_maker.make, span)

    # construction

    def _dialects(self, settings: Settings) -> Dialects:
        self._log_problems(dialect_problems(settings.dialects))
        options = Options(speech_as_tokens=settings.speech_as_tokens, langfuse_content=settings.langfuse_content)
        return Dialects(known_dialects(settings.dialects), options)

    def _log_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._diagnostics.warn("problem", f"Left out. {problem}")


def _hand_over(meters: Meters, outbox: Outbox, record: CallCost) -> None:
    """Of a session that has ended."""
    meters.add_session(record)
    outbox.put(record)
