"""Read usage from LiveKit's metrics, with one reader per kind for spans and events.

A span carries a metrics object as pydantic's JSON; an event is converted to the same JSON. Fields were
only added from 1.2 to 1.8, so one reader serves every release.

Source:
    livekit-agents 1.8.9, ``metrics/base.py``; 1.2.18 to 1.7.1 for fields they lack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from types import MappingProxyType

from pydantic_core import from_json

from ...errors import UsageError
from ...usage import Component, Mode, Unit, Usage, to_moment
from ..fields import read_amount, read_count
from ..tokens import Amounts, rest_of, split_cached, text_tokens
from .providers import canonical_model, canonical_provider

__all__ = [
    "COMPONENTS",
    "decode",
    "name_request",
    "read_gen_ai_usage",
    "read_metrics",
    "read_model",
    "read_names",
    "to_fragments",
]

COMPONENTS = {
    "eot_inference_metrics": Component.TURN_DETECTION,
    "interruption_metrics": Component.INTERRUPTION,
    "llm_metrics": Component.LLM,
    "realtime_model_metrics": Component.REALTIME,
    "stt_metrics": Component.STT,
    "tts_metrics": Component.TTS,
}
MODEL = "gen_ai.request.model"
PROVIDER = "gen_ai.provider.name"
_ZERO = Decimal(0)
_NOTHING: Mapping[str, object] = MappingProxyType({})
_LONGEST_NAME = 256  # of a model, provider or class; longer or unprintable text is not a name
_FIRST_RELEASE = 1_700_000_000  # seconds since the epoch, November 2023: livekit-agents 0.1
_Fields = Mapping[str, object]


def decode(text: str) -> dict[str, object]:
    """Decode metrics JSON. A number becomes the float with the same shortest digits, as pydantic writes it.

    Raises:
        UsageError: The text is not a JSON object. The message does not quote it.
    """
    try:
        fields = from_json(text)
    except (TypeError, ValueError) as error:  # TypeError: no exporter can encode the text
        raise UsageError("metrics: got text that is no JSON, expected a JSON object") from error
    if not isinstance(fields, dict):
        raise UsageError(f"metrics: got {type(fields).__name__}, expected a JSON object")
    return fields


def read_metrics(component: Component, fields: _Fields, time_ns: int, attributes: _Fields = _NOTHING) -> Usage | None:
    """Return the usage in decoded metrics, or None if they bill nothing.

    In LiveKit, zero seconds or tokens mean "unknown" or a connection report, never an amount.

    Args:
        component: Component of the metrics.
        fields: Result of `decode`.
        time_ns: Time of the usage if the metrics have no timestamp, nanoseconds since the epoch.
        attributes: Attributes of the span, for provider and model if the metrics lack them (before 1.2.12).

    Raises:
        UsageError: A field is invalid, or a required field is missing.
    """
    amounts = {unit: n for unit, n in _READERS[component](fields).items() if n}
    if not amounts:
        return None
    provider, model = read_names(attributes, fields)
    if component is Component.LLM and provider == "google":
        _add_thinking(amounts, fields, Unit.REASONING_TOKEN, "prompt_tokens", "completion_tokens")
    elif component is Component.REALTIME and provider == "google":
        _add_thinking(amounts, fields, Unit.OUTPUT_TEXT_TOKEN, "input_tokens", "output_tokens")
    return Usage(
        component=component,
        provider=provider,
        model=model,
        quantities={unit: Decimal(n) for unit, n in amounts.items()},
        at=_reported_moment(fields) or to_moment(time_ns),
        mode=_mode(fields) if component is Component.STT else None,
    )


def read_gen_ai_usage(attributes: _Fields, time_ns: int) -> Usage | None:
    """Return the usage in ``gen_ai.usage.*`` of a text model, or None if there is none.

    For spans without metrics JSON: ``decision_model.evaluate``, a custom ``llm_node``, and spans whose
    JSON was cut by the SDK's attribute limits.

    Source:
        livekit-agents 1.8.9, ``telemetry/gen_ai.py``, ``set_usage_attributes``: input includes cached and
        written tokens, output includes reasoning.
    """
    name = "gen_ai.usage."
    fields = {
        "prompt_tokens": attributes.get(name + "input_tokens"),
        "completion_tokens": attributes.get(name + "output_tokens"),
        "prompt_cached_tokens": attributes.get(name + "cache_read.input_tokens"),
        "cache_creation_tokens": attributes.get(name + "cache_write.input_tokens"),
        "reasoning_tokens": attributes.get(name + "reasoning.output_tokens"),
    }
    if fields["prompt_tokens"] is None and fields["completion_tokens"] is None:
        return None
    return read_metrics(Component.LLM, fields, time_ns, attributes)


def read_model(component: Component, text: object, time_ns: int, attributes: _Fields = _NOTHING) -> Usage:
    """Return a usage without amounts, for metrics that cannot be read.

    Args:
        component: Component of the metrics.
        text: The metrics, of any type.
        time_ns: Time of the usage, nanoseconds since the epoch.
        attributes: Attributes of the span.
    """
    try:
        fields = decode(text) if isinstance(text, str) else {}
    except UsageError:
        fields = {}
    provider, model = read_names(attributes, fields)
    return Usage(component=component, provider=provider, model=model, at=to_moment(time_ns))


def read_names(attributes: _Fields, fields: _Fields = _NOTHING) -> tuple[str, str]:
    """Return provider and model from the metrics, or else from a span's attributes."""
    metadata = fields.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else _NOTHING
    provider = _text(metadata.get("model_provider")) or _text(attributes.get(PROVIDER))
    model = _text(metadata.get("model_name")) or _text(attributes.get(MODEL))
    return canonical_provider(provider, _text(fields.get("label"))), canonical_model(model)


