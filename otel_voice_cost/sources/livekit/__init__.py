"""LiveKit Agents as a source of usage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import ProxyTracerProvider, StatusCode, Tracer, TracerProvider

from ...errors import UsageError
from ...usage import Component, Unit, Usage
from .. import (
    Attributes,
    Ending,
    ReportedField,
    SessionFacts,
    Source,
    SpanUsage,
    Subscription,
    Texts,
    UsageReport,
    Work,
)
from .hooks import subscribe
from .metrics import decode, name_request, read_gen_ai_usage, read_metrics, read_model, to_fragments
from .reports import read_report
from .spans import METRICS_KEYS, REALTIME_METRICS, SCOPE, TTS_METRICS, find_rule
from .streams import current_work

__all__ = ["TESTED", "LiveKitSource"]

TESTED = ("1.2.18", "1.3.12", "1.4.6", "1.5.17", "1.6.10", "1.7.1", "1.8.9")  # releases of livekit-agents

# Source: livekit-agents 1.2.18 to 1.8.9, telemetry/trace_types.py; the second names before 1.7.
_SPOKEN = ("lk.pii.input_text", "lk.input_text")
_HEARD = ("lk.pii.user_transcript", "lk.user_transcript", "lk.pii.response.text", "lk.response.text")
_ASKED = ("lk.pii.user_input", "lk.user_input")
_AGENT_NAME = "lk.agent_name"  # of the session, if a job runs it
_AGENT_LABEL = "lk.agent_label"  # its class or id; with the module before 1.3
_PARTICIPANT_KIND = "lk.participant_kind"
_PARTICIPANT_LINKED = "participant_linked"  # an event on agent_session, from 1.6
_SIP = "lk.sip."  # from 1.8
_SIP_KIND = "PARTICIPANT_KIND_SIP"
_SESSION_IDS = ("gen_ai.conversation.id", "langfuse.session.id", "session.id", "lk.job_id")

# Source: livekit-agents 1.2.18 to 1.8.9, _exceptions.py.
_FAILURES = {
    Ending.BROKEN: {"APIConnectionError"},
    Ending.REFUSED: {"APIError", "APIStatusError"},
    Ending.TIMEOUT: {"APITimeoutError"},
}

# LiveKit's and the conventions' attributes describe the session span itself, except the conversation id, which
# Langfuse reads as its session.
_NOT_INHERITED = ("lk.", "gen_ai.", "voice_cost.", "langfuse.observation.", "exception.", "error.")
_CONVERSATION_ID = "gen_ai.conversation.id"


class LiveKitSource:
    """Reads LiveKit Agents 1.2 to 1.8. Implements `Source`."""

    name = "LiveKit"
    setup_hint = (
        "Call livekit.agents.telemetry.set_tracer_provider(provider) with the provider that has it, outside of "
        'if __name__ == "__main__": a job process does not run that part.'
    )
    scopes = frozenset({SCOPE})
    session_id_keys = _SESSION_IDS
    agent_keys = (_AGENT_NAME,)
    reported_fields = (
        ReportedField(TTS_METRICS, "characters_count", Unit.CHARACTER),
        ReportedField(TTS_METRICS, "audio_duration", Unit.AUDIO_SECOND),
        ReportedField(REALTIME_METRICS, "session_duration", Unit.SESSION_SECOND),
    )

    rule_for = staticmethod(find_rule)

    def read_span(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> SpanUsage | None:
        """Return the usage in a span's metrics JSON or else its token counts, or None if it has none."""
        time_ns, text = span.end_time or 0, attributes.get(rule.metrics) if rule.metrics else None
        if isinstance(text, str):
            return _read_metrics_json(METRICS_KEYS[rule.metrics], text, time_ns, attributes)
        usage = read_gen_ai_usage(attributes, time_ns) if rule.has_token_counts else None
        if usage is None:
            return None
        return SpanUsage(Component.LLM, None, to_fragments(attributes), None, lambda: usage)

    def read_model(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> Usage:
        """Return a usage without amounts for the model that a span names."""
        text = attributes.get(rule.metrics) if rule.metrics else None
        return read_model(rule.component, text, span.end_time or 0, attributes)

    def read_ending(self, span: ReadableSpan, rule: Any, attributes: Attributes) -> Ending:
        """Return how a request or an attempt without usage ended, by the exception on it, else by its metrics.

        Source:
            livekit-agents 1.2 to 1.8, ``llm/llm.py``, ``tts/tts.py``: an attempt that fails has the exception on
            its span; a request that is cancelled has none, and an LLM's then has metrics with ``cancelled``.
        """
        for event in span.events:
            name = str((event.attributes or {}).get("exception.type", ""))
            for ending, names in _FAILURES.items():
                if name.rpartition(".")[2] in names:
                    return ending
        if span.status.status_code is StatusCode.ERROR:
            return Ending.REFUSED
        text = attributes.get(rule.metrics) if rule.metrics else None
        if isinstance(text, str) and '"cancelled":false' in text.replace(" ", ""):
            return Ending.COMPLETE
        return Ending.CUT_OFF

    current_work = staticmethod(current_work)

    def describe_session(self, attributes: Attributes, events: Iterable[Event], start_ns: int) -> SessionFacts:
        """Return the facts about a session."""
        agent, label = attributes.get(_AGENT_NAME), attributes.get(_AGENT_LABEL)
        return SessionFacts(
            ids=tuple(str(attributes[key]) for key in _SESSION_IDS if attributes.get(key)),
            agent=agent if isinstance(agent, str) else None,
            inherited={
                key: value
                for key, value in attributes.items()
                if key == _CONVERSATION_ID or not key.startswith(_NOT_INHERITED)
            },
            phone_start_ns=_find_phone_start(attributes, events, start_ns),
            title=str(agent or label or "").rpartition(".")[2].strip("_") or None,
        )

    def texts(self, attributes: Attributes) -> Texts:
        """Return the content of a span."""
        return Texts(
            spoken=_find_text(attributes, _SPOKEN),
            heard=_find_text(attributes, _HEARD),
            asked=_find_text(attributes, _ASKED),
        )

    def tracer(self) -> Tracer | None:
        """Return LiveKit's tracer, or None if LiveKit is not imported.

        Source:
            livekit-agents 1.2 to 1.8, ``telemetry/__init__.py``: ``tracer`` follows ``set_tracer_provider``.
        """
        return getattr(sys.modules.get("livekit.agents.telemetry"), "tracer", None)

    def provider(self) -> TracerProvider:
        """Return LiveKit's tracer provider, or the global one if none was set.

        Source:
            livekit-agents 1.2 to 1.8, ``telemetry/traces.py``: ``_DynamicTracer._tracer_provider``, a proxy of
            the global one until ``set_tracer_provider``.
        """
        provider: Any = getattr(self.tracer(), "_tracer_provider", None)
        is_proxy = provider is None or isinstance(provider, ProxyTracerProvider)
        return trace.get_tracer_provider() if is_proxy else provider

    def subscribe(
        self,
        listener: Callable[[Source, Callable[[], UsageReport | None]], None],
        on_stream: Callable[[Source, Work], None] | None = None,
    ) -> Subscription:
        """Call a bound method once with each usage report of LiveKit's classes, and watch its streams."""
        return subscribe(self, listener, read_report, on_stream)


def _read_metrics_json(component: Component, text: str, time_ns: int, attributes: Attributes) -> SpanUsage:
    try:
        fields = decode(text)
    except UsageError as error:  # truncated by a limit, or malformed
        return SpanUsage(component, None, (text,), None, partial(_fail, error))
    request = name_request(fields) if component is Component.LLM else None
    return SpanUsage(component, text, (), request, partial(read_metrics, component, fields, time_ns, attributes))


def _fail(error: UsageError) -> None:
    raise error


def _find_text(attributes: Attributes, keys: Iterable[str]) -> str | None:
    text = next((attributes[key] for key in keys if key in attributes), None)
    return text if isinstance(text, str) else None


def _find_phone_start(attributes: Attributes, events: Iterable[Event], session_start_ns: int) -> int | None:
    """Return the time when a telephone caller joined, or None if there was none.

    Source:
        livekit-agents 1.8.9, ``voice/agent_session.py``, ``_on_room_io_participant_linked``: ``lk.sip.*`` on
        ``agent_session``, and the event ``participant_linked`` with the kind of participant.
    """
    if not any(key.startswith(_SIP) for key in attributes):
        return None
    linked = [
        event.timestamp
        for event in events
        if event.name == _PARTICIPANT_LINKED and (event.attributes or {}).get(_PARTICIPANT_KIND) == _SIP_KIND
    ]
    return max(min(linked), session_start_ns) if linked else session_start_ns
