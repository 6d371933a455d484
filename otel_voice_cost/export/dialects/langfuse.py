"""Langfuse's observation attributes, for both of its write paths.

A given cost takes precedence over Langfuse's calculation; on a span that only repeats a model, a cost of zero
keeps Langfuse from pricing its text. Usage and cost are JSON text with disjoint buckets and their
``total``. Usage with a fraction is dropped, and all usage is added up as tokens: so speech is given in characters
and whole seconds, which distort that sum least.

Source:
    Langfuse 4.16.0, ``packages/shared/src/server/otel/OtelIngestionProcessor.ts`` (attributes read),
    ``packages/shared/src/server/ingestion/types.ts`` (values dropped),
    ``worker/src/services/IngestionService/index.ts`` (cost calculation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from ...bill import SessionCost, TraceCost
from ...cost import Cost, CostNumbers, to_text
from ...sources import Role
from ...usage import Component, Dimension, Unit
from . import Attributes, CompiledDialect, Label, SpanView, Writer
from .genai import REQUEST_MODEL, RESPONSE_MODEL, to_whole_seconds

__all__ = ["DIALECTS", "bucket"]

METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
INPUT = "langfuse.observation.input"
OUTPUT = "langfuse.observation.output"
COST_DETAILS = "langfuse.observation.cost_details"
LEVEL = "langfuse.observation.level"
MODEL_NAME = "langfuse.observation.model.name"
STATUS_MESSAGE = "langfuse.observation.status_message"
SESSION_ID = "langfuse.session.id"
TRACE_NAME = "langfuse.trace.name"
TYPE = "langfuse.observation.type"
USAGE_DETAILS = "langfuse.observation.usage_details"
USER_ID = "langfuse.user.id"

# Names from Langfuse's price list; each contains exactly one of "input" and "output".
_BUCKETS = {
    Unit.AUDIO_SECOND: "input_audio_seconds",
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
    Unit.SESSION_SECOND: "input_session_seconds",
    Unit.UNSPACED_CHARACTER: "input_unspaced_characters",
    Unit.UTF8_BYTE: "input_utf8_bytes",
    Unit.WIDE_CHARACTER: "input_wide_characters",
}
_OF_TTS = {**_BUCKETS, Unit.AUDIO_SECOND: "output_audio_seconds"}  # spoken, not transcribed
_MODEL_KEYS = (REQUEST_MODEL, RESPONSE_MODEL)
_SESSION_KEYS = (SESSION_ID, "session.id", "gen_ai.conversation.id")  # the first that a span has
_USER_KEYS = (USER_ID, "user.id")
# Content that Langfuse shows by itself; with an input or output under its own keys, it ignores the others.
_CONTENT_KEYS = frozenset({INPUT, OUTPUT, "gen_ai.input.messages", "gen_ai.output.messages", "input", "output"})
_LLM, _REQUEST, _TTS = Component.LLM, Role.REQUEST, Component.TTS  # slow to find on their class up to Python 3.11
_ZERO = Decimal(0)
_PICO = Decimal(1).scaleb(-12)  # Decimal(18, 12), which ClickHouse truncates instead of rounding
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)


class Langfuse(CompiledDialect):
    """Langfuse's observation attributes."""

    def writer(self, example: Cost) -> Writer:
        """Return what makes the span a generation with this usage and cost.

        Langfuse sums all usage as tokens. Without ``speech_as_tokens``, characters and seconds are written to
        the metadata instead.
        """
        usage, component = example.usage, example.usage.component
        model = example.display_name or usage.model
        with_content = self._options.langfuse_content and component is not _LLM
        units = list(usage.quantities)
        names = [bucket(unit, component) for unit in units]
        usage_text = _json_template([*names, "total"])
        as_tokens = self._options.speech_as_tokens or all(unit.dimension is Dimension.TOKEN for unit in units)
        scales = [to_whole_seconds if unit.is_seconds else int for unit in units]
        write_cost = None if example.usd is None else _cost_writer(example)

        def write(numbers: CostNumbers, span: SpanView, attributes: Attributes) -> None:
            attributes[TYPE], attributes[MODEL_NAME] = "generation", model
            counts = [to_count(amount) for to_count, amount in zip(scales, numbers.amounts)]  # noqa: B905  # of equal length
            if as_tokens:
                attributes[USAGE_DETAILS] = usage_text % (*counts, sum(counts))
            else:
                attributes[USAGE_DETAILS] = "{}"
                attributes.update({METADATA + name: count for name, count in zip(names, counts, strict=True)})
            if write_cost is not None:
                write_cost(numbers, attributes)
            if component is _TTS and span.role is _REQUEST and not span.is_error:
                attributes[LEVEL] = "DEFAULT"  # Langfuse hides these spans by default
            if with_content:
                attributes.update(_content(span))

        return write

    def wrapper_attributes(self, span: SpanView) -> Attributes:
        """Return the attributes that keep Langfuse from pricing a span that only names a model."""
        shows = self._options.langfuse_content and span.role in (Role.AGENT_TURN, Role.USER_TURN)
        attributes = _content(span) if shows else {}
        if span.role is Role.AGENT_TURN:
            return attributes
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

    def session_labels(self, known: Mapping[str, Any], session_id: str, title: str | None) -> list[Label]:
        """Return the ids of session and user, and the name of the trace.

        Langfuse 4 reads them from each span. Ids that the application gave to one span of the session go to all.
        """
        labels = []
        for keys, fallback in ((_SESSION_KEYS, session_id), (_USER_KEYS, None), ((TRACE_NAME,), title)):
            value = next((known[key] for key in keys if known.get(key)), fallback)
            if value:
                labels.append(Label(keys[0], str(value), frozenset(keys)))
        return labels


