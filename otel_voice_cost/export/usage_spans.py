"""Usage spans: separate spans for usage that no span of a framework carries."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .._runtime.forks import reset_after_fork
from ..sources import Source, SpanKey
from .dialects import Attributes
from .processor_order import get_processors

__all__ = ["UsageSpan", "UsageSpanEmitter"]

_ids = RandomIdGenerator()


class UsageSpan(NamedTuple):
    """A span to create for usage that no span of a framework carries.

    Attributes:
        name: The component and ``_usage``: ``stt_usage``, ``telephony_usage``.
        source: The framework whose tracer creates it.
        parent: The session's span or, outside of sessions, the current span; zeros for none.
        start_ns: Time of its first report, nanoseconds since the epoch.
        end_ns: Time of its last report.
        attributes: All attributes.
    """

    name: str
    source: Source
    parent: SpanKey
    start_ns: int
    end_ns: int
    attributes: Attributes


class UsageSpanEmitter:
    """Creates usage spans and passes them to the same processors as the framework's spans.

    Attributes:
        pop_attributes: Removes and returns the attributes of a usage span being emitted; for any other span, None.
        provider_processor: All processors of the provider as one; None before its first span.
    """

    def __init__(self, owner: SpanProcessor, downstream: SpanProcessor | None) -> None:
        """Create spans for one processor.

        Args:
            owner: The processor; its provider is or was the framework's.
            downstream: The processor it wraps, which then alone receives the spans.
        """
        self._owner = weakref.ref(owner)
        self._downstream = downstream
        self._attributes: dict[SpanKey, Attributes] = {}  # of spans being created
        self.pop_attributes: Callable[[SpanKey, None], Attributes | None] = self._attributes.pop
        self._resource: Resource | None = None  # of the provider, for spans built by hand
        self._scopes: dict[str, InstrumentationScope] = {}
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget the provider in a forked child, which must register its own exit."""
        self.provider_processor: SpanProcessor | None = None

    def note_provider(self, span: Span) -> None:
        """Remember the destination of spans, in case the framework uses another provider later."""
        self.provider_processor = getattr(span, "_span_processor", self._owner())
        self._resource = span.resource
        scope = span.instrumentation_scope
        if scope is not None:
            self._scopes.setdefault(scope.name, scope)

    def behind(self) -> tuple[SpanProcessor, ...]:
        """Return the processors that receive a span after the owner."""
        processors, owner = get_processors(self.provider_processor), self._owner()
        return processors[processors.index(owner) + 1 :] if owner in processors else ()

    def can_hold_back(self) -> bool:
        """Return True if all processors after the owner are the SDK's exporting ones, which skip unsampled spans."""
        behind = self.behind()
        return bool(behind) and all(isinstance(p, (BatchSpanProcessor, SimpleSpanProcessor)) for p in behind)

    def emit(self, usage_span: UsageSpan) -> None:
        """Create a span with the framework's tracer.

        Its attributes are added in `on_end`, so that the SDK's span limits do not apply. The span is built by hand
        if the owner wraps a processor or the framework now uses another provider.
        """
        parent = _context(*usage_span.parent) if any(usage_span.parent) else None
        tracer = usage_span.source.tracer() if self._downstream is None else None
        if tracer is not None and self._receives_from(usage_span.source.provider()):
            above = trace.set_span_in_context(trace.NonRecordingSpan(parent or trace.INVALID_SPAN_CONTEXT), Context())
            span = tracer.start_span(usage_span.name, context=above, start_time=usage_span.start_ns)
            context = span.get_span_context()
            if span.is_recording():
                self._attributes[context.trace_id, context.span_id] = usage_span.attributes
                span.end(usage_span.end_ns)
                return
            if parent is None:
                return  # not sampled
        trace_id = parent.trace_id if parent is not None else _ids.generate_trace_id()
        scopes = [scope for name, scope in self._scopes.items() if name in usage_span.source.scopes]
        built = ReadableSpan(
            name=usage_span.name,
            context=_context(trace_id, _ids.generate_span_id()),
            parent=parent,
            resource=self._resource,
            attributes=BoundedAttributes(attributes=usage_span.attributes, immutable=True),
            start_time=usage_span.start_ns,
            end_time=usage_span.end_ns,
            instrumentation_scope=scopes[0] if scopes else None,
        )
        for processor in [self._downstream] if self._downstream is not None else self.behind():
            processor.on_end(built)

    def _receives_from(self, provider: object) -> bool:
        """Return True if the owner receives a provider's spans: it received one, or is one of its processors."""
        processor = getattr(provider, "_active_span_processor", None)
        is_seen = processor is not None and processor is self.provider_processor
        return is_seen or self._owner() in get_processors(provider)


def _context(trace_id: int, span_id: int) -> trace.SpanContext:
    return trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
