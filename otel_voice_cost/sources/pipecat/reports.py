"""Read the usage that Pipecat's services report, with the conversation that it belongs to and the span that carries it.

- Speech-to-text: the span ``stt`` gets what was reported since the last one, so a report names the conversation alone.
- Language models: while one reports, the span ``llm`` is the current one. ``llm_response`` of a realtime model may have
  ended before, so both sides name the same counts.
- Text-to-speech: the service has its open spans by audio context, and the texts that were sent to each of them.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``utils/tracing/service_decorators.py``, ``utils/tracing/tracing_context.py``;
    ``services/google/gemini_live/llm.py``, which reports a response after its span.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import time_ns
from typing import Any, NamedTuple, TypeVar

from opentelemetry import trace

from ...usage import Amount, Component, Reading, Unit, measure_text
from .. import Attributes, SpanKey, UsageReport
from ..fields import read_amount
from .amounts import Tokens, add_up, latest_tokens
from .services import Model, ServiceClass, describe, read_service_model, read_service_provider
from .spans import LLM_SPAN, SCOPE

__all__ = ["find_carried", "find_worker", "read_llm_report", "read_stt_report", "read_tts_report", "to_match_key"]

_UNTRACED = (
    "Pipecat runs without tracing, so the cost of its calls is in the metrics alone. "
    "Pass enable_tracing=True to PipelineWorker to have it on spans."
)

_Part = TypeVar("_Part")


class _Place(NamedTuple):
    """The conversation of a report.

    Attributes:
        key: Its span, or the current span if there is no conversation.
        is_sampled: True if that span is exported.
        is_conversation: True if there is one.
        is_traced: False if Pipecat makes no spans.
    """

    key: SpanKey
    is_sampled: bool
    is_conversation: bool = True
    is_traced: bool = True


class CarriedUsage:
    """Usage of one span, reported in parts until it is priced.

    A part may be added by one thread while another prices them, so each step is one atomic operation.
    """

    def __init__(self, to_reading: Callable[[list[Any]], Reading | None]) -> None:
        """Begin without parts.

        Args:
            to_reading: Returns the usage that is reported by the parts.
        """
        self._to_reading = to_reading
        self._parts: deque[Any] = deque()
        self._is_closed = False

    def add(self, part: Any) -> bool:
        """Add a part; return False if they are priced already."""
        self._parts.append(part)
        if not self._is_closed:
            return True
        with suppress(ValueError):  # it was priced in between
            self._parts.remove(part)
            return False
        return True

    def read(self) -> Reading | None:
        """Return the usage and close it to further parts. Raises `UsageError` if it cannot be read."""
        self._is_closed = True
        parts = []
        with suppress(IndexError):
            while True:
                parts.append(self._parts.popleft())
        return self._to_reading(parts) if parts else None


# What each open span carries, which lives as long as the span or the report that waits for it.
_carried: weakref.WeakValueDictionary[SpanKey, CarriedUsage] = weakref.WeakValueDictionary()
_carried_by: weakref.WeakKeyDictionary[Any, CarriedUsage] = weakref.WeakKeyDictionary()

# The conversation and the worker of each pipeline.
_conversations: weakref.WeakKeyDictionary[Any, trace.SpanContext] = weakref.WeakKeyDictionary()
_workers: weakref.WeakValueDictionary[SpanKey, Any] = weakref.WeakValueDictionary()

find_carried = _carried.get
"""Returns the usage that was reported for a span, None if there is none."""

find_worker = _workers.get
"""Returns the PipelineWorker of the conversation with this span, once its services reported usage."""


def to_match_key(span_key: SpanKey) -> str:
    """Return the key that a span and the report of what it carries have in common."""
    return f"{span_key[1]:016x}"


def read_stt_report(service: Any) -> UsageReport | None:
    """Return the audio that a service is about to report, or None if there is none.

    Source:
        pipecat-ai 1.7.0 to 1.14.0, ``services/stt_service.py``, ``emit_stt_usage_metrics``: reads and clears
        ``_stt_usage_pending_seconds``, which the base class counts.

    Raises:
        UsageError: The seconds are not a number.
    """
    seconds = read_amount({"audio_seconds": getattr(service, "_stt_usage_pending_seconds", 0)}, "audio_seconds")
    if not seconds:
        return None
    model = _model_of(service, Component.STT, describe(service.__class__))
    return _report(model, _find_place(service), "", lambda: {Unit.AUDIO_SECOND: seconds})


def read_tts_report(service: Any, text: str) -> UsageReport | None:
    """Return text that a service sent to be spoken, or None if a report of the same reply waits for its span."""
    if not text:
        return None
    place, span = _find_place(service), _find_speech_span(service, text)
    model, part = _model_of(service, Component.TTS, describe(service.__class__)), measure_text(text)
    if span is None:
        return _report(model, place, "", lambda: part)
    return _carry(place, span, part, model, add_up)


def read_llm_report(processor: Any, tokens: object) -> UsageReport | None:
    """Return the tokens that a processor reports, or None if there are none or they add to a report that waits.

    Raises:
        UsageError: A count is not a whole number.
    """
    counts = Tokens.from_report(tokens)
    if not any(counts):
        return None
    facts, place = describe(processor.__class__), _find_place(processor)
    component = Component.REALTIME if facts.is_realtime or counts.has_audio else Component.LLM
    model = _model_of(processor, component, facts)
    to_amounts = partial(Tokens.to_amounts, is_net=facts.is_net, has_modalities=facts.has_response_span)
    span = _find_llm_span()
    if span is not None:
        return _carry(place, span, counts, model, lambda parts: to_amounts(latest_tokens(parts)))
    if not (facts.has_response_span and place.is_traced):
        return _report(model, place, "", partial(to_amounts, counts))
    return _report(model, place, counts.match_key, partial(to_amounts, counts)) if place.is_conversation else None


def _carry(
    place: _Place,
    span: Any,
    part: _Part,
    model: Model,
    to_amounts: Callable[[list[_Part]], Mapping[Unit, Amount]],
) -> UsageReport | None:
    """Add a part to what an open span carries; return a report for the first one, if it is of a conversation."""
    key: SpanKey = span.get_span_context()[:2]
    carried = _carried.get(key)
    if carried is not None and carried.add(part):
        return None
    now_ns = time_ns()
    carried = CarriedUsage(lambda parts: model.to_reading(to_amounts(parts), now_ns))
    carried.add(part)
    _carried[key] = carried
    with suppress(TypeError):  # a span without weak references: the report alone keeps it
        _carried_by[span] = carried
    if not place.is_conversation:
        return None
    return _to_report(model, place, to_match_key(key), now_ns, lambda _attributes: carried.read())


def _report(
    model: Model, place: _Place, match_key: str, to_amounts: Callable[[], Mapping[Unit, Amount]]
) -> UsageReport:
    now_ns = time_ns()
    return _to_report(model, place, match_key, now_ns, lambda _attributes: model.to_reading(to_amounts(), now_ns))


def _to_report(
    model: Model, place: _Place, match_key: str, now_ns: int, read: Callable[[Attributes], Reading | None]
) -> UsageReport:
    return UsageReport(
        component=model.component,
        match_key=match_key,
        span_key=place.key,
        time_ns=now_ns,
        read=read,
        read_model=partial(model.without_amounts, now_ns),
        read_request=_no_request,
        has_span=bool(match_key),
        sampled=place.is_sampled and place.is_traced,
        knows_session=True,
        hint=None if place.is_traced else _UNTRACED,
    )


def _no_request() -> None:
    return None


def _model_of(service: object, component: Component, facts: ServiceClass) -> Model:
    if component is Component.LLM:
        facts = facts._replace(provider=read_service_provider(service, facts.provider))
    return facts.to_model(component, read_service_model(service, component, facts.provider))


# the conversation


def _find_place(processor: Any) -> _Place:
    tracing = getattr(processor, "_tracing_context", None)
    if tracing is None:  # not a service, or its worker does not trace turns
        tracing = getattr(getattr(processor, "_setup", None), "tracing_context", None)
    conversation = _find_conversation(tracing) if tracing is not None else None
    if conversation is None:
        current = trace.get_current_span().get_span_context()
        is_sampled = current.trace_flags.sampled or not current.is_valid
        is_traced = bool(getattr(processor, "_tracing_enabled", False))
        return _Place(current[:2], is_sampled, is_conversation=False, is_traced=is_traced)
    key = conversation[:2]
    if key not in _workers:
        with suppress(Exception):  # a processor that is not set up raises
            _workers[key] = processor.pipeline_worker
    return _Place(key, conversation.trace_flags.sampled)


def _find_conversation(tracing: Any) -> trace.SpanContext | None:
    """Return the conversation of a pipeline, the last one once it has ended."""
    context = tracing.get_conversation_context()
    if context is None:
        return _conversations.get(tracing)
    conversation = trace.get_current_span(context).get_span_context()
    _conversations[tracing] = conversation
    return conversation


# the span


def _find_llm_span() -> Any:
    """Return the current span if it is the open one of a request to a language model, or None."""
    span: Any = trace.get_current_span()
    scope = getattr(span, "instrumentation_scope", None)
    is_request = scope is not None and scope.name == SCOPE and span.name == LLM_SPAN
    return span if is_request and span.is_recording() else None


def _find_speech_span(service: Any, text: str) -> Any:
    """Return the open span of the reply that a text belongs to, or None.

    It is the reply whose last text is this object; the last open one, if the service changed the text before.

    Source:
        pipecat-ai 1.7.0 to 1.14.0, ``utils/tracing/service_decorators.py``, ``traced_tts``: ``_tts_spans`` and
        ``_tts_texts`` by audio context, a text is added before ``run_tts``.
    """
    spans, texts = getattr(service, "_tts_spans", None), getattr(service, "_tts_texts", None)
    if not spans or not texts:
        return None
    replies = [reply for reply in reversed(list(texts)) if texts[reply]]
    last_open = next((reply for reply in replies if reply in spans), None)
    entry = spans.get(next((reply for reply in replies if texts[reply][-1] is text), last_open))
    return entry["span"] if entry is not None and entry["span"].is_recording() else None
