"""The order of the processors of a provider.

The only module that reads the SDK's list of processors, which has no public API. Every access handles
providers with another structure.

Source:
    opentelemetry-sdk 1.34 to 1.45, ``trace/__init__.py``: ``TracerProvider._active_span_processor``,
    ``SynchronousMultiSpanProcessor._span_processors`` and ``_lock``, ``Span._span_processor``.
"""

from __future__ import annotations

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider

__all__ = ["exports", "get_processors", "order_problem", "put_first"]


def get_processors(holder: object) -> tuple[SpanProcessor, ...]:
    """Return the processors of a provider, a live span or the multi-processor of both; empty if unknown.

    Nested multi-processors are replaced by their processors.
    """
    active = getattr(holder, "_active_span_processor", None) or getattr(holder, "_span_processor", None) or holder
    found = getattr(active, "_span_processors", ())
    processors = found if isinstance(found, tuple) else ()
    if not any(hasattr(processor, "_span_processors") for processor in processors):
        return processors
    return tuple(inner for processor in processors for inner in get_processors(processor) or (processor,))


def put_first(provider: TracerProvider, processor: SpanProcessor) -> bool:
    """Put a processor before all others of a provider. Return False if the provider has another structure."""
    active = getattr(provider, "_active_span_processor", None)
    if not isinstance(active, SynchronousMultiSpanProcessor):
        return False
    with active._lock:
        active._span_processors = (processor, *(p for p in active._span_processors if p is not processor))
    return True


def order_problem(span: object, processor: SpanProcessor) -> str | None:
    """Return the problem with the position of a processor that replaces attributes, or None.

    Args:
        span: A live span of the provider.
        processor: The processor.
    """
    active = getattr(span, "_span_processor", None)
    if active is not None and type(active).__name__ == "ConcurrentMultiSpanProcessor":
        return (
            "The tracer provider runs its span processors side by side, so exporters may not see the cost. "
            "Wrap the exporting processor instead: VoiceCostSpanProcessor(BatchSpanProcessor(...))."
        )
    for other in get_processors(span):
        if other is processor:
            return None
        if exports(other):
            return (
                f"VoiceCostSpanProcessor was added after {type(other).__name__}, which exports spans before they "
                "have their cost. Add VoiceCostSpanProcessor first, or call "
                "otel_voice_cost.install(provider)."
            )
    return None


def exports(processor: SpanProcessor) -> bool:
    """Return True if a processor exports spans: the SDK's processors, their subclasses and others."""
    return any(hasattr(processor, name) for name in ("span_exporter", "_batch_processor", "_exporter", "exporter"))