DIALECTS = {"langfuse": Langfuse}


def bucket(unit: Unit, component: Component) -> str:
    """Return the usage key of a unit; it contains exactly one of "input" and "output"."""
    return (_OF_TTS if component is Component.TTS else _BUCKETS)[unit]


def _content(span: SpanView) -> Attributes:
    """Return the conversation text under the keys that Langfuse reads, unless the span has content that it shows."""
    if not span.attributes.keys().isdisjoint(_CONTENT_KEYS):
        return {}
    texts = span.read_texts(span.attributes)
    found = {INPUT: texts.asked or texts.spoken, OUTPUT: texts.heard}
    return {key: text for key, text in found.items() if text is not None}


def _cost_writer(example: Cost) -> Callable[[CostNumbers, Attributes], None]:
    keys = [bucket(line.unit, example.usage.component) for line in example.lines]
    distinct = list(dict.fromkeys(keys))
    text, has_addons = _json_template([*distinct, "total"]), len(distinct) < len(keys)
    is_single = len(distinct) == 1

    def write(numbers: CostNumbers, attributes: Attributes) -> None:
        usds: Iterable[Decimal] = numbers.line_usds
        if has_addons:
            sums: dict[str, Decimal] = {}
            for key, usd in zip(keys, usds, strict=True):
                sums[key] = _ROUNDING.add(sums[key], usd) if key in sums else usd
            usds = sums.values()
        total = _twelve_places(numbers.usd or _ZERO, numbers.usd_text)
        texts = [total] if is_single else [_twelve_places(usd, to_text(usd)) for usd in usds]
        attributes[COST_DETAILS] = text % (*texts, total)

    return write


def _twelve_places(usd: Decimal, text: str) -> str:
    """Shorten the text of an amount."""
    is_short = len(text) - text.find(".") <= 13 or "." not in text
    return text if is_short else to_text(usd.quantize(_PICO, context=_ROUNDING))


def _json_template(keys: Iterable[str]) -> str:
    """Return JSON for exact digits in order of the keys; ``json`` can write them only as floats."""
    return "{" + ", ".join([f'"{key}": %s' for key in keys]) + "}"
