"""Set attributes on a span that has ended."""

from __future__ import annotations

import copy
from typing import Any, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import Attributes, AttributeValue

__all__ = ["copy_attributes", "held_back", "sdk_shares_spans", "set_attributes"]


def set_attributes(span: ReadableSpan, attributes: dict[str, AttributeValue]) -> None:
    """Replace the attributes of an ended span for the processors after this one.

    The container is shared with the live span and frozen, so it is replaced, never written to.
    The new one has no limits: attributes that the SDK dropped stay dropped and counted, added
    ones are kept. Its values are clean; the SDK's container would clean each again.

    Source:
        livekit-agents 1.8.9, ``telemetry/pii.py``, leaves a dict too; opentelemetry-sdk 1.34 to 1.45,
        ``trace/__init__.py``, passes one snapshot through all processors in the order added.
    """
    if span.dropped_attributes:
        counting = BoundedAttributes(attributes=attributes, immutable=True)
        counting.dropped = span.dropped_attributes
        span._attributes = cast("Attributes", counting)  # an ended span has no public setter
    else:
        span._attributes = attributes


def copy_attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a copy of a span's attributes. The SDK's mapping takes a lock and runs Python code at each look-up."""
    attributes: Any = span.attributes
    if not attributes:
        return {}
    try:
        copied: dict[str, Any] = attributes.copy()
    except AttributeError:  # another processor may set any mapping, behind the SDK's proxy
        return dict(attributes)
    return copied


def held_back(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of an ended span, and mark the span as not sampled, so that the SDK's exporters skip it."""
    copied, context = copy.copy(span), span.context
    if context is not None:
        span._context = SpanContext(context.trace_id, context.span_id, context.is_remote)
    return copied


def sdk_shares_spans() -> bool:
    """Return True if, in the installed SDK, a processor receives the attributes that an earlier one added."""
    seen: list[object] = []

    class _Adds(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            set_attributes(span, {"added": 1})

    class _Sees(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append((span.attributes or {}).get("added"))

    processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    processors.add_span_processor(_Adds())
    processors.add_span_processor(_Sees())
    processors.on_end(
        ReadableSpan(name="check", attributes=BoundedAttributes(attributes={"kept": 1}), resource=Resource({}))
    )
    return seen == [1]
