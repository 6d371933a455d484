"""Read the usage that LiveKit reports by event: always for speech-to-text, otherwise as a check on the spans."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from time import time_ns
from typing import Any

from opentelemetry import trace

from ...usage import Component, Reading
from .. import Attributes, UsageReport
from .metrics import COMPONENTS, decode, name_request, read_metrics, read_model

__all__ = ["read_report"]

_WITHOUT_SPAN = frozenset({Component.INTERRUPTION, Component.STT, Component.TURN_DETECTION})
_MAX_HELD = 16  # of a list

# Adapters that measure the work of the wrapped component again, before 1.8.
_REPEATING = {"livekit.agents.stt.multi_speaker_adapter.MultiSpeakerAdapter"}


def read_report(metrics: Any, reporter: object) -> UsageReport | None:
    """Return a metrics object as a report below the current span, or None if it reports no usage.

    Args:
        metrics: LiveKit's metrics object.
        reporter: The component that reports it.

    Raises:
        Exception: A broken metrics object cannot be converted to JSON.
    """
    component = COMPONENTS.get(getattr(metrics, "type", ""))
    if component is None or getattr(metrics, "label", "") in _REPEATING:
        return None
    context, now_ns, is_stt = trace.get_current_span().get_span_context(), time_ns(), component is Component.STT
    has_span = component not in _WITHOUT_SPAN
    # no span has the JSON to compare, and the fields alone take half the time
    fields = None if has_span else getattr(metrics, "model_dump", lambda: None)()
    text = metrics.model_dump_json() if fields is None else ""
    return UsageReport(
        component=component,
        match_key=text,
        span_key=(context.trace_id, context.span_id),
        time_ns=now_ns,
        read=partial(_read, component, fields or text, now_ns),
        read_model=partial(read_model, component, fields or text, now_ns),
        read_request=partial(_read_request, component, text),
        has_span=has_span,
        sampled=context.trace_flags.sampled or not context.is_valid,
        reporter=id(reporter),
        holds=_held_by(reporter) if is_stt else frozenset(),
        work=_to_work(metrics) if is_stt else None,
    )


def _read(
    component: Component, metrics: str | dict[str, object], now_ns: int, attributes: Attributes
) -> Reading | None:
    fields = decode(metrics) if isinstance(metrics, str) else metrics
    return read_metrics(component, fields, now_ns, attributes)


def _read_request(component: Component, text: str) -> Hashable:
    return name_request(decode(text)) if component is Component.LLM else None


def _to_work(metrics: Any) -> tuple[object, ...]:
    """Return the request and its amounts, which a class that wraps another reports again."""
    amounts = [getattr(metrics, name, None) for name in ("audio_duration", "input_tokens", "output_tokens")]
    return (getattr(metrics, "request_id", None) or "", *amounts)


def _held_by(reporter: object) -> frozenset[int]:
    """Return the ids of the emitters in an object's attributes, including lists."""
    held: list[object] = []
    for value in list(getattr(reporter, "__dict__", {}).values()):
        held += value[:_MAX_HELD] if isinstance(value, (list, tuple)) else [value]
    return frozenset(id(value) for value in held if hasattr(type(value), "emit"))
