"""What Langfuse reads, in both its write paths.

Given cost wins over anything Langfuse computes; on a span that only repeats a model a cost of zero keeps it
from pricing the text it finds there. Usage and cost are JSON text with disjoint buckets and their
``total``; a fraction in usage would be dropped, so seconds are given in milliseconds.

Source:
    Langfuse 4.16.0, ``packages/shared/src/server/otel/OtelIngestionProcessor.ts`` (what is read),
    ``packages/shared/src/server/ingestion/types.ts`` (what is dropped),
    ``worker/src/services/IngestionService/index.ts`` (how cost is computed).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from ..bill import CallCost, TraceCost
from ..cost import Cost
from ..usage import Component, Measure, Unit
from . import Options, SpanFacts
from .genai import REQUEST_MODEL, RESPONSE_MODEL
from .voice_cost import to_text

__all__ = ["bucket", "cost_attributes", "repeat_attributes", "session_attributes"]

METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
INPUT = "langfuse.observation.input"
OUTPUT = "langfuse.observation.output"
COST_DETAILS = "langfuse.observation.cost_details"
LEVEL = "langfuse.observation.level"
MODEL_NAME = "langfuse.observation.model.name"
TYPE = "langfuse.observation.type"
USAGE_DETAILS = "langfuse.observation.usage_details"

# The names of Langfuse's own price list; each contains exactly one of "input" and "output".
_BUCKETS = {
    Unit.AUDIO_SECOND: "input_audio_milliseconds",
    Unit.CACHED_INPUT_AUDIO_TOKEN: "input_cached_audio_tokens",
    Unit.CACHED_INPUT_IMAGE_TOKEN: "input_cached_image_tokens",
    Unit.CACHED_INPUT_TEXT_TOKEN: "input_cached_text_tokens",
    Unit.CACHED_INPUT_TOKEN: "input_cached_tokens",
    Unit.CACHE_WRITE_TOKEN: "input_cache_creation",
    Unit.CHARACTER: "input_characters",
    Unit.INPUT_AUDIO_TOKEN: "input_audio_tokens",
    Unit.INPUT_IMAGE_TOKEN: "input_image_tokens",
    Unit.INPUT_TEXT_TOKEN: "input_text_tokens",
    Unit.INPUT_TOKEN: "input",
    Unit.OUTPUT_AUDIO_TOKEN: "output_audio_tokens",
    Unit.OUTPUT_TEXT_TOKEN: "output_text_tokens",
    Unit.OUTPUT_TOKEN: "output",
    Unit.REASONING_TOKEN: "output_reasoning_tokens",
    Unit.REQUEST: "input_requests",
    Unit.SESSION_SECOND: "input_session_milliseconds",
    Unit.UNSPACED_CHARACTER: "input_unspaced_characters",
    Unit.UTF8_BYTE: "input_utf8_bytes",
    Unit.WIDE_CHARACTER: "input_wide_characters",
}
# Source: livekit-agents 1.2.18 to 1.8.9, telemetry/trace_types.py; the second names before 1.7.
_CONTENT = {
    INPUT: ("lk.pii.input_text", "lk.input_text"),
    OUTPUT: ("lk.pii.user_transcript", "lk.user_transcript", "lk.pii.response.text", "lk.response.text"),
}
_OF_TTS = {**_BUCKETS, Unit.AUDIO_SECOND: "output_audio_milliseconds"}  # spoken, not heard
_SECONDS = {Unit.AUDIO_SECOND, Unit.SESSION_SECOND}
_MODEL_KEYS = (REQUEST_MODEL, RESPONSE_MODEL)
_ONE = Decimal(1)
_TWELVE = Decimal(1).scaleb(-12)  # Decimal(18, 12), which ClickHouse cuts instead of rounding
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)


def cost_attributes(cost: Cost, span: SpanFacts, options: Options) -> dict[str, Any]:
    """Return the attributes that make the span a generation with this usage and cost.

    Langfuse adds all usage up as tokens. Without ``speech_as_tokens``, characters and seconds stay out
    of usage and go to the metadata.
    """
    attributes: dict[str, Any] = {TYPE: "generation", MODEL_NAME: cost.name or cost.usage.model}
    buckets = _amounts(cost)
    if options.speech_as_tokens or all(unit.measure is Measure.TOKEN for unit in cost.usage.quantities):
        attributes[USAGE_DETAILS] = _json({**buckets, "total": sum(buckets.values())})
    else:
        attributes[USAGE_DETAILS] = "{}"
        attributes |= {METADATA + name: amount for name, amount in buckets.items()}
    if cost.usd is not None:
        attributes[COST_DETAILS] = _cost_details(cost)
    if span.name == "tts_request" and not span.is_error:
        attributes[LEVEL] = "DEFAULT"  # Langfuse hides these spans by default
    if options.langfuse_content:
        attributes |= _content(span)
    return attributes


def session_attributes(record: CallCost, trace: TraceCost) -> dict[str, Any]:
    """Return what the sessions of the trace cost by now as its metadata, in doubles, to filter the list of traces by.

    A trace has one such entry of each name, so the last session that ends writes the sum of all.
    """
    attributes: dict[str, Any] = {
        TRACE_METADATA + "voice_cost_usd": float(trace.usd),
        TRACE_METADATA + "voice_cost_unpriced": trace.unpriced,
    }
    for component, usd in trace.by_component.items():
        attributes[f"{TRACE_METADATA}voice_cost_{component.value}_usd"] = float(usd)
    if trace.usd_per_minute is not None:
        attributes[TRACE_METADATA + "voice_cost_usd_per_minute"] = float(trace.usd_per_minute)
    return attributes


def repeat_attributes(span: SpanFacts, options: Options) -> dict[str, Any]:
    """Return the attributes that keep Langfuse from pricing a span that only names a model."""
    attributes = _content(span) if options.langfuse_content and span.name == "user_turn" else {}
    if not any(key in span.attributes for key in _MODEL_KEYS):
        return attributes
    attributes[COST_DETAILS] = '{"total": 0}'
    if span.name != "llm_request":
        attributes[TYPE] = "span"
    return attributes


def bucket(unit: Unit, component: Component) -> str:
    """The usage key of a unit; it contains exactly one of "input" and "output"."""
    return (_OF_TTS if component is Component.TTS else _BUCKETS)[unit]


def _amounts(cost: Cost) -> dict[str, int]:
    buckets = _OF_TTS if cost.usage.component is Component.TTS else _BUCKETS
    return {
        buckets[unit]: int(amount.scaleb(3, _ROUNDING).quantize(_ONE, context=_ROUNDING))
        if unit in _SECONDS
        else int(amount)
        for unit, amount in cost.usage.quantities.items()
    }


def _content(span: SpanFacts) -> dict[str, Any]:
    """What was said, where LiveKit left it on the span: it writes what Langfuse does not read since 1.7."""
    found = {}
    for key, names in _CONTENT.items():
        text = next((span.attributes[name] for name in names if name in span.attributes), None)
        if key not in span.attributes and isinstance(text, str):
            found[key] = text
    return found


def _cost_details(cost: Cost) -> str:
    buckets: dict[str, Decimal] = {}
    for line in cost.lines:
        key = bucket(line.unit, cost.usage.component)
        buckets[key] = _ROUNDING.add(buckets[key], line.usd) if key in buckets else line.usd
    buckets["total"] = cost.usd or Decimal(0)
    return _json({key: _twelve_places(usd) for key, usd in buckets.items()})


def _twelve_places(usd: Decimal) -> str:
    text = to_text(usd)
    places = len(text) - text.find(".") - 1 if "." in text else 0
    return text if places <= 12 else to_text(usd.quantize(_TWELVE, context=_ROUNDING))


def _json(numbers: Mapping[str, int | str]) -> str:
    """JSON with the exact digits of its numbers, which ``json`` can write as floats only."""
    return "{" + ", ".join([f'"{key}": {number}' for key, number in numbers.items()]) + "}"
