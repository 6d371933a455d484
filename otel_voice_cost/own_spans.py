"""Makes spans of our own, for what no span of LiveKit's carries."""

from __future__ import annotations

import weakref

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._forks import reset_after_fork
from .dialects import Attributes
from .ending import OwnSpan
from .livekit.events import SpanKey, livekit_provider, livekit_tracer
from .livekit.spans import is_livekit
from .order import processors_of

__all__ = ["SpanMaker"]

_ids = RandomIdGenerator()


class SpanMaker:
    """Makes spans that pass the same processors as LiveKit's.

    Attributes:
        provider_processor: All processors of the provider as one; None before its first span.
    """

    def __init__(self, owner: SpanProcessor, downstream: SpanProcessor | None) -> None:
        """Make spans for one processor.

        Args:
            owner: The processor whose provider is LiveKit's, or was.
            downstream: The processor it wraps; the spans then go there alone.
        """
        self._owner = weakref.ref(owner)
        self._downstream = downstream
        self._attributes: dict[SpanKey, Attributes] = {}  # of spans being made
        self._resource: Resource | None = None  # of the provider, for spans built by hand
        self._scope: InstrumentationScope | None = None
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Look at the provider anew, in a forked child: it has an end of its own to watch."""
        self.provider_processor: SpanProcessor | None = None

    def note_provider(self, span: Span) -> None:
        """Remember where spans go, should LiveKit use another provider later."""
        self.provider_processor = getattr(span, "_span_processor", self._owner())
        self._resource = span.resource
        if is_livekit(span):
            self._scope = span.instrumentation_scope

    def behind(self) -> tuple[SpanProcessor, ...]:
        """The processors that get a span after the owner."""
        processors, owner = processors_of(self.provider_processor), self._owner()
        return processors[processors.index(owner) + 1 :] if owner in processors else ()

    def exporters_behind(self) -> list[SpanProcessor]:
        """The SDK's exporting ones among them, and those made of it: they leave out what is not sampled."""
        return [p for p in self.behind() if isinstance(p, (BatchSpanProcessor, SimpleSpanProcessor))]

    def _is_on(self, provider: object) -> bool:
        """Whether the owner has the spans of a provider: it has seen one of them, or is one of its processors."""
        processor = getattr(provider, "_active_span_processor", None)
        seen = processor is not None and processor is self.provider_processor
        return seen or self._owner() in processors_of(provider)

    def take(self, key: SpanKey) -> Attributes | None:
        """The attributes of a span of our own on its way; None for any other span."""
        return self._attributes.pop(key, None)

    def make(self, own: OwnSpan) -> None:
        """Make a span with LiveKit's tracer.

        Its attributes are added on its way, in `on_end`, where the SDK's span limits cut nothing.
        Wrapping, or where LiveKit uses another provider by now, the span is built by hand.
        """
        parent = _context(*own.parent) if any(own.parent) else None
        tracer = livekit_tracer() if self._downstream is None else None
        if tracer is not None and self._is_on(livekit_provider()):
            above = trace.set_span_in_context(trace.NonRecordingSpan(parent or trace.INVALID_SPAN_CONTEXT), Context())
            span = tracer.start_span(own.name, context=above, start_time=own.start_ns)
            context = span.get_span_context()
            if span.is_recording():
                self._attributes[context.trace_id, context.span_id] = own.attributes
                span.end(own.end_ns)
                return
            if parent is None:
                return  # not sampled
        trace_id = parent.trace_id if parent is not None else _ids.generate_trace_id()
        built = ReadableSpan(
            name=own.name,
            context=_context(trace_id, _ids.generate_span_id()),
            parent=parent,
            resource=self._resource,
            attributes=BoundedAttributes(attributes=own.attributes, immutable=True),
            start_time=own.start_ns,
            end_time=own.end_ns,
            instrumentation_scope=self._scope,
        )
        for processor in [self._downstream] if self._downstream is not None else self.behind():
            processor.on_end(built)


def _context(trace_id: int, span_id: int) -> trace.SpanContext:
    return trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
