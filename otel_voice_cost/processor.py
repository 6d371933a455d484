"""The span processor that users add: SDK lifecycle, fault guard and hand-over."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic, sleep, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from ._diagnostics import Diagnostics, Stats, to_stats
from ._runtime.collector import collector_paused
from ._runtime.locks import LATER, FollowUp, run_in_thread
from ._runtime.process_end import at_process_end
from .accounting import Accounting
from .accounting.budget import Budget
from .accounting.session import REGISTRY, Session
from .bill import SessionCost
from .errors import Problem
from .export.attributes import PRICED_KEYS
from .export.processor_order import get_processors, order_problem
from .export.span_attributes import copy_attributes, held_back, sdk_shares_spans, set_attributes
from .export.usage_spans import UsageSpanEmitter
from .sources import Role, Source, SpanKey, SpanRule, Subscription, UsageReport, Work

if TYPE_CHECKING:
    from .build import Built
    from .prices.catalog import PriceCatalog
    from .settings import Settings

__all__ = ["VoiceCostSpanProcessor"]

_T = TypeVar("_T")
_IGNORED, _SESSION = Role.IGNORED, Role.SESSION  # slow to find on their class up to Python 3.11
_PATIENCE_SECONDS = 5.0  # for pending usage and records at shutdown and at process exit
_LOOP_SECONDS = 0.005  # longest time a flush may block an event loop
_MAX_FLUSH_MILLIS = 10**9  # eleven days, for those who pass infinity
_PART_OF_FLUSH = 10  # pending usage and records get a tenth of the time, the exporter the rest

_BUILT_IN_LOOP = (
    "VoiceCostSpanProcessor was built inside a running event loop, which was blocked while prices were read. Build it "
    "where the module is imported or in the function that prepares a job process (setup_fnc, prewarm_fnc)."
)
_NOT_SETTLED = (
    "Usage that waited at shutdown is on no span yet: a processor behind blocks, or a signal handler shut down in the "
    "middle of its pricing. If the process ends now, it is lost."
)
_HIDDEN_ATTRIBUTES = (
    "The installed OpenTelemetry SDK hides attributes that one span processor adds from the next. "
    "Wrap the exporting processor instead: VoiceCostSpanProcessor(BatchSpanProcessor(...))."
)


class VoiceCostSpanProcessor(SpanProcessor):
    """Adds the cost of a voice call to the spans of LiveKit Agents and Pipecat.

    Without ``downstream``, add it before the exporting processor: it replaces the attributes of
    the ended span for the processors after it. With ``downstream`` it wraps one processor, in
    any order, and others on the same provider receive the span unchanged.

    Never raises, blocks or drops a span: on any fault the span is passed on unchanged, the
    fault is counted and its first occurrence logged.

    Attributes:
        accounting: None if the processor is disabled or shut down.
    """

    @collector_paused()
    def __init__(
        self,
        downstream: SpanProcessor | None = None,
        *,
        catalog: PriceCatalog | None = None,
        settings: Settings | None = None,
        meter_provider: MeterProvider | None = None,
        on_session_end: Callable[[SessionCost], object] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Load prices and subscribe to usage reports.

        Reads all files, so build it before the event loop runs.

        Args:
            downstream: A processor to wrap.
            catalog: Prices; the default is the shipped prices with the overrides in ``settings``.
            settings: Options; the default is the environment, whose invalid variables are logged and ignored.
            meter_provider: Receives the metrics; the default is the global one.
            on_session_end: Called with the cost of each session that ends, in a separate thread.
            budget: Limits on the cost of a session; the default is the one in ``settings``.
        """
        # Imported here because they take half of the package's import time.
        from .build import build, sources  # noqa: PLC0415
        from .settings import Settings  # noqa: PLC0415

        self._downstream = downstream
        self._is_shut_down = False
        self._registry = REGISTRY
        self._diagnostics = Diagnostics(REGISTRY.gate)
        self._emitter = UsageSpanEmitter(self, downstream)
        self._sources: dict[str, Source] = {}  # by instrumentation scope
        self._subscriptions: list[Subscription] = []
        self._built: Built | None = None
        self.accounting: Accounting | None = None
        if settings is None:
            settings, problems = Settings.from_environment()
            self._log_problems(problems)
        if settings.debug:
            self._diagnostics.start_debugging()
        if not settings.enabled:
            return
        if _in_event_loop():
            self._diagnostics.warn_once("loop", _BUILT_IN_LOOP)
        built, mistakes = build(
            settings,
            self._registry,
            self._diagnostics,
            self._emitter,
            catalog=catalog,
            meter_provider=meter_provider,
            on_session_end=on_session_end,
            budget=budget,
        )
        self._log_problems(mistakes)
        self._built, self.accounting = built, built.accounting
        if downstream is None and not sdk_shares_spans():
            self._diagnostics.warn_once("sdk", _HIDDEN_ATTRIBUTES)
        for source in sources():
            self._sources.update(dict.fromkeys(source.scopes, source))
            on_stream = None if settings.unreported == "count" else self._on_stream
            self._subscriptions.append(source.subscribe(self._on_report, on_stream))

    @property
    def downstream(self) -> SpanProcessor | None:
        """The processor that it wraps, if any."""
        return self._downstream

    # span processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Record the session that the span belongs to."""
        if self._emitter.provider_processor is None:
            with self._diagnostics.guard("the first span"):
                self._note_provider(span)
        accounting = self.accounting
        if accounting is not None:
            self._begin(span, accounting, parent_context)
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_start, span, parent_context)

    def _on_ending(self, span: Span) -> None:
        if self._downstream is not None and hasattr(self._downstream, "_on_ending"):  # new in SDK 1.40
            self._guarded("the wrapped processor", self._downstream._on_ending, span)

    def on_end(self, span: ReadableSpan) -> None:
        """Add the cost to the span and pass it on.

        If a span ends inside this package, in a garbage collection or signal handler, this happens as soon as the
        thread leaves the package. The processors after this one wait too if all of them are the SDK's exporting ones.
        """
        accounting = self.accounting
        if accounting is not None:
            try:
                source, rule, key = self._identify(span)
                if (source is None or (rule is not None and rule.role is _IGNORED)) and accounting.can_ignore(key):
                    if self._diagnostics.debugging and source is not None:
                        self._diagnostics.debug(f"{span.name} {key[1]:016x}: no usage; wrote nothing")
                else:
                    priced = self._registry.gate.do(self._price, accounting, span, key, source, rule)
                    if priced is LATER:
                        self._end_later(accounting, span, key, source, rule)
                        return
                    span, follow_ups = priced
                    for follow_up in follow_ups:
                        follow_up()
            except Exception as error:  # noqa: BLE001  # as in `_guarded`, whose call would cost more than the work
                self._diagnostics.record_fault(error, span.name)
            except BaseException:  # an interrupt is re-raised after the span is passed on
                for processor in self._emitter.behind() if self._downstream is None else (self._downstream,):
                    self._guarded("a processor behind", processor.on_end, span)
                raise
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.on_end, span)

    def shutdown(self) -> None:
        """Emit usage spans for pending usage, end the subscriptions, shut downstream down.

        Usage and records get 5 seconds each; the log counts what is not handed over by then.
        """
        accounting = self.accounting
        if accounting is not None:
            if self._guarded("pending usage", self._settle, accounting, _PATIENCE_SECONDS, self._settle_all) is False:
                self._diagnostics.warn_once("usage lost", _NOT_SETTLED)
            self.accounting = None
            self.uninstall()
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if self._downstream is not None:
            self._guarded("the wrapped processor", self._downstream.shutdown)
        if self._built is not None:
            self._guarded("records at shutdown", self._built.records.close, _PATIENCE_SECONDS)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Emit usage spans for pending usage, flush downstream and hand over records.

        This saves the speech-to-text usage of running sessions; their open requests keep their spans. Pending usage
        and records get a tenth of the time, or 5 milliseconds in an event loop, then continue in separate threads.

        Args:
            timeout_millis: Total time.

        Returns:
            True if downstream flushed, or if there is none: the SDK skips the exporters after a processor that fails.
        """
        flushed = self._guarded("a flush", self._flush, timeout_millis)
        return self._downstream is None if flushed is None else flushed

    def stats(self) -> Stats:
        """Return the counts of this processor so far."""
        return to_stats(self._diagnostics.counts)

    def current_cost(self, session_id: str | None = None) -> SessionCost | None:
        """Return the cost of a running session so far, or None if there is no such session.

        Args:
            session_id: Its conversation id, Langfuse's or the application's session id, LiveKit's job id or its
                trace id; if None, the session of the current span, as in agent code, else the only running one.

        Returns:
            Also None in a signal handler or finalizer that interrupts this package.
        """
        accounting = self.accounting
        if accounting is None:
            return None
        gate, context = self._registry.gate, trace.get_current_span().get_span_context()
        span_key = (context.trace_id, context.span_id)
        cost = self._guarded("the current cost", gate.do, self._current_cost, accounting, session_id, span_key)
        return None if cost is LATER else cost

    def would_exceed(self, session_id: str | None = None) -> bool:
        """Return True if the next turn of a running session may exceed the budget.

        The next turn is assumed to cost as much as the most expensive of the last three.

        Args:
            session_id: As for `current_cost`.

        Returns:
            False if there is no budget or no such session.
        """
        budget = self.accounting.budget if self.accounting is not None else None
        cost = self.current_cost(session_id) if budget is not None else None
        return budget is not None and cost is not None and budget.would_exceed(cost)

    def uninstall(self) -> None:
        """End the subscriptions; spans are then priced only by their own attributes."""
        for subscription in self._subscriptions:
            self._guarded("the end of a subscription", subscription.cancel)

    # spans

    def _guarded(self, place: str, step: Callable[..., _T], *args: Any) -> _T | None:
        """Run a step; record an exception instead of raising it into the traced call."""
        try:
            return step(*args)
        except Exception as error:  # noqa: BLE001  # the guard
            self._diagnostics.record_fault(error, place)
            return None

    def _note_provider(self, span: Span) -> None:
        """Inspect the provider at its first span: the position of this processor and the ones after it."""
        self._emitter.note_provider(span)
        at_process_end(self._settle_at_process_end)
        is_swapping = self.accounting is not None and self._downstream is None
        problem = order_problem(span, self) if is_swapping else None
        if problem:
            self._diagnostics.warn_once("order", problem)

    def _identify(self, span: ReadableSpan) -> tuple[Source | None, SpanRule | None, SpanKey]:
        scope, context = span.instrumentation_scope, span.context
        source = self._sources.get(scope.name) if scope is not None else None
        rule = source.rule_for(span) if source is not None else None
        return source, rule, context[:2] if context else (0, 0)

    def _begin(self, span: Span, accounting: Accounting, parent_context: Context | None) -> None:
        gate = self._registry.gate
        try:
            if gate.waiting:
                gate.catch_up()
            source, rule, key = self._identify(span)
            if rule is not None and (rule.role is _SESSION or not self._registry.has_seen_spans):
                self._prepare(span)
            work = None
            if source is not None and rule is not None and rule.nests:
                work = accounting.find_work(source, rule)  # here: steps with the lock run in a context of their own
            if not gate.waiting and accounting.begin(span, key, rule, work):
                return
            above = _find_above(span, parent_context) if rule is not None and rule.role is _SESSION else None
            step = partial(accounting.on_start, span, key, source, rule, work, above)
            follow_ups = gate.do(step)
            if follow_ups is LATER:
                gate.postpone(partial(self._take_late, "the start of a span", step))
            elif follow_ups:
                for follow_up in follow_ups:
                    follow_up()
        except Exception as error:  # noqa: BLE001  # as in `on_end`
            self._diagnostics.record_fault(error, "the start of a span")

    def _take_late(self, place: str, step: Callable[[], list[FollowUp]]) -> FollowUp | None:
        """Run a postponed step with the lock held; return the follow-ups to call without it."""
        follow_ups = self._guarded(place, step)
        return partial(_call_all, follow_ups) if follow_ups else None

    def _prepare(self, span: Span) -> None:
        """Register for process exit and renew the subscriptions, so that no usage is lost."""
        self._registry.has_seen_spans = True
        self._emitter.note_provider(span)
        at_process_end(self._settle_at_process_end)
        self._renew_subscriptions()
        if self._built is not None:
            self._built.records.prepare()

    def _renew_subscriptions(self) -> None:
        for subscription in self._subscriptions:
            for name in subscription.renew():
                message = f"{name} cannot be hooked: its usage that no span carries is lost."
                self._diagnostics.warn_once("unhooked", message)

    def _price(
        self, accounting: Accounting, span: ReadableSpan, key: SpanKey, source: Source | None, rule: SpanRule | None
    ) -> tuple[ReadableSpan, list[FollowUp]]:
        """Account for a span, with the lock held; return it, or a copy with its cost."""
        follow_ups: list[FollowUp] = []
        if key in accounting.outside:
            follow_ups.append(partial(accounting.emit, accounting.pop_outside(key, span.attributes or {})))
        if source is None:
            accounting.on_foreign_end(key)
            return span, follow_ups
        written = self._emitter.pop_attributes(key, None)
        attributes = {} if rule is None and written is None else copy_attributes(span)
        if written is None:
            written, more = accounting.on_end(span, key, source, rule, attributes)
            follow_ups += more
        if self._diagnostics.debugging and PRICED_KEYS.isdisjoint(written):
            self._diagnostics.debug(f"{span.name} {key[1]:016x}: no usage; wrote {', '.join(written) or 'nothing'}")
        if written:
            if self._downstream is not None:
                span = copy.copy(span)  # shallow: keeps what others store on it, such as LiveKit's redaction
            attributes.update(written)
            set_attributes(span, attributes)
        return span, follow_ups

    def _end_later(
        self, accounting: Accounting, span: ReadableSpan, key: SpanKey, source: Source | None, rule: SpanRule | None
    ) -> None:
        """Price a span and pass it on once the lock is free."""
        behind: Iterable[SpanProcessor] = () if self._downstream is None else (self._downstream,)
        if self._downstream is None and source is not None and self._emitter.can_hold_back():
            span, behind = held_back(span), self._emitter.behind()

        def price() -> FollowUp:
            priced = self._guarded(span.name, self._price, accounting, span, key, source, rule)
            return partial(self._hand_on, *(priced or (span, [])), behind)

        self._registry.gate.postpone(price)

    def _hand_on(self, span: ReadableSpan, follow_ups: list[FollowUp], behind: Iterable[SpanProcessor]) -> None:
        for follow_up in follow_ups:
            self._guarded(span.name, follow_up)
        for processor in behind:
            self._guarded("a processor behind", processor.on_end, span)

    # reports

    def _on_report(self, source: Source, read: Callable[[], UsageReport | None]) -> None:
        with self._diagnostics.guard("a usage report"):
            accounting, report = self.accounting, read()
            if accounting is None or report is None:
                return
            step = partial(self._book_report, accounting, source, report)
            follow_ups = self._registry.gate.do(step)
            if follow_ups is LATER:
                self._registry.gate.postpone(partial(self._take_late, "a usage report", step))
                return
            for follow_up in follow_ups:
                follow_up()

    def _book_report(self, accounting: Accounting, source: Source, report: UsageReport) -> list[FollowUp]:
        """Book a report, with the lock held."""
        node = self._registry.spans.find(report.span_key)
        session = node.session if node is not None else None
        if session is None and report.sampled and not (report.has_span or report.knows_session):
            session = self._registry.only_running(source=source)
        if session is not None and report.sampled:
            return accounting.on_report(report, session) if session.owner() is accounting else []
        if not self._is_first_on(source):
            return []
        if report.hint is not None:
            self._diagnostics.warn_once("untraced", report.hint)
        if not report.sampled:
            accounting.book_unsampled(report)  # for the metrics
            return []
        if not self._registry.has_seen_spans and (report.has_span or not any(_active_on(source.provider()))):
            message = (
                f"{source.name} reported usage, but none of its spans reached a VoiceCostSpanProcessor, so no cost"
            )
            self._diagnostics.warn_once("no spans", f"{message} is on any span. {source.setup_hint}")
        if report.has_span:
            return []
        return [self._watch_outside, *accounting.on_report_outside(report, source)]

    def _on_stream(self, _source: Source, work: Work) -> None:
        """Note a stream of speech-to-text that opens: in the session of the current span, else in the only one."""
        with self._diagnostics.guard("a stream"):
            context = trace.get_current_span().get_span_context()
            if context.is_valid and not context.trace_flags.sampled:
                return  # of a session without spans
            step = partial(self._add_stream, work, (context.trace_id, context.span_id))
            if self._registry.gate.do(step) is LATER:
                self._registry.gate.postpone(step)

    def _add_stream(self, work: Work, span_key: SpanKey) -> None:
        node = self._registry.spans.find(span_key)
        session = node.session if node is not None else None
        session = session or self._registry.only_running()
        if session is not None and session.owner() is self.accounting:
            session.unreported.add_stream(work)

    def _watch_outside(self) -> None:
        at_process_end(self._settle_at_process_end)
        self._renew_subscriptions()

    def _is_first_on(self, source: Source) -> bool:
        """Return True if this is the first active processor on the framework's provider, or else first subscriber."""
        first = next(_active_on(source.provider()), None)
        if first is not None:
            return first is self
        return any(subscription.is_first() for subscription in self._subscriptions)

    # sessions

    def _current_cost(self, accounting: Accounting, session_id: str | None, span_key: SpanKey) -> SessionCost | None:
        session = self._find_running(accounting, session_id, span_key)
        return accounting.current_cost(session, time_ns()) if session is not None else None

    def _find_running(self, accounting: Accounting, session_id: str | None, span_key: SpanKey) -> Session | None:
        if session_id is not None:
            return accounting.find_running(session_id)
        node = self._registry.spans.find(span_key)
        session = node.session if node is not None else None
        if session is None:  # LiveKit 1.2 does not keep the session's span current
            return self._registry.only_running(accounting)
        return None if session.has_ended or session.owner() is not accounting else session

    # pending usage

    def _flush(self, timeout_millis: int) -> bool:
        seconds = (timeout_millis if timeout_millis <= _MAX_FLUSH_MILLIS else _MAX_FLUSH_MILLIS) / 1_000
        now = monotonic()
        deadline = now + seconds
        patient_until = now + (_LOOP_SECONDS if _in_event_loop() else seconds / _PART_OF_FLUSH)
        if self.accounting is not None:
            patience = patient_until - monotonic()
            self._guarded("pending usage", self._settle, self.accounting, patience, self._settle_pending)
        flushed = True
        if self._downstream is not None:
            millis = max(0, int((deadline - monotonic()) * 1_000))
            flushed = bool(self._guarded("the wrapped processor", self._downstream.force_flush, millis))
        if self._built is not None:
            self._guarded("records", self._built.records.flush, max(0.0, patient_until - monotonic()))
        return flushed

    def _settle_at_process_end(self) -> None:
        """Settle sessions, hand over records, flush spans and metrics within 5 seconds, before the process exits.

        A disabled processor flushes too: disabling cost must not lose spans.
        """
        deadline = monotonic() + _PATIENCE_SECONDS
        if self.accounting is not None:
            patience = _PATIENCE_SECONDS / 2
            self._guarded("pending usage", self._settle, self.accounting, patience, self._settle_all)
        waits = []
        provider_processor = self._emitter.provider_processor
        if provider_processor is not None and not self._is_shut_down:
            flush_spans = partial(provider_processor.force_flush, int(_PATIENCE_SECONDS * 1_000))
            waits.append(self._in_thread("the flush at the end of the process", flush_spans))
        if self._built is not None:
            flush_metrics = partial(self._built.instruments.flush, int(_PATIENCE_SECONDS * 1_000))
            waits.append(self._in_thread("the flush of metrics at the end of the process", flush_metrics))
            left = max(0.0, deadline - monotonic())
            self._guarded("records at the end of the process", self._built.records.close, left)
        for wait in waits:
            wait(deadline - monotonic())

    def _settle(self, accounting: Accounting, patience_seconds: float, step: Callable[[Accounting], None]) -> bool:
        """Emit usage spans for pending usage; return True if it is done in time.

        Runs in a separate thread: a signal handler may flush on a thread that holds the lock of an exporter.
        """
        gate = self._registry.gate
        is_partial = step != self._settle_all and not accounting.outside
        if is_partial and gate.do(self._registry.with_pending, accounting) == []:
            return True
        wait = self._in_thread("pending usage", partial(step, accounting))
        return wait(0.0 if gate.is_held_here() else patience_seconds)  # it needs the lock that this thread holds

    def _settle_pending(self, accounting: Accounting) -> None:
        sessions = self._registry.gate.do(self._registry.with_pending, accounting, seconds=_PATIENCE_SECONDS)
        for session in [] if sessions is LATER else sessions:
            self._settle_with(partial(accounting.flush, session))
        self._settle_outside(accounting)

    def _settle_all(self, accounting: Accounting) -> None:
        sessions = self._registry.gate.do(self._registry.drain, accounting, seconds=_PATIENCE_SECONDS)
        for session in [] if sessions is LATER else sessions:
            self._settle_with(partial(accounting.settle, [session], time_ns()))
        self._settle_outside(accounting)
        if self._built is not None:
            self._built.instruments.add_up()

    def _settle_outside(self, accounting: Accounting) -> None:
        for key in list(accounting.outside):
            self._settle_with(partial(accounting.flush_outside, key))

    def _settle_with(self, step: Callable[[], list[FollowUp]]) -> None:
        """Run a step with the lock held, emit its spans, then yield the interpreter to a waiting event loop."""
        with self._diagnostics.guard("pending usage"):
            follow_ups = self._registry.gate.do(step, seconds=_PATIENCE_SECONDS)
            if follow_ups is LATER:
                self._registry.gate.postpone(partial(self._take_late, "pending usage", step))
                return
            _call_all(follow_ups)
        sleep(0)

    def _in_thread(self, place: str, step: Callable[[], object]) -> Callable[[float], bool]:
        """Start a step in a thread and return a function that waits for it; run it here if no thread can start."""
        guarded = partial(self._guarded, place, step)
        try:
            return run_in_thread(guarded)
        except RuntimeError:
            guarded()
            return lambda seconds: True

    def _log_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._diagnostics.warn_once("problem", f"Left out. {problem}")


def _call_all(follow_ups: Iterable[FollowUp]) -> None:
    for follow_up in follow_ups:
        follow_up()


def _find_above(span: Span, context: Context | None) -> ReadableSpan | None:
    """Return the live span above one that starts in a context, or None if it is not of this process."""
    above = trace.get_current_span(context)
    is_parent = span.parent is not None and above.get_span_context() == span.parent
    return above if is_parent and isinstance(above, ReadableSpan) else None


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _active_on(provider: object) -> Iterator[VoiceCostSpanProcessor]:
    """Yield a provider's active processors of this class."""
    return (p for p in get_processors(provider) if isinstance(p, VoiceCostSpanProcessor) and p.accounting is not None)
