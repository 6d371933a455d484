"""Which of LiveKit's spans bills, hears, sums or only repeats a model.

The instrumentation scope ``livekit-agents`` decides whether a span is LiveKit's, and the table below
decides the rest. A span that the table does not know, of a newer release, is taken by its
metrics attribute.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from ..usage import Component

__all__ = [
    "AGENT_NAME",
    "METRICS_KEYS",
    "NEWER",
    "PARTICIPANT_KIND",
    "PARTICIPANT_LINKED",
    "RULES",
    "SESSION_IDS",
    "SILENT",
    "SIP",
    "SIP_KIND",
    "TTS_TEXT",
    "Role",
    "SpanRule",
    "attributes_of",
    "is_livekit",
    "rule_of",
]

SCOPE = "livekit-agents"

# Source: livekit-agents 1.2.18 to 1.8.9, telemetry/trace_types.py.
LLM_METRICS = "lk.llm_metrics"
TTS_METRICS = "lk.tts_metrics"
REALTIME_METRICS = "lk.realtime_model_metrics"
AGENT_NAME = "lk.agent_name"  # of the session, where a job runs it
PARTICIPANT_KIND = "lk.participant_kind"
PARTICIPANT_LINKED = "participant_linked"  # an event on agent_session, from 1.6
SIP = "lk.sip."  # from 1.8
SIP_KIND = "PARTICIPANT_KIND_SIP"
SESSION_IDS = ("gen_ai.conversation.id", "langfuse.session.id", "session.id", "lk.job_id")

TTS_TEXT = ("lk.pii.input_text", "lk.input_text")  # what was spoken; the second before 1.7

METRICS_KEYS = {
    LLM_METRICS: Component.LLM,
    REALTIME_METRICS: Component.REALTIME,
    TTS_METRICS: Component.TTS,
}


class Role(str, Enum):
    """What a span means for the bill."""

    BILLS = "bills"
    HEARS = "hears"
    REPEATS = "repeats"
    SESSION = "session"
    TURN = "turn"


class SpanRule(NamedTuple):
    """How spans of one name are read.

    Attributes:
        role: What the span means for the bill.
        metrics: Attribute that holds its metrics JSON, if it can have one.
        gen_ai_usage: Whether ``gen_ai.usage.*`` counts where the metrics are missing and no request inside bills.
        by_event: Whether that usage is reported by an event too, which counts inside a session. LiveKit never
            ends the ``llm_request`` of a judge.
        nests: Component of a request inside which further requests of the same may run.
        releases: Releases that make such spans.
    """

    role: Role
    metrics: str | None = None
    gen_ai_usage: bool = False
    by_event: bool = False
    nests: Component | None = None
    releases: str = "1.2-1.8"


NEWER = "newer than 1.8"

_REPEATS = SpanRule(role=Role.REPEATS)

RULES = {
    "agent_session": SpanRule(role=Role.SESSION),
    "agent_turn": SpanRule(role=Role.TURN, metrics=REALTIME_METRICS, releases="1.3-1.8, metrics to 1.7"),
    "assistant_turn": SpanRule(role=Role.TURN, releases="1.2"),
    "decision_model.evaluate": SpanRule(role=Role.BILLS, gen_ai_usage=True, releases="1.8.8-1.8"),
    "judge_evaluation": SpanRule(role=Role.REPEATS, gen_ai_usage=True, by_event=True, nests=Component.LLM),
    "keyterm_detection": SpanRule(role=Role.REPEATS, releases="1.6.6-1.8"),
    "llm_fallback_adapter": SpanRule(role=Role.REPEATS, releases="1.3.3-1.8"),
    "llm_node": SpanRule(
        role=Role.REPEATS, gen_ai_usage=True, nests=Component.LLM, releases="1.2-1.8, usage of custom nodes from 1.8"
    ),
    "llm_request": SpanRule(role=Role.BILLS, metrics=LLM_METRICS, gen_ai_usage=True, nests=Component.LLM),
    "llm_request_run": SpanRule(role=Role.REPEATS, releases="1.2.3-1.8"),
    "realtime_assistant_turn": SpanRule(role=Role.TURN, metrics=REALTIME_METRICS, releases="1.2.11-1.2"),
    "realtime_inference": SpanRule(role=Role.BILLS, metrics=REALTIME_METRICS, releases="1.8"),
    "realtime_metrics": SpanRule(role=Role.BILLS, metrics=REALTIME_METRICS, releases="1.2.11-1.8"),
    "start_agent_activity": _REPEATS,
    "tts_fallback_adapter": SpanRule(role=Role.REPEATS, releases="1.3.3-1.8"),
    "tts_node": _REPEATS,
    "tts_request": SpanRule(role=Role.BILLS, metrics=TTS_METRICS, nests=Component.TTS),
    "tts_request_run": SpanRule(role=Role.REPEATS, releases="1.2.3-1.8"),
    "tts_stream_adapter": SpanRule(role=Role.REPEATS, releases="1.3.3-1.8"),
    "user_turn": SpanRule(role=Role.HEARS),
}

# Spans that say nothing of usage. All others are looked through for metrics.
SILENT = frozenset(
    {
        "agent_speaking",
        "drain_agent_activity",
        "eou_detection",
        "eou_wait",
        "function_tool",
        "on_enter",
        "on_exit",
        "on_user_turn_completed",
        "session_close",
        "session_start",
        "setup_toolsets",
        "update_agent",
        "user_speaking",
    }
)


def is_livekit(span: ReadableSpan) -> bool:
    """Whether LiveKit Agents made the span."""
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """A copy of a span's attributes. The SDK's own mapping takes a lock and Python code for each look-up."""
    attributes: Any = span.attributes
    if not attributes:
        return {}
    try:
        copied: dict[str, Any] = attributes.copy()
    except AttributeError:  # a neighbour may leave any mapping, behind the SDK's proxy
        return dict(attributes)
    return copied


def rule_of(span: ReadableSpan) -> SpanRule | None:
    """The rule for a span of LiveKit's, or None where it says nothing of usage."""
    name = span.name
    rule = RULES.get(name)
    if rule is not None or name in SILENT:
        return rule
    attributes = attributes_of(span)
    for key in METRICS_KEYS:
        if key in attributes:
            return SpanRule(role=Role.BILLS, metrics=key, releases=NEWER)
    return None
