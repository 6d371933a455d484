"""Facts about Pipecat's services: vendor and model, from their classes and settings or from the spans that they leave.

Pipecat's spans name the class of a service in lower case (``cartesiahttp``, or whatever a user's subclass is called).
The vendor is in the class's module: the first class of its method resolution order in ``pipecat.services.<vendor>``.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``services/``, ``utils/tracing/service_attributes.py``.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ...usage import Amount, Component, Mode, Reading, Unit, Usage
from ..hosts import find_vendor

__all__ = [
    "Model",
    "ServiceClass",
    "describe",
    "describe_span",
    "find_class",
    "is_speech_reported",
    "read_service_model",
    "read_service_provider",
    "read_span_model",
]

_SERVICES = "pipecat.services."
_UNKNOWN = "unknown"
_LONGEST_NAME = 256  # of a model; longer or unprintable text is not a name

# Modules that the catalog knows under another id.
_VENDORS = {
    "camb": "cambai",
    "fireworks": "fireworksai",
    "fish": "fishaudio",
    "grok": "xai",
    "resembleai": "resemble",
    "smallest": "smallestai",
}

# Beginnings of provider names on spans, for spans whose class is not imported here. The longest one applies.
_PREFIXES = {
    **{
        name: name
        for name in (
            "anthropic", "assemblyai", "asyncai", "aws", "azure", "bland", "cartesia", "cerebras", "deepgram",
            "deepseek", "elevenlabs", "gladia", "google", "gradium", "groq", "hume", "inworld", "minimax", "mistral",
            "nebius", "neuphonic", "novita", "nvidia", "openai", "openrouter", "perplexity", "qwen", "rime",
            "sambanova", "sarvam", "soniox", "speechify", "speechmatics", "together", "ultravox", "xai",
        )
    },
    "camb": "cambai",
    "fireworks": "fireworksai",
    "fishaudio": "fishaudio",
    "gcp": "google",
    "gemini": "google",
    "grok": "xai",
    "resembleai": "resemble",
    "smallest": "smallestai",
    "x_ai": "xai",
}  # fmt: skip

_BASES = {
    Component.LLM: ("pipecat.services.llm_service", "LLMService"),
    Component.REALTIME: ("pipecat.services.llm_service", "LLMService"),
    Component.STT: ("pipecat.services.stt_service", "STTService"),
    Component.TTS: ("pipecat.services.tts_service", "TTSService"),
}

_NET_VENDORS = {"anthropic", "aws"}
_REALTIME = {"gemini_live", "nova_sonic", "realtime", "ultravox", "voice_live"}
_WITH_RESPONSE_SPAN = ("pipecat.services.google.gemini_live", "pipecat.services.openai.realtime")
_SEGMENTED = "SegmentedSTTService"
_SPEECH_REPORT = "start_tts_usage_metrics"

# Vendors whose speech services may have no model: the setting that decides the price, and the vendor's default.
_PRICED_BY = {
    "aws": ("engine", "standard"),
    "azure": ("voice", _UNKNOWN),
    "deepgram": ("voice", _UNKNOWN),  # whose names are those of its models
    "google": ("voice", _UNKNOWN),
}
_GOOGLE_PREFIXES = ("models/", "google/")  # of Gemini Live's models
_DEEPGRAM_GENERAL = {"nova-3", "nova-3-general"}
_DEEPGRAM_MULTI = "nova-3-multi"


class Model(NamedTuple):
    """A model, as in `Usage`."""

    component: Component
    provider: str
    model: str
    mode: Mode | None = None

    def to_reading(self, amounts: Mapping[Unit, Amount], time_ns: int) -> Reading | None:
        """Return what was used; None if nothing was.

        Args:
            amounts: Amounts by unit, zeros included.
            time_ns: Time of the usage, nanoseconds since the epoch.
        """
        quantities = {unit: amount for unit, amount in amounts.items() if amount}
        if not quantities:
            return None
        return Reading(self.component, self.provider, self.model, quantities, time_ns / 1e9, self.mode)

    def without_amounts(self, time_ns: int) -> Usage:
        """Return a usage without amounts at a time in nanoseconds since the epoch."""
        return Reading(self.component, self.provider, self.model, {}, time_ns / 1e9, self.mode).to_usage()


class ServiceClass(NamedTuple):
    """Facts about a class of services.

    Attributes:
        provider: Id of the vendor; the class in lower case, as on its spans, if it is in no vendor's module.
        is_net: True if it reports input tokens without those read from or written to a cache.
        is_realtime: True if its model hears and speaks.
        has_response_span: True if a span ``llm_response`` carries the usage of each response, text and audio apart.
        is_batch: True if it sends each utterance on its own to be transcribed.
    """

    provider: str
    is_net: bool
    is_realtime: bool = False
    has_response_span: bool = False
    is_batch: bool = False

    def to_model(self, component: Component, name: str) -> Model:
        """Return a model of the vendor's."""
        mode = Mode.BATCH if self.is_batch else Mode.STREAMING
        return Model(component, self.provider, name, mode if component is Component.STT else None)


