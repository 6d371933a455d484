"""Usage that LiveKit reports by event: speech-to-text always, the rest as a check on the spans."""

from __future__ import annotations

import sys
from time import time_ns
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Tracer, TracerProvider

from ..usage import Component
from .metrics import COMPONENTS

__all__ = ["SPANLESS", "SpanKey", "UsageEvent", "livekit_provider", "livekit_tracer", "read_event"]

SpanKey = tuple[int, int]  # trace id, span id

SPANLESS = frozenset({Component.INTERRUPTION, Component.STT, Component.TURN_DETECTION})  # told by events alone

_MAX_HELD = 16  # of a list

# Adapters that measure the work of the component inside once more: before 1.8.
_REPEATING = {"livekit.agents.stt.multi_speaker_adapter.MultiSpeakerAdapter"}


class UsageEvent(NamedTuple):
    """One report of usage.

    Attributes:
        component: Who reported.
        text: The metrics as JSON, equal to the JSON on the span that carries the same report.
        span_key: The span that was current.
        time_ns: When, nanoseconds since the epoch.
        sampled: Whether that span is exported; True where there was none.
        reporter: The object that reported.
        holds: The objects that report too and that it has as attributes: it may be a class around one of them.
        work: The request, empty where the vendor names none, and its amounts, where no span tells the work apart.
    """

    component: Component
    text: str
    span_key: SpanKey
    time_ns: int
    sampled: bool = True
    reporter: int = 0
    holds: frozenset[int] = frozenset()
    work: tuple[object, ...] | None = None


def read_event(metrics: Any, reporter: object) -> UsageEvent | None:
    """Return a metrics object as an event of the current span, or None where it reports no usage.

    Args:
        metrics: LiveKit's.
        reporter: The component that reports.

    Raises:
        Exception: Whatever a broken metrics object raises when it is made into JSON.
    """
    component = COMPONENTS.get(getattr(metrics, "type", ""))
    if component is None or getattr(metrics, "label", "") in _REPEATING:
        return None
    context = trace.get_current_span().get_span_context()
    hears = component is Component.STT
    return UsageEvent(
        component=component,
        text=metrics.model_dump_json(),
        span_key=(context.trace_id, context.span_id),
        time_ns=time_ns(),
        sampled=context.trace_flags.sampled or not context.is_valid,
        reporter=id(reporter),
        holds=_held_by(reporter) if hears else frozenset(),
        work=_work_of(metrics) if hears else None,
    )


def _work_of(metrics: Any) -> tuple[object, ...]:
    """The request and its amounts, which a class around another reports once more."""
    amounts = [getattr(metrics, name, None) for name in ("audio_duration", "input_tokens", "output_tokens")]
    return (getattr(metrics, "request_id", None) or "", *amounts)


def _held_by(reporter: object) -> frozenset[int]:
    """The emitters among an object's attributes, and in lists there."""
    held: list[object] = []
    for value in list(getattr(reporter, "__dict__", {}).values()):
        held += value[:_MAX_HELD] if isinstance(value, (list, tuple)) else [value]
    return frozenset(id(value) for value in held if hasattr(type(value), "emit"))


def livekit_tracer() -> Tracer | None:
    """The tracer LiveKit makes its spans with, or None where LiveKit is not imported.

    Source:
        livekit-agents 1.2 to 1.8, ``telemetry/__init__.py``: ``tracer`` follows ``set_tracer_provider``.
    """
    telemetry = sys.modules.get("livekit.agents.telemetry")
    return getattr(telemetry, "tracer", None)


def livekit_provider() -> TracerProvider:
    """The tracer provider LiveKit was given, else the global one.

    Source:
        livekit-agents 1.2 to 1.8, ``telemetry/traces.py``: ``_DynamicTracer._tracer_provider``, the global
        one's proxy until ``set_tracer_provider``.
    """
    provider = getattr(livekit_tracer(), "_tracer_provider", None)
    return trace.get_tracer_provider() if provider is None or isinstance(provider, ProxyTracerProvider) else provider
