"""Read usage from LiveKit's metrics, with one reader per kind for spans and events.

A span carries a metrics object as pydantic's JSON; an event is converted to the same JSON. Fields were
only added from 1.2 to 1.8, so one reader serves every release.

Source:
    livekit-agents 1.8.9, ``metrics/base.py``; 1.2.18 to 1.7.1 for fields they lack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType

from pydantic_core import from_json

from ...errors import UsageError
from ...usage import Amount, Component, Mode, Reading, Unit, Usage, to_moment
from ..fields import read_count, read_counts, read_seconds
from ..tokens import TEXT_TOKEN_UNITS, rest_of, split_cached, text_tokens
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
_STT = Component.STT  # slow to find on its class up to Python 3.11
_NOTHING: Mapping[str, object] = MappingProxyType({})
_LONGEST_NAME = 256  # of a model, provider or class; longer or unprintable text is not a name
_FIRST_RELEASE = 1_700_000_000  # seconds since the epoch, November 2023: livekit-agents 0.1
_END_OF_TIME = 253_402_300_799  # of datetime
_Fields = Mapping[str, object]
_Amounts = tuple[Amount, ...]


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


def read_metrics(component: Component, fields: _Fields, time_ns: int, attributes: _Fields = _NOTHING) -> Reading | None:
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
    reader, units = _READERS[component]
    amounts = {unit: n for unit, n in zip(units, reader(fields), strict=True) if n}
    if not amounts:
        return None
    provider, model = read_names(attributes, fields)
    if provider == "google" and component is Component.LLM:
        _add_thinking(amounts, fields, Unit.REASONING_TOKEN, "prompt_tokens", "completion_tokens")
    elif provider == "google" and component is Component.REALTIME:
        _add_thinking(amounts, fields, Unit.OUTPUT_TEXT_TOKEN, "input_tokens", "output_tokens")
    mode = _mode(fields) if component is _STT else None
    return Reading(component, provider, model, amounts, _reported_seconds(fields) or time_ns / 1e9, mode)


def read_gen_ai_usage(attributes: _Fields, time_ns: int) -> Reading | None:
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
        fields = decode(text) if isinstance(text, str) else text if isinstance(text, dict) else {}
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


def _llm(fields: _Fields) -> _Amounts:
    prompt, completion, cached, written, reasoning = read_counts(fields, _LLM_COUNTS)
    return text_tokens(prompt, completion, cached, written, reasoning)


def _tts(fields: _Fields) -> _Amounts:
    characters, tokens, audio = read_counts(fields, _TTS_COUNTS)
    return characters, tokens, audio, read_seconds(fields, "audio_duration", default=_ZERO)


def _stt(fields: _Fields) -> _Amounts:
    tokens, audio, text = read_counts(fields, _STT_COUNTS)
    audio = audio or tokens  # before 1.8 the split is not reported; nearly all is audio
    return read_seconds(fields, "audio_duration"), audio, rest_of("input_tokens", tokens, audio), text


def _realtime(fields: _Fields) -> _Amounts:
    inputs, outputs = _object(fields, "input_token_details"), _object(fields, "output_token_details")
    text, audio, image = read_counts(inputs, _INPUT_DETAILS)
    text += max(read_count(fields, "input_tokens") - text - audio - image, 0)  # no modality named
    cached_text, cached_audio, cached_image = _cached(inputs, text, audio)
    out_text, out_audio = read_counts(outputs, _OUTPUT_DETAILS)
    out_text += max(read_count(fields, "output_tokens") - out_text - out_audio, 0)
    return (
        rest_of("text_tokens", text, cached_text),
        cached_text,
        rest_of("audio_tokens", audio, cached_audio),
        cached_audio,
        rest_of("image_tokens", image, cached_image),
        cached_image,
        out_text,
        out_audio,
        read_seconds(fields, "session_duration", default=_ZERO),
    )


def _requests(fields: _Fields) -> _Amounts:
    return (read_count(fields, "num_requests"),)


_LLM_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "prompt_cached_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
)
_TTS_COUNTS = ("characters_count", "input_tokens", "output_tokens")
_STT_COUNTS = ("input_tokens", "input_audio_tokens", "output_tokens")
_INPUT_DETAILS = ("text_tokens", "audio_tokens", "image_tokens")
_OUTPUT_DETAILS = ("text_tokens", "audio_tokens")

# The reader of each component, and the units of the amounts that it returns.
_READERS: dict[Component, tuple[Callable[[_Fields], _Amounts], tuple[Unit, ...]]] = {
    Component.INTERRUPTION: (_requests, (Unit.REQUEST,)),
    Component.LLM: (_llm, TEXT_TOKEN_UNITS),
    Component.REALTIME: (
        _realtime,
        (
            Unit.INPUT_TEXT_TOKEN,
            Unit.CACHED_INPUT_TEXT_TOKEN,
            Unit.INPUT_AUDIO_TOKEN,
            Unit.CACHED_INPUT_AUDIO_TOKEN,
            Unit.INPUT_IMAGE_TOKEN,
            Unit.CACHED_INPUT_IMAGE_TOKEN,
            Unit.OUTPUT_TEXT_TOKEN,
            Unit.OUTPUT_AUDIO_TOKEN,
            Unit.SESSION_SECOND,
        ),
    ),
    Component.STT: (
        _stt,
        (Unit.AUDIO_SECOND, Unit.INPUT_AUDIO_TOKEN, Unit.INPUT_TEXT_TOKEN, Unit.OUTPUT_TEXT_TOKEN),
    ),
    Component.TTS: (
        _tts,
        (Unit.CHARACTER, Unit.INPUT_TEXT_TOKEN, Unit.OUTPUT_AUDIO_TOKEN, Unit.AUDIO_SECOND),
    ),
    Component.TURN_DETECTION: (_requests, (Unit.REQUEST,)),
}


def _cached(inputs: _Fields, text: int, audio: int) -> tuple[int, int, int]:
    """Return cached text, audio and image tokens. If only their sum is known, fill text first, then audio."""
    details = _object(inputs, "cached_tokens_details")
    kinds = read_counts(details, _INPUT_DETAILS)
    unnamed = read_count(inputs, "cached_tokens") - sum(kinds)
    if unnamed <= 0:
        return kinds[0], kinds[1], kinds[2]
    more_text, more_audio = split_cached(unnamed, text - kinds[0], audio - kinds[1])
    return kinds[0] + more_text, kinds[1] + more_audio, kinds[2] + unnamed - more_text - more_audio


def _add_thinking(amounts: dict[Unit, Amount], fields: _Fields, unit: Unit, *counted: str) -> None:
    """Add the thinking tokens that Google's plugins count only in the total.

    Source:
        livekit-plugins-google 1.8.9, ``llm.py`` and ``realtime/realtime_api.py``.
    """
    hidden = read_count(fields, "total_tokens") - sum(read_count(fields, name) for name in counted)
    if hidden > 0:
        amounts[unit] = int(amounts.get(unit, 0)) + hidden


def _mode(fields: _Fields) -> Mode:
    return Mode.BATCH if fields.get("streamed") is False else Mode.STREAMING


def _reported_seconds(fields: _Fields) -> float | None:
    """Return the time in metrics, if it can be one: livekit-plugins-aws 1.8.9 writes seconds since boot."""
    value = fields.get("timestamp")
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if _FIRST_RELEASE <= value < _END_OF_TIME else None


def _object(fields: _Fields, name: str) -> _Fields:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{name}: got {type(value).__name__}, expected an object")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else None
