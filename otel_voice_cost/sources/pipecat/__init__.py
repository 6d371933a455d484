"""Pipecat as a source of usage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import StatusCode, Tracer, TracerProvider

from ...usage import Component, Unit, Usage
from .. import (
    Attributes,
    Ending,
    ReportedField,
    Role,
    SessionFacts,
    Source,
    SpanKey,
    SpanRule,
    SpanUsage,
    Subscription,
    Texts,
    UsageReport,
    Work,
)
from .amounts import AUDIO_SECONDS, CHARACTERS, Tokens, read_characters, read_seconds
from .hooks import is_stt_hooked, is_tts_hooked, subscribe
from .reports import find_carried, to_match_key
from .services import Model, ServiceClass, describe_span, find_class, is_speech_reported, read_span_model
from .spans import PROVIDER, SCOPE, TURN_SCOPE, find_rule

__all__ = ["TESTED", "PipecatSource"]

TESTED = ("1.7.0", "1.8.1", "1.9.0", "1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.14.0")  # releases of pipecat-ai

# Source: pipecat-ai 1.7.0 to 1.14.0, utils/tracing/turn_trace_observer.py. Other ids are in additional_span_attributes.
_CONVERSATION_ID = "conversation.id"
_SESSION_IDS = (_CONVERSATION_ID, "gen_ai.conversation.id", "langfuse.session.id", "session.id")
_IDS = frozenset(_SESSION_IDS)
_NOT_INHERITED = ("conversation.", "gen_ai.", "voice_cost.", "langfuse.observation.", "exception.", "error.")

_SPOKEN = ("text",)
_HEARD = ("transcript", "output")


class PipecatSource:
    """Reads Pipecat 1.7 to 1.14. Implements `Source`."""

    name = "Pipecat"
    setup_hint = (
        "Pipecat uses the global provider: add the processor before opentelemetry.trace.set_tracer_provider(provider), "
        "or call install(opentelemetry.trace.get_tracer_provider()) after pipecat.utils.tracing.setup.setup_tracing."
    )
    scopes = frozenset({SCOPE, TURN_SCOPE})
    session_id_keys = _SESSION_IDS
    agent_keys: tuple[str, ...] = ()
    reported_fields = (
        ReportedField(CHARACTERS, "", Unit.CHARACTER),
        ReportedField(AUDIO_SECONDS, "", Unit.AUDIO_SECOND),
    )

    def rule_for(self, span: ReadableSpan) -> SpanRule | None:
        """Return the rule for a Pipecat span, or None if nothing is known of it."""
        return find_rule(span, is_stt_hooked)

    def read_span(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> SpanUsage | None:
        """Return the usage that was reported for a span, or else the one in its attributes; None if there is none.

        Raises:
            UsageError: A count in the attributes is not a number.
        """
        component, key = rule.component, _to_key(span)
        match_key, carried = to_match_key(key), find_carried(key)
        if carried is not None:
            return SpanUsage(component, match_key, (), None, carried.read)
        if component is Component.TTS:
            amounts = {} if _was_not_sent(attributes) else read_characters(attributes)
        elif component is Component.STT:
            amounts = read_seconds(attributes)
        elif rule.role is Role.REQUEST:
            tokens, is_response = Tokens.from_span(attributes), component is Component.REALTIME
            match_key = tokens.match_key if is_response else match_key
            component = Component.REALTIME if tokens.has_audio else component
            amounts = tokens.to_amounts(is_net=_describe(attributes, component).is_net, has_modalities=is_response)
        else:
            return None
        if not any(amounts.values()):
            return None
        model = _read_model(attributes, component)
        return SpanUsage(component, match_key, (), None, partial(model.to_reading, amounts, span.end_time or 0))

    def read_model(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> Usage:
        """Return a usage without amounts, of the model that a span names."""
        return _read_model(attributes, rule.component).without_amounts(span.end_time or 0)

    def read_ending(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> Ending:
        """Return how a request without usage ended. One that is cut off leaves no sign on its span.

        Speech-to-text without usage was transcribed, by a release that does not report it.
        """
        if span.status.status_code is StatusCode.ERROR:
            return Ending.REFUSED
        return Ending.COMPLETE if rule.component is Component.STT else Ending.CUT_OFF

    def current_work(self) -> Work | None:
        """Return None: work is not measured."""
        return None

    def describe_session(self, attributes: Attributes, events: Iterable[Event], start_ns: int) -> SessionFacts:
        """Return the facts about a conversation."""
        return SessionFacts(
            ids=tuple(str(attributes[key]) for key in _SESSION_IDS if attributes.get(key)),
            agent=None,
            inherited={
                key: value for key, value in attributes.items() if key in _IDS or not key.startswith(_NOT_INHERITED)
            },
            phone_start_ns=None,
        )

    def texts(self, attributes: Attributes) -> Texts:
        """Return the content of a span. Of a language model it is under keys of Pipecat's that backends read."""
        return Texts(spoken=_find_text(attributes, _SPOKEN), heard=_find_text(attributes, _HEARD))

    def tracer(self) -> Tracer | None:
        """Return the tracer of Pipecat's services, or None if Pipecat is not imported."""
        return trace.get_tracer(SCOPE) if "pipecat" in sys.modules else None

    def provider(self) -> TracerProvider:
        """Return the global provider, the only one that Pipecat uses."""
        return trace.get_tracer_provider()

    def subscribe(
        self,
        listener: Callable[[Source, Callable[[], UsageReport | None]], None],
        on_stream: Callable[[Source, Work], None] | None = None,
    ) -> Subscription:
        """Call a bound method once with each usage report of Pipecat's services. Streams are not watched."""
        return subscribe(self, listener)


def _to_key(span: ReadableSpan) -> SpanKey:
    context = span.context
    return context[:2] if context else (0, 0)


def _describe(attributes: Attributes, component: Component) -> ServiceClass:
    name = attributes.get(PROVIDER)
    return describe_span(component, name if isinstance(name, str) else "")


def _read_model(attributes: Attributes, component: Component) -> Model:
    facts = _describe(attributes, component)
    return facts.to_model(component, read_span_model(attributes, component, facts.provider))


def _was_not_sent(attributes: Attributes) -> bool:
    """Return True if the service of a speech span reports what it sends, so that no report means a failure."""
    name = attributes.get(PROVIDER)
    found = find_class(Component.TTS, name) if isinstance(name, str) and is_tts_hooked() else None
    return found is not None and is_speech_reported(found)


def _find_text(attributes: Attributes, keys: Iterable[str]) -> str | None:
    text = next((attributes[key] for key in keys if key in attributes), None)
    return text if isinstance(text, str) else None