def name_request(fields: _Fields) -> tuple[object, ...] | None:
    """Return a key of a request to a language model: its id and amounts, or None if it has no id.

    An application class that wraps an LLM passes its chunks on, and so reports the same key.
    """
    request = fields.get("request_id")
    if not isinstance(request, str) or not request:
        return None
    return (request, str(fields.get("prompt_tokens")), str(fields.get("completion_tokens")))


def to_fragments(attributes: _Fields) -> tuple[str, ...]:
    """Return pieces of metrics JSON that follow from the other attributes of an LLM span."""
    counts = {
        "prompt_tokens": attributes.get("gen_ai.usage.input_tokens"),
        "completion_tokens": attributes.get("gen_ai.usage.output_tokens"),
    }
    return tuple(f'"{name}":{count},' for name, count in counts.items() if count is not None)


def _llm(fields: _Fields) -> Amounts:
    prompt, completion = read_count(fields, "prompt_tokens"), read_count(fields, "completion_tokens")
    cached, written = read_count(fields, "prompt_cached_tokens"), read_count(fields, "cache_creation_tokens")
    reasoning = read_count(fields, "reasoning_tokens")
    return text_tokens(prompt, completion, cached=cached, written=written, reasoning=reasoning)


def _tts(fields: _Fields) -> Amounts:
    return {
        Unit.CHARACTER: read_count(fields, "characters_count"),
        Unit.INPUT_TEXT_TOKEN: read_count(fields, "input_tokens"),
        Unit.OUTPUT_AUDIO_TOKEN: read_count(fields, "output_tokens"),
        Unit.AUDIO_SECOND: read_amount(fields, "audio_duration", default=_ZERO),
    }


def _stt(fields: _Fields) -> Amounts:
    tokens, audio = read_count(fields, "input_tokens"), read_count(fields, "input_audio_tokens")
    audio = audio or tokens  # before 1.8 the split is not reported; nearly all is audio
    return {
        Unit.AUDIO_SECOND: read_amount(fields, "audio_duration"),
        Unit.INPUT_AUDIO_TOKEN: audio,
        Unit.INPUT_TEXT_TOKEN: rest_of("input_tokens", tokens, audio),
        Unit.OUTPUT_TEXT_TOKEN: read_count(fields, "output_tokens"),
    }


