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

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from ..cost import Cost
from ..usage import Component, Unit
from . import SpanFacts
from .genai import REQUEST_MODEL, RESPONSE_MODEL

__all__ = ["cost_attributes", "repeat_attributes"]

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
_SPOKEN = "output_audio_milliseconds"  # seconds that text-to-speech spoke, not heard
_SECONDS = {Unit.AUDIO_SECOND, Unit.SESSION_SECOND}
_MODEL_KEYS = (REQUEST_MODEL, RESPONSE_MODEL)
_TWELVE = Decimal(1).scaleb(-12)  # Decimal(18, 12), which ClickHouse cuts instead of rounding
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)


def cost_attributes(cost: Cost, span: SpanFacts, *, speech_as_tokens: bool) -> dict[str, Any]:
    """Return the attributes that make the span a generation with this usage and cost."""
    attributes: dict[str, Any] = {
        TYPE: "generation",
        MODEL_NAME: cost.name or cost.usage.model,
        USAGE_DETAILS: _usage_details(cost),
    }
    if cost.usd is not None:
        attributes[COST_DETAILS] = _cost_details(cost)
    if span.name == "tts_request" and not span.is_error:
        attributes[LEVEL] = "DEFAULT"  # Langfuse hides these spans by default
    return attributes


def repeat_attributes(span: SpanFacts) -> dict[str, Any]:
    """Return the attributes that keep Langfuse from pricing a span that only names a model."""
    if not any(key in span.attributes for key in _MODEL_KEYS):
        return {}
    attributes = {COST_DETAILS: '{"total": 0}'}
    if span.name != "llm_request":
        attributes[TYPE] = "span"
    return attributes


def _bucket(unit: Unit, component: Component) -> str:
    if unit is Unit.AUDIO_SECOND and component is Component.TTS:
        return _SPOKEN
    return _BUCKETS[unit]


def _usage_details(cost: Cost) -> str:
    buckets = {}
    for unit, amount in cost.usage.quantities.items():
        thousandfold = amount.scaleb(3, context=_ROUNDING) if unit in _SECONDS else amount
        buckets[_bucket(unit, cost.usage.component)] = thousandfold.quantize(Decimal(1), context=_ROUNDING)
    return _json({**buckets, "total": sum(buckets.values(), Decimal(0))})


def _cost_details(cost: Cost) -> str:
    buckets: dict[str, Decimal] = {}
    for line in cost.lines:
        bucket = _bucket(line.unit, cost.usage.component)
        buckets[bucket] = _ROUNDING.add(buckets.get(bucket, Decimal(0)), line.usd)
    return _json({key: _dollars(usd) for key, usd in {**buckets, "total": cost.usd or Decimal(0)}.items()})


def _dollars(usd: Decimal) -> Decimal:
    return usd.quantize(_TWELVE, context=_ROUNDING).normalize(_ROUNDING)


def _json(numbers: dict[str, Decimal]) -> str:
    """JSON with the exact digits of its numbers, which ``json`` can write as floats only."""
    return "{" + ", ".join(f'"{key}": {number:f}' for key, number in numbers.items()) + "}"
