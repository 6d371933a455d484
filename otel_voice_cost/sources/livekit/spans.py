"""The table of LiveKit's spans: those that bill, get totals or only repeat a request.

The instrumentation scope ``livekit-agents`` identifies LiveKit's spans; the table below defines their
roles. A span that is not in the table, of a newer release, is read by its metrics attribute.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan

from ...usage import Component
from .. import Role

__all__ = ["IGNORED_SPANS", "METRICS_KEYS", "SCOPE", "SPAN_RULES", "LiveKitRule", "find_rule"]

SCOPE = "livekit-agents"

# Source: livekit-agents 1.2.18 to 1.8.9, telemetry/trace_types.py.
LLM_METRICS = "lk.llm_metrics"
TTS_METRICS = "lk.tts_metrics"
REALTIME_METRICS = "lk.realtime_model_metrics"
METRICS_KEYS = {
    LLM_METRICS: Component.LLM,
    REALTIME_METRICS: Component.REALTIME,
    TTS_METRICS: Component.TTS,
}


@dataclass(frozen=True, slots=True)
class LiveKitRule:
    """Rule for spans of one name. Implements `SpanRule`.

    Attributes:
        role: The role of the span.
        component: The component that the span bills.
        metrics: Attribute that holds its metrics JSON, if it can have one.
        has_token_counts: True if ``gen_ai.usage.*`` counts if the metrics are missing and no request inside bills.
        is_reported: True if that usage is also reported by event. LiveKit never ends the ``llm_request`` of a judge.
        nests: True if requests of the same component may run inside.
        is_attempt: True if it is one try of the request above it.
        is_newer: True if the table has no such span: it is read by its metrics attribute.
    """

    role: Role
    component: Component = Component.LLM
    metrics: str | None = None
    has_token_counts: bool = False
    is_reported: bool = False
    nests: bool = False
    is_attempt: bool = False
    is_newer: bool = False


_WRAPPER = LiveKitRule(Role.WRAPPER)

SPAN_RULES = {
    "agent_session": LiveKitRule(Role.SESSION),
    "agent_turn": LiveKitRule(Role.AGENT_TURN, Component.REALTIME, REALTIME_METRICS),  # from 1.3; metrics to 1.7
    "assistant_turn": LiveKitRule(Role.AGENT_TURN),  # 1.2
    "decision_model.evaluate": LiveKitRule(Role.REQUEST, has_token_counts=True),  # from 1.8.8
    "judge_evaluation": LiveKitRule(Role.WRAPPER, has_token_counts=True, is_reported=True, nests=True),
    "keyterm_detection": _WRAPPER,  # from 1.6.6
    "llm_fallback_adapter": _WRAPPER,  # from 1.3.3
    "llm_node": LiveKitRule(Role.WRAPPER, has_token_counts=True, nests=True),  # usage of custom nodes from 1.8
    "llm_request": LiveKitRule(Role.REQUEST, Component.LLM, LLM_METRICS, has_token_counts=True, nests=True),
    "llm_request_run": LiveKitRule(Role.WRAPPER, Component.LLM, is_attempt=True),  # from 1.2.3
    "realtime_assistant_turn": LiveKitRule(Role.AGENT_TURN, Component.REALTIME, REALTIME_METRICS),  # 1.2.11 to 1.2
    "realtime_inference": LiveKitRule(Role.REQUEST, Component.REALTIME, REALTIME_METRICS),  # from 1.8
    "realtime_metrics": LiveKitRule(Role.REQUEST, Component.REALTIME, REALTIME_METRICS),  # from 1.2.11
    "start_agent_activity": _WRAPPER,
    "tts_fallback_adapter": _WRAPPER,  # from 1.3.3
    "tts_node": _WRAPPER,
    "tts_request": LiveKitRule(Role.REQUEST, Component.TTS, TTS_METRICS, nests=True),
    "tts_request_run": LiveKitRule(Role.WRAPPER, Component.TTS, is_attempt=True),  # from 1.2.3
    "tts_stream_adapter": _WRAPPER,  # from 1.3.3
    "user_turn": LiveKitRule(Role.USER_TURN),
}

# Spans without usage. All others are searched for metrics.
IGNORED_SPANS = frozenset(
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

_RULES = SPAN_RULES | dict.fromkeys(IGNORED_SPANS, LiveKitRule(Role.IGNORED))
_NEWER = {
    key: LiveKitRule(Role.REQUEST, component=component, metrics=key, is_newer=True)
    for key, component in METRICS_KEYS.items()
}


def find_rule(span: ReadableSpan) -> LiveKitRule | None:
    """Return the rule for a LiveKit span, or None if it is not in the table and has no metrics so far."""
    rule = _RULES.get(span.name)
    if rule is not None:
        return rule
    attributes = span.attributes or {}
    return next((newer for key, newer in _NEWER.items() if key in attributes), None)
