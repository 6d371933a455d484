"""The span processor that users add: lifecycle, the one guard, hand-over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from functools import partial
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from ._diagnostics import Diagnostics
from ._process_end import at_process_end
from ._reentry import LATER, run_in_thread
from .bill import CallCost
from .budget import Brake, Budget
from .cost import EXACT
from .dialects import Attributes, Dialects, Options, dialect_problems, known_dialects
from .dialects.voice_cost import MARKS, USD
from .ending import Ending, OwnSpan, seconds_of
from .errors import Problem
from .livekit.events import SPANLESS, SpanKey, UsageEvent, livekit_provider, read_event
from .livekit.spans import RULES, SILENT, Role, SpanRule, is_livekit
from .meters import Meters
from .order import order_problem, processors_of
from .own_spans import SpanMaker
from .pipeline import Pipeline, span_key
from .pricing import Pricing
from .records import Outbox
from .rewrite import add_attributes, held_back, shows_swapped_attributes, with_attributes
from .sessions import BOOK, Session, SpanNode
from .stats import Stats, stats_of

if TYPE_CHECKING:
    from .prices.catalog import PriceCatalog
    from .settings import Settings

__all__ = ["VoiceCostSpanProcessor"]

_T = TypeVar("_T")


_FollowUp = Callable[[], None]  # what is to be done without the lock: make spans of our own, check a budget

_PATIENCE_SECONDS = 5.0  # for usage and records to be handed over at shutdown, and at the end of a process
_LOOP_SECONDS = 0.005  # that an event loop is held
_MOST_MILLIS = 10**9  # that a flush may take: eleven days, for those who pass infinity
_PART = 10  # of the time of a flush is what usage and records may take, so that the exporter has its time

_BUILT_IN_LOOP = (
    "VoiceCostSpanProcessor was built inside a running event loop, which stood still while prices were read. Build it "
    "where the module is imported or in the function that prepares a job process (setup_fnc, prewarm_fnc)."
)
_NO_SPANS = (
    "LiveKit reported usage, but none of its spans reached a VoiceCostSpanProcessor, so no cost is on any span. Call "
    "livekit.agents.telemetry.set_tracer_provider(provider) with the provider that has it, outside of "
    'if __name__ == "__main__": a job process does not run that part.'
)
_NOT_SETTLED = (
    "Usage that waited at shutdown is on no span yet: a processor behind holds it up, or a signal handler shut down in "
    "the middle of its pricing. If the process ends now, it is lost."
)
_OUTSIDE = (
    "Speech-to-text was used outside of a session: its cost is on spans of its own, below the span that was current."
)


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
        from .livekit.listening import hears_first, listen_again, subscribe  # noqa: PLC0415
        from .settings import Settings  # noqa: PLC0415

        self._downstream = downstream
        self._is_shut_down = False
        self._book = BOOK
        self._diagnostics = Diagnostics(BOOK.gate)
        if settings is None:
            settings, problems = Settings.from_environment()
            self._log_problems(problems)
        self._active = settings.enabled  # until it is shut down
        self._brake: Brake | None = None
        if settings.debug:
            self._diagnostics.start_debugging()
        self._outbox: Outbox | None = None
        self._meters: Meters | None = None
        self._span_maker = SpanMaker(self, downstream)
        if not self._active:
            return
        if _in_event_loop():
            self._diagnostics.warn("loop", _BUILT_IN_LOOP)
        meters = Meters(self._diagnostics, meter_provider)
        self._meters = meters
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
        if downstream is None and not shows_swapped_attributes():
            self._diagnostics.warn(
                "sdk",
                "The installed OpenTelemetry SDK hides attributes that one span processor adds from the next. "
                "Wrap the exporting processor instead: VoiceCostSpanProcessor(BatchSpanProcessor(...)).",
            )
        self._listen_again, self._hears_first = listen_again, hears_first
        self._unsubscribe: Callable[[], None] = subscribe(self._on_metrics)

    # span processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which session the span belongs to."""
        if self._span_maker.provider_processor is None:
            self._guarded("the first span", self._see_provider, span)
        if self._active:
            self._begin(span)
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_start, span, parent_context)

    def _on_ending(self, span: Span) -> None:
        if self._downstream is not None and hasattr(self._downstream, "_on_ending"):  # new in SDK 1.40
            self._guarded("the wrapped processor", self._downstream._on_ending, span)

    def on_end(self, span: ReadableSpan) -> None:
        """Give the span its cost and hand it on.

        A span that ends inside of this package, in a garbage collection or signal handler, has its cost and is handed
        on as soon as the thread is through: to the SDK's exporting processors too, and those made of them. Others
        behind, unless wrapped, have it before that.
        """
        if self._active:
            try:
                priced = self._book.gate.do(self._priced, span)
                if priced is LATER:
                    self._end_later(span)
                    return
                span, follow_ups = priced
                for follow_up in follow_ups:
                    follow_up()
            except Exception as error:  # noqa: BLE001  # as in `_guarded`, whose call would cost more than the work
                self._diagnostics.fault(error, span.name)
            except BaseException:  # an interrupt goes on, and so does the span
                for processor in self._span_maker.behind() if self._downstream is None else (self._downstream,):
                    self._guarded("a processor behind", processor.on_end, span)
                raise
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_end, span)

    def _end_later(self, span: ReadableSpan) -> None:
        if self._downstream is not None or not is_livekit(span) or not self._span_maker.exporters_behind():
            self._book.gate.postpone(partial(self.on_end, span))
            return
        copied = held_back(span)

        def end() -> None:
            self.on_end(copied)
            if copied.context is not None and copied.context.trace_flags.sampled:  # else it is held back once more
                for exporter in self._span_maker.exporters_behind():
                    self._guarded("a processor behind", exporter.on_end, copied)

        self._book.gate.postpone(end)

    def shutdown(self) -> None:
        """Put all usage that still waits on spans of its own, stop listening, shut downstream down.

        Usage and records have 5 seconds each; what is not handed over by then is counted in the log.
        """
        if self._active:
            if self._guarded("usage that waits", self._settle, _PATIENCE_SECONDS, self._settle_all) is False:
                self._diagnostics.warn("usage lost", _NOT_SETTLED)
            self._active = False
            self._guarded("the end of listening", self._unsubscribe)
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.shutdown)
        if self._outbox is not None:
            self._guarded("records at shutdown", self._outbox.close, _PATIENCE_SECONDS)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Put usage that waits for a span on spans of its own, flush downstream and hand over records.

        So what running sessions heard is safe; their requests under way keep their spans. Waiting usage and records
        have a tenth of the time, and of an event loop 5 milliseconds; they go on in threads of their own.

        Args:
            timeout_millis: Time for all of it.

        Returns:
            Whether downstream flushed. An exporter behind this processor would else be skipped.
        """
        flushed = self._guarded("a flush", self._flush, timeout_millis)
        return self._downstream is None if flushed is None else flushed

    def _flush(self, timeout_millis: int) -> bool:
        seconds = timeout_millis / 1_000 if timeout_millis <= _MOST_MILLIS else _MOST_MILLIS / 1_000
        now = monotonic()
        deadline, patient_until = now + seconds, now + (_LOOP_SECONDS if _in_event_loop() else seconds / _PART)
        if self._active:
            self._guarded("usage that waits", self._settle, patient_until - monotonic(), self._settle_waiting)
        flushed = True
        if self._downstream is not None:
            millis = max(0, int((deadline - monotonic()) * 1_000))
            flushed = bool(self._guarded("the wrapped processor", self._downstream.force_flush, millis))
        if self._outbox is not None:
            self._guarded("records", self._outbox.flush, max(0.0, patient_until - monotonic()))
        return flushed

    def _settle_at_process_end(self) -> None:
        """Settle sessions, hand over records, flush spans and metrics, within 5 seconds; the process ends after it.

        A disabled processor flushes too: else switching cost off would lose the spans.
        """
        deadline = monotonic() + _PATIENCE_SECONDS
        if self._active:
            self._guarded("usage that waits", self._settle, _PATIENCE_SECONDS / 2, self._settle_all)
        waits = []
        provider_processor = self._span_maker.provider_processor
        if provider_processor is not None and not self._is_shut_down:
            flush_spans = partial(provider_processor.force_flush, int(_PATIENCE_SECONDS * 1_000))
            waits.append(self._in_thread("the flush at the end of the process", flush_spans))
        if self._meters is not None:
            flush_metrics = partial(self._meters.flush, int(_PATIENCE_SECONDS * 1_000))
            waits.append(self._in_thread("the flush of metrics at the end of the process", flush_metrics))
        if self._outbox is not None:
            self._guarded("records at the end of the process", self._outbox.close, max(0.0, deadline - monotonic()))
        for wait in waits:
            wait(deadline - monotonic())

    def stats(self) -> Stats:
        """What this processor has counted so far."""
        return stats_of(self._diagnostics.counts)

    def live(self, session_id: str | None = None) -> CallCost | None:
        """What a running call has cost so far, or None where there is no such call.

        Args:
            session_id: Its conversation id, Langfuse's or the application's session id, LiveKit's job id or its
                trace id; without one, the session of the current span, as in the code of an agent, else the only
                one that runs.

        Returns:
            None too in a signal handler or finalizer that came in the middle of this package.
        """
        record = self._guarded("the live view", self._book.gate.do, self._live, session_id) if self._active else None
        return None if record is LATER else record

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
            return self._book.find(self, session_id)
        context = trace.get_current_span().get_span_context()
        node = self._book.node((context.trace_id, context.span_id))
        session = node.session if node else None
        if session is None:  # 1.2 does not leave the session's span current
            return self._book.only_running(self)
        return None if session.ended or session.owner() is not self else session

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
        book = self._book
        try:
            if book.gate.waiting:
                book.gate.catch_up()
            parent, rule = span.parent, RULES.get(span.name)
            above = book.node(parent[:2]) if parent else None
            if rule is not None and not is_livekit(span):
                rule = None
            if rule is None and above is None:
                return
            dropped = book.gate.do(self._note_begin, span, rule, above)
            if dropped is LATER:
                book.gate.postpone(partial(self._begin, span))
        except Exception as error:  # noqa: BLE001  # as in `on_end`
            self._diagnostics.fault(error, "the start of a span")

    def _note_begin(self, span: Span, rule: SpanRule | None, above: SpanNode | None) -> None:
        key, start_ns = span_key(span), span.start_time or 0
        if rule is None:
            self._book.begin(key, above, start_ns=start_ns)
            return
        if not self._book.has_seen_livekit:
            self._book.has_seen_livekit = True
            self._watch()
        if rule.role is Role.SESSION:
            self._begin_session(span, key)
        else:
            self._book.begin(key, above, start_ns=start_ns, is_turn=rule.role is Role.TURN, request=rule.nests)

    def _begin_session(self, span: Span, key: SpanKey) -> None:
        self._watch()
        if self._book.is_open(key):
            self._diagnostics.warn(
                "second processor",
                "Two VoiceCostSpanProcessors see the same sessions. The first accounts for them, this one is passive.",
            )
            return
        self._span_maker.note_provider(span)
        attributes = cast("Mapping[str, Any]", span._attributes)  # the public one is no view while it is empty
        dropped = self._book.open(key, span.start_time or time_ns(), owner=self, attributes=attributes)
        if self._brake is not None:
            self._note_loop(key)
        if self._outbox is not None:
            self._outbox.prepare()
        if dropped:
            own_spans = self._ending.settle(dropped, time_ns())
            self._book.gate.outside(partial(self._make_spans, own_spans))

    def _watch(self) -> None:
        """See to it that nothing is lost with the process, and that LiveKit's reports are heard."""
        at_process_end(self._settle_at_process_end)
        for name in self._listen_again():
            self._diagnostics.warn("unheard", f"LiveKit's {name} cannot be listened to: usage without a span is lost.")

    def _note_loop(self, key: SpanKey) -> None:
        """Keep the event loop that a session runs in, for callbacks."""
        node = self._book.node(key)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if node is not None and node.session is not None:
            node.session.loop, node.session.context = loop, copy_context()

    def _check_budget(self, session: Session) -> None:
        if self._brake is None or session.ended:
            return
        now_ns, attributes = time_ns(), session.attributes
        self._brake.check(
            session,
            self._book.spent(session),
            seconds_of(now_ns - session.start_ns),
            lambda: self._ending.record(session, now_ns, attributes, ended=False),
        )

    def _see_provider(self, span: Span) -> None:
        """Look at the provider with its first span: where this processor stands, and what is behind it."""
        self._span_maker.note_provider(span)
        at_process_end(self._settle_at_process_end)
        problem = order_problem(span, self) if self._active and self._downstream is None else None
        if problem:
            self._diagnostics.warn("order", problem)

    def _priced(self, span: ReadableSpan) -> tuple[ReadableSpan, list[_FollowUp]]:
        """Account for a span, with the gate's lock; return it, or a copy with its cost."""
        key, follow_ups = span_key(span), list[_FollowUp]()
        if key in self._ending.outside:
            own_spans = self._ending.end_outside(key, span.attributes or {})
            follow_ups.append(partial(self._make_spans, own_spans))
        if not is_livekit(span) or (span.name in SILENT and not self._diagnostics.debugging):
            self._book.finish(key)
            return span, follow_ups
        attributes = self._span_maker.take(key)
        if attributes is None:
            attributes = self._attributes_for(span, key, follow_ups)
        if self._diagnostics.debugging and MARKS.isdisjoint(attributes):
            self._diagnostics.debug(f"{span.name} {key[1]:016x}: no usage; wrote {', '.join(attributes) or 'nothing'}")
        if not attributes:
            return span, follow_ups
        if self._downstream is not None:
            return with_attributes(span, attributes), follow_ups
        add_attributes(span, attributes)
        return span, follow_ups

    def _attributes_for(self, span: ReadableSpan, key: SpanKey, follow_ups: list[_FollowUp]) -> Attributes:
        """Account for a span, where no other processor has, by the processor that owns its session."""
        if self._book.is_over(key):
            return {}
        node = self._book.node(key)
        session = node.session if node else None
        owner = session.owner() if session is not None else self
        try:
            if owner is None:
                return {}
            attributes, own_spans = owner._pipeline.attributes_for(span, key)
        finally:
            self._book.finish(key)
        owner._add_follow_ups(follow_ups, own_spans, session if USD in attributes else None)
        return attributes

    def _add_follow_ups(self, follow_ups: list[_FollowUp], own_spans: list[OwnSpan], session: Session | None) -> None:
        """Note what is to be done for spans of our own, and for a session whose total has grown."""
        if own_spans:
            follow_ups.append(partial(self._make_spans, own_spans))
        if self._brake is not None and session is not None:
            follow_ups.append(partial(self._guarded, "a budget", self._check_budget, session))

    # the way of a report

    def _on_metrics(self, metrics: object, reporter: object) -> None:
        self._guarded("a usage report", self._hear, metrics, reporter)

    def _hear(self, metrics: object, reporter: object) -> None:
        event = read_event(metrics, reporter)
        if event is not None:
            self._take_in(event)

    def _take_in(self, event: UsageEvent) -> None:
        follow_ups = self._book.gate.do(self._report, event)
        if follow_ups is LATER:
            self._book.gate.postpone(partial(self._guarded, "a usage report", self._take_in, event))
            return
        for follow_up in follow_ups:
            follow_up()

    def _report(self, event: UsageEvent) -> list[_FollowUp]:
        """Book a report, with the gate's lock."""
        node, follow_ups = self._book.node(event.span_key), list[_FollowUp]()
        session = node.session if node else None
        if not event.sampled:
            if self._takes_what_is_outside():
                self._pipeline.report_unsampled(event)
            return follow_ups
        if session is None and event.component in SPANLESS:
            session = self._book.only_running()
        if session is None:
            self._add_follow_ups(follow_ups, self._report_outside(event), None)
        elif session.owner() is self:
            self._add_follow_ups(follow_ups, self._pipeline.report(session, event), session)
        return follow_ups

    def _report_outside(self, event: UsageEvent) -> list[OwnSpan]:
        if not self._takes_what_is_outside():
            return []
        has_span = event.component not in SPANLESS
        if not self._book.has_seen_livekit and (has_span or not any(_ours(livekit_provider()))):
            self._diagnostics.warn("no spans", _NO_SPANS)
        if has_span:
            return []
        self._watch()
        self._diagnostics.note("outside", _OUTSIDE)
        return self._pipeline.report_outside(event)

    def _takes_what_is_outside(self) -> bool:
        """Whether this is the first of its kind on the provider that LiveKit uses, else the first that was built."""
        first = next(_ours(livekit_provider()), None)
        return self._hears_first(self._on_metrics) if first is None else first is self

    # spans of our own

    def _settle(self, patience_seconds: float, step: Callable[[], None]) -> bool:
        """Make spans for usage that waits, if any does, and say whether they are made by now.

        In a thread of ours: a signal handler may flush, on a thread that holds the lock of an exporter.
        """
        if (
            step != self._settle_all
            and not self._ending.outside
            and self._book.gate.do(self._book.unsettled, self) == []
        ):
            return True
        wait = self._in_thread("usage that waits", step)
        return wait(0.0 if self._book.gate.is_held_here() else patience_seconds)  # it needs what this thread holds

    def _settle_waiting(self) -> None:
        for session in self._book.unsettled(self):
            self._settle_with(self._ending.flush, session)
        self._settle_outside()

    def _settle_all(self) -> None:
        for session in self._book.drain(self):
            self._settle_with(self._ending.settle, [session], time_ns())
        self._settle_outside()
        if self._meters is not None:
            self._meters.add_up()

    def _settle_outside(self) -> None:
        for key in list(self._ending.outside):
            self._settle_with(self._ending.end_outside, key)

    def _settle_with(self, step: Callable[..., list[OwnSpan]], *args: Any) -> None:
        """Make the spans of a step, which nothing interrupts; an event loop that waits to go on does."""
        own_spans = self._book.gate.do(step, *args, seconds=_PATIENCE_SECONDS)
        if own_spans is LATER:
            self._book.gate.postpone(partial(self._guarded, "usage that waits", self._settle_with, step, *args))
            return
        self._make_spans(own_spans)
        sleep(0)

    def _make_spans(self, spans: list[OwnSpan]) -> None:
        for span in spans:
            self._guarded(span.name, self._span_maker.make, span)

    def _in_thread(self, place: str, step: Callable[[], object]) -> Callable[[float], bool]:
        """Begin a step in a thread, and return the way to wait; without threads, as at exit, it is taken here."""
        guarded = partial(self._guarded, place, step)
        try:
            return run_in_thread(guarded)
        except RuntimeError:
            guarded()
            return lambda seconds: True

    # construction

    def _dialects(self, settings: Settings) -> Dialects:
        self._log_problems(dialect_problems(settings.dialects))
        options = Options(speech_as_tokens=settings.speech_as_tokens, langfuse_content=settings.langfuse_content)
        return Dialects(known_dialects(settings.dialects), options)

    def _log_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._diagnostics.warn("problem", f"Left out. {problem}")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _ours(provider: object) -> Iterator[VoiceCostSpanProcessor]:
    """The active ones of a provider."""
    return (p for p in processors_of(provider) if isinstance(p, VoiceCostSpanProcessor) and p._active)


def _hand_over(meters: Meters, outbox: Outbox, record: CallCost) -> None:
    """Of a session that has ended."""
    meters.add_session(record)
    outbox.put(record)