def _realtime(fields: _Fields) -> Amounts:
    inputs, outputs = _object(fields, "input_token_details"), _object(fields, "output_token_details")
    text, audio, image = (read_count(inputs, f"{kind}_tokens") for kind in ("text", "audio", "image"))
    text += max(read_count(fields, "input_tokens") - text - audio - image, 0)  # no modality named
    cached_text, cached_audio, cached_image = _cached(inputs, text, audio)
    out_text, out_audio = read_count(outputs, "text_tokens"), read_count(outputs, "audio_tokens")
    out_text += max(read_count(fields, "output_tokens") - out_text - out_audio, 0)
    return {
        Unit.INPUT_TEXT_TOKEN: rest_of("text_tokens", text, cached_text),
        Unit.CACHED_INPUT_TEXT_TOKEN: cached_text,
        Unit.INPUT_AUDIO_TOKEN: rest_of("audio_tokens", audio, cached_audio),
        Unit.CACHED_INPUT_AUDIO_TOKEN: cached_audio,
        Unit.INPUT_IMAGE_TOKEN: rest_of("image_tokens", image, cached_image),
        Unit.CACHED_INPUT_IMAGE_TOKEN: cached_image,
        Unit.OUTPUT_TEXT_TOKEN: out_text,
        Unit.OUTPUT_AUDIO_TOKEN: out_audio,
        Unit.SESSION_SECOND: read_amount(fields, "session_duration", default=_ZERO),
    }


def _requests(fields: _Fields) -> Amounts:
    return {Unit.REQUEST: read_count(fields, "num_requests")}


_READERS: dict[Component, Callable[[_Fields], Amounts]] = {
    Component.INTERRUPTION: _requests,
    Component.LLM: _llm,
    Component.REALTIME: _realtime,
    Component.STT: _stt,
    Component.TTS: _tts,
    Component.TURN_DETECTION: _requests,
}


def _cached(inputs: _Fields, text: int, audio: int) -> tuple[int, int, int]:
    """Return cached text, audio and image tokens. If only their sum is known, fill text first, then audio."""
    details = _object(inputs, "cached_tokens_details")
    kinds = tuple(read_count(details, f"{kind}_tokens") for kind in ("text", "audio", "image"))
    unnamed = read_count(inputs, "cached_tokens") - sum(kinds)
    if unnamed <= 0:
        return kinds[0], kinds[1], kinds[2]
    more_text, more_audio = split_cached(unnamed, text - kinds[0], audio - kinds[1])
    return kinds[0] + more_text, kinds[1] + more_audio, kinds[2] + unnamed - more_text - more_audio


def _add_thinking(amounts: Amounts, fields: _Fields, unit: Unit, *counted: str) -> None:
    """Add the thinking tokens that Google's plugins count only in the total.

    Source:
        livekit-plugins-google 1.8.9, ``llm.py`` and ``realtime/realtime_api.py``.
    """
    hidden = read_count(fields, "total_tokens") - sum(read_count(fields, name) for name in counted)
    if hidden > 0:
        amounts[unit] = int(amounts.get(unit, 0)) + hidden


def _mode(fields: _Fields) -> Mode:
    return Mode.BATCH if fields.get("streamed") is False else Mode.STREAMING


def _reported_moment(fields: _Fields) -> datetime | None:
    value = fields.get("timestamp")
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    try:
        seconds = float(value)
        # livekit-plugins-aws 1.8.9 reports its realtime model in seconds since boot
        return datetime.fromtimestamp(seconds, timezone.utc) if seconds >= _FIRST_RELEASE else None
    except (OverflowError, OSError, ValueError):
        return None


def _object(fields: _Fields, name: str) -> _Fields:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{name}: got {type(value).__name__}, expected an object")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else None