@lru_cache(maxsize=1_024)
def describe(service_class: type) -> ServiceClass:
    """Return the facts about a class of services, or about any class that reports usage."""
    modules = [base.__module__ for base in service_class.__mro__]
    module = next((name for name in modules if name.startswith(_SERVICES) and name.count(".") > 2), "")
    vendor = module.split(".")[2] if module else ""
    return ServiceClass(
        provider=_VENDORS.get(vendor, vendor) or _to_span_name(service_class),
        is_net=vendor in _NET_VENDORS and "nova_sonic" not in module,
        is_realtime=not _REALTIME.isdisjoint(module.split(".")),
        has_response_span=any(name.startswith(_WITH_RESPONSE_SPAN) for name in modules),
        is_batch=any(base.__name__ == _SEGMENTED for base in service_class.__mro__),
    )


def _to_span_name(service_class: type) -> str:
    """Return the provider as Pipecat writes it on the spans of a class."""
    name = service_class.__name__
    for suffix in ("STTService", "TTSService", "LLMService"):
        name = name.replace(suffix, "")
    return name.lower()


# classes by base and name on spans

_found: weakref.WeakValueDictionary[tuple[str, str], type] = weakref.WeakValueDictionary()


def find_class(component: Component, span_name: str) -> type | None:
    """Return the imported class of services whose spans have this provider, or None."""
    module, name = _BASES[component]
    found = _found.get((name, span_name))
    base: Any = getattr(sys.modules.get(module), name, None)
    if found is None and isinstance(base, type):
        found = next((each for each in _subclasses(base) if _to_span_name(each) == span_name), None)
        if found is not None:
            _found[name, span_name] = found
    return found


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)


def describe_span(component: Component, span_name: str) -> ServiceClass:
    """Return the facts about the class of a span's service by the provider that the span names."""
    found = find_class(component, span_name)
    if found is not None:
        return describe(found)
    known = max((prefix for prefix in _PREFIXES if span_name.startswith(prefix)), key=len, default=None)
    provider = span_name or _UNKNOWN if known is None else _PREFIXES[known]
    return ServiceClass(provider, is_net=provider in _NET_VENDORS)


def is_speech_reported(service_class: type[Any]) -> bool:
    """Return True if a class of text-to-speech reports what it sends: then no report means that nothing was sent.

    Source:
        pipecat-ai 1.14.0: ``DeepgramTTSService``, its SageMaker twin and ``GroqTTSService`` do not; the others call
        ``start_tts_usage_metrics`` in one of their methods.
    """
    for each in service_class.__mro__:
        if each.__module__ == "pipecat.services.tts_service":
            break
        for method in vars(each).values():
            code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
            if code is not None and _SPEECH_REPORT in code.co_names:
                return True
    return False


# models


def read_service_provider(service: object, provider: str) -> str:
    """Return the vendor that a service calls: OpenAI's services call any that has its API, by the host of the client.

    An unknown host may be a gateway in front of OpenAI.

    Source:
        pipecat-ai 1.14.0, ``services/openai/base_llm.py``, ``_client``, an ``AsyncOpenAI``.
    """
    host = getattr(getattr(getattr(service, "_client", None), "base_url", None), "host", None)
    return (find_vendor(host) if provider == "openai" and isinstance(host, str) else None) or provider


def read_service_model(service: object, component: Component, provider: str) -> str:
    """Return the model that a service is set to.

    Azure's setting is the name of a deployment, so there the name in the vendor's answer comes first. A live model that
    delegates to another one reports the other's tokens.

    Source:
        pipecat-ai 1.14.0, ``utils/tracing/service_decorators.py``, ``_get_model_name``;
        ``services/openai/live/llm.py``, ``_report_backend_usage``.
    """
    settings = getattr(getattr(service, "_delegation", None), "settings", None) or getattr(service, "_settings", None)
    names = [getattr(settings, "model", None), getattr(service, "_full_model_name", None)]
    if provider == "azure":
        names.reverse()
    name = next(filter(None, map(_to_text, names)), None)
    return _to_model(component, provider, name, lambda setting: getattr(settings, setting, None))


def read_span_model(attributes: Mapping[str, Any], component: Component, provider: str) -> str:
    """Return the model that a span names."""
    keys = {"voice": "voice_id"}
    return _to_model(
        component,
        provider,
        _to_text(attributes.get("gen_ai.request.model")),
        lambda setting: attributes.get(keys.get(setting, f"settings.{setting}")),
    )


def _to_model(component: Component, provider: str, name: str | None, read: Callable[[str], object]) -> str:
    """Return a model id as the catalog has it, from a name and other settings that decide the price."""
    model = (name or _UNKNOWN).strip().lower()
    if provider == "google":
        model = next((model[len(prefix) :] for prefix in _GOOGLE_PREFIXES if model.startswith(prefix)), model)
    if component is Component.TTS and model == _UNKNOWN and provider in _PRICED_BY:
        setting, default = _PRICED_BY[provider]
        return (_to_text(read(setting)) or default).lower()
    if component is Component.STT and provider == "deepgram" and model in _DEEPGRAM_GENERAL:
        return _DEEPGRAM_MULTI if _to_text(read("language")) == "multi" else model
    return model


def _to_text(value: object) -> str | None:
    is_name = isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()
    return str.__str__(value) if is_name else None
