"""The span processor that users add: lifecycle, the one guard, hand-over."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._diagnostics import Diagnostics
from .dialects import Dialects, Options, dialect_problems, known_dialects
from .dialects.voice_cost import MARKS
from .errors import Problem
from .livekit.events import SpanKey, livekit_provider, livekit_tracer, read_event, subscribe
from .livekit.spans import RULES, Role, is_livekit
from .meters import Meters
from .order import order_problem, processors_of
from .pipeline import OwnSpan, Pipeline, span_key
from .prices import PriceCatalog, parse_sheet
from .prices.loading import read_sheet
from .rewrite import add_attributes, shows_swapped_attributes, with_attributes
from .sessions import Session, SessionBook
from .settings import Settings
from .stats import Stats, stats_of

__all__ = ["VoiceCostSpanProcessor", "configured_catalog"]

_T = TypeVar("_T")

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
    ) -> None:
        """Load prices and listen to LiveKit's usage reports.

        All files are read here, so build it before the event loop runs.

        Args:
            downstream: A processor to wrap.
            catalog: Prices; the default is the shipped ones with the overrides of ``settings``.
            settings: Options; the default is the environment, where a bad variable is logged
                and left out.
            meter_provider: Where metrics go; the default is the global one.
        """
        self._downstream = downstream
        self._is_shut_down = False
        self._diagnostics = Diagnostics()
        if settings is None:
            settings, problems = Settings.from_environment()
            self._log_problems(problems)
        self._active = settings.enabled  # until it is shut down
        if settings.debug:
            self._diagnostics.start_debugging()
        if not self._active:
            return
        self._book = SessionBook()
        self._own_attributes: dict[SpanKey, dict[str, Any]] = {}  # of spans being made
        self._pipeline = Pipeline(
            self._configured(settings) if catalog is None else catalog,
            self._dialects(settings),
            self._book,
            Meters(self._diagnostics, meter_provider),
            self._diagnostics,
        )
        self._resource: Resource | None = None  # of the provider, for spans built by hand
        self._scope: InstrumentationScope | None = None
        self._behind: tuple[SpanProcessor, ...] = ()
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
        ending = getattr(self._downstream, "_on_ending", None)  # the hook is new in SDK 1.40
        if ending is not None:
            self._guarded("the wrapped processor", ending, span)

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
        if self._downstream is not None and not self._is_shut_down:
            self._is_shut_down = True
            self._guarded("the wrapped processor", self._downstream.shutdown)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Put the late usage of ended sessions on spans of its own and flush downstream.

        Args:
            timeout_millis: Time for both.

        Returns:
            What downstream returns, False where it raises; True without one.
        """
        start_ns = monotonic_ns()
        if self._active:
            self._guarded("late usage", self._drain, live=False)
        if self._downstream is None:
            return True
        spent_millis = (monotonic_ns() - start_ns) // 1_000_000
        left_millis = max(0, timeout_millis - spent_millis)
        return bool(self._guarded("the wrapped processor", self._downstream.force_flush, left_millis))

    def stats(self) -> Stats:
        """What this processor has counted so far."""
        return stats_of(self._diagnostics.counts)

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
        rule, parent = RULES.get(span.name), span.parent
        if rule is not None and is_livekit(span):
            if rule.role is Role.SESSION:
                self._begin_session(span)
                return
            is_turn, request = rule.role is Role.TURN, rule.nests
        elif parent is None:
            return
        else:
            is_turn, request = False, None
        self._book.begin(span_key(span), parent[:2] if parent else None, is_turn=is_turn, request=request)

    def _begin_session(self, span: Span) -> None:
        owner = _owners.setdefault(span, weakref.ref(self))()
        passive = owner is not None and owner is not self
        if passive:
            self._diagnostics.warn(
                "second processor",
                "Two VoiceCostSpanProcessors see the same sessions. The first accounts for them, this one is passive.",
            )
        self._resource, self._scope = span.resource, span.instrumentation_scope
        processors = processors_of(span)
        self._behind = processors[processors.index(self) + 1 :] if self in processors else ()
        dropped = self._book.open(span_key(span), span.start_time or time_ns(), passive=passive, span=span)
        self._flush(dropped)

    def _check_order(self, span: Span) -> None:
        self._order_checked = True
        problem = order_problem(span, self)
        if problem:
            self._diagnostics.warn("order", problem)

    def _priced(self, span: ReadableSpan) -> ReadableSpan:
        """Return the span with its cost: the very same one, or a copy for downstream."""
        key = span_key(span)
        if not is_livekit(span):
            self._book.finish(key)
            return span
        try:
            attributes = self._own_attributes.pop(key, None)
            if attributes is None:
                attributes, own_spans = self._pipeline.attributes_for(span, key)
                if own_spans:
                    self._make_spans(own_spans)
        finally:
            self._book.finish(key)
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
        elif self is next(
            (p for p in processors_of(livekit_provider()) if isinstance(p, VoiceCostSpanProcessor)), None
        ):
            self._pipeline.report_unsampled(event)

    # spans of our own

    def _drain(self, *, live: bool) -> None:
        self._flush(self._book.drain(live=live))

    def _flush(self, sessions: Iterable[Session]) -> None:
        self._make_spans(self._pipeline.settle_all(sessions))

    def _make_spans(self, spans: list[OwnSpan]) -> None:
        for span in spans:
            self._guarded(span.name, self._make_span, span)

    def _make_span(self, own: OwnSpan) -> None:
        """Make a span with LiveKit's tracer, so that it passes every processor as LiveKit's do.

        Its attributes are added on its way, in `on_end`, where the SDK's span limits cut nothing.
        Wrapping, or where LiveKit uses another provider by now, the span is built by hand.
        """
        tracer = livekit_tracer() if self._downstream is None else None
        if tracer is not None:
            parent = trace.set_span_in_context(trace.NonRecordingSpan(_context(*own.session_key)))
            span = tracer.start_span(own.name, context=parent, start_time=own.start_ns)
            if self in processors_of(span):
                context = span.get_span_context()
                self._own_attributes[context.trace_id, context.span_id] = own.attributes
                span.end(own.end_ns)
                return
        built = ReadableSpan(
            name=own.name,
            context=_context(own.session_key[0], _ids.generate_span_id()),
            parent=_context(*own.session_key),
            resource=self._resource,
            attributes=BoundedAttributes(attributes=own.attributes, immutable=True),
            start_time=own.start_ns,
            end_time=own.end_ns,
            instrumentation_scope=self._scope,
        )
        for processor in [self._downstream] if self._downstream is not None else self._behind:
            processor.on_end(built)

    # construction

    def _configured(self, settings: Settings) -> PriceCatalog:
        catalog, problems = configured_catalog(settings)
        self._log_problems(problems)
        return catalog

    def _dialects(self, settings: Settings) -> Dialects:
        self._log_problems(dialect_problems(settings.dialects))
        options = Options(speech_as_tokens=settings.speech_as_tokens, langfuse_content=settings.langfuse_content)
        return Dialects(known_dialects(settings.dialects), options)

    def _log_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._diagnostics.warn("problem", f"Left out. {problem}")


def configured_catalog(settings: Settings) -> tuple[PriceCatalog, list[Problem]]:
    """Return the default catalogue with the overrides of the settings, and every problem with these.

    Sound entries hold whatever is wrong with others. Prices in the variable win over those in files.
    """
    sheets = [parse_sheet(settings.prices, "VOICE_COST_PRICES")]
    sheets += [read_sheet(Path(path)) for path in settings.prices_file.split(os.pathsep) if path]
    catalog = PriceCatalog.default()
    for sheet in reversed(sheets):
        catalog = catalog.with_sheet(sheet)
    return catalog, [problem for sheet in sheets for problem in sheet.problems]


_ids = RandomIdGenerator()


def _context(trace_id: int, span_id: int) -> trace.SpanContext:
    return trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
