"""Langfuse's observation attributes, for both of its write paths.

A given cost takes precedence over Langfuse's calculation; on a span that only repeats a model, a cost of zero
keeps Langfuse from pricing its text. Usage and cost are JSON text with disjoint buckets and their
``total``; fractions in usage are dropped, so seconds are given in milliseconds.

Source:
    Langfuse 4.16.0, ``packages/shared/src/server/otel/OtelIngestionProcessor.ts`` (attributes read),
    ``packages/shared/src/server/ingestion/types.ts`` (values dropped),
    ``worker/src/services/IngestionService/index.ts`` (cost calculation).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal

from ...bill import SessionCost, TraceCost
from ...cost import Cost
from ...sources import Role
from ...usage import Component, Dimension, Unit
from ..attributes import to_text
from . import Attributes, Dialect, SpanView
from .genai import REQUEST_MODEL, RESPONSE_MODEL

__all__ = ["DIALECTS", "bucket"]

METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
INPUT = "langfuse.observation.input"
OUTPUT = "langfuse.observation.output"
COST_DETAILS = "langfuse.observation.cost_details"
LEVEL = "langfuse.observation.level"
MODEL_NAME = "langfuse.observation.model.name"
STATUS_MESSAGE = "langfuse.observation.status_message"
TYPE = "langfuse.observation.type"
USAGE_DETAILS = "langfuse.observation.usage_details"

# Names from Langfuse's price list; each contains exactly one of "input" and "output".
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
_OF_TTS = {**_BUCKETS, Unit.AUDIO_SECOND: "output_audio_milliseconds"}  # spoken, not transcribed
_MODEL_KEYS = (REQUEST_MODEL, RESPONSE_MODEL)
_ONE = Decimal(1)
_PICO = Decimal(1).scaleb(-12)  # Decimal(18, 12), which ClickHouse truncates instead of rounding
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)


class Langfuse(Dialect):
    """Langfuse's observation attributes."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the attributes that make the span a generation with this usage and cost.

        Langfuse sums all usage as tokens. Without ``speech_as_tokens``, characters and seconds are written to
        the metadata instead.
        """
        attributes: Attributes = {TYPE: "generation", MODEL_NAME: cost.display_name or cost.usage.model}
        buckets = _amounts(cost)
        if self._options.speech_as_tokens or all(unit.dimension is Dimension.TOKEN for unit in cost.usage.quantities):
            attributes[USAGE_DETAILS] = _json({**buckets, "total": sum(buckets.values())})
        else:
            attributes[USAGE_DETAILS] = "{}"
            attributes |= {METADATA + name: amount for name, amount in buckets.items()}
        if cost.usd is not None:
            attributes[COST_DETAILS] = _cost_details(cost)
        if span.role is Role.REQUEST and span.component is Component.TTS and not span.is_error:
            attributes[LEVEL] = "DEFAULT"  # Langfuse hides these spans by default
        if self._options.langfuse_content:
            attributes |= _content(span)
        return attributes

    def wrapper_attributes(self, span: SpanView) -> Attributes:
        """Return the attributes that keep Langfuse from pricing a span that only names a model."""
        shows = self._options.langfuse_content and span.role is Role.USER_TURN
        attributes = _content(span) if shows else {}
        if not any(key in span.attributes for key in _MODEL_KEYS):
            return attributes
        attributes[COST_DETAILS] = '{"total": 0}'
        if not (span.role is Role.REQUEST and span.component is Component.LLM):
            attributes[TYPE] = "span"
        return attributes

    def unreported_attributes(self, reason: str, span: SpanView) -> Attributes:
        """Return a warning, so that nobody takes the missing cost for none."""
        return {LEVEL: "WARNING", STATUS_MESSAGE: f"{reason}: no usage was reported, cost unknown"}

    def session_attributes(self, session: SessionCost, trace: TraceCost) -> Attributes:
        """Return the cost of the trace's sessions so far as trace metadata, in doubles.

        A trace has one entry of each name, so the last session that ends writes the total.
        """
        attributes: Attributes = {
            TRACE_METADATA + "voice_cost_usd": float(trace.usd),
            TRACE_METADATA + "voice_cost_unpriced": trace.unpriced_count,
        }
        for component, usd in trace.by_component.items():
            attributes[f"{TRACE_METADATA}voice_cost_{component.value}_usd"] = float(usd)
        if trace.usd_per_minute is not None:
            attributes[TRACE_METADATA + "voice_cost_usd_per_minute"] = float(trace.usd_per_minute)
        return attributes


DIALECTS = {"langfuse": Langfuse}


def bucket(unit: Unit, component: Component) -> str:
    """Return the usage key of a unit; it contains exactly one of "input" and "output"."""
    return (_OF_TTS if component is Component.TTS else _BUCKETS)[unit]


def _amounts(cost: Cost) -> dict[str, int]:
    buckets = _OF_TTS if cost.usage.component is Component.TTS else _BUCKETS
    return {
        buckets[unit]: int(amount.scaleb(3, _ROUNDING).quantize(_ONE, context=_ROUNDING))
        if unit.is_seconds
        else int(amount)
        for unit, amount in cost.usage.quantities.items()
    }


def _content(span: SpanView) -> Attributes:
    """Return the conversation text under the keys that Langfuse reads and the framework may not write."""
    texts = span.read_texts(span.attributes)
    found = {INPUT: texts.spoken, OUTPUT: texts.heard}
    return {key: text for key, text in found.items() if text is not None and key not in span.attributes}


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
    return text if places <= 12 else to_text(usd.quantize(_PICO, context=_ROUNDING))


def _json(numbers: Mapping[str, int | str]) -> str:
    """Return JSON with the exact digits of its numbers, which ``json`` can write only as floats."""
    return "{" + ", ".join([f'"{key}": {number}' for key, number in numbers.items()]) + "}"
