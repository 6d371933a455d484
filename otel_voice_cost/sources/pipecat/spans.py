"""The table of Pipecat's spans: those that bill, get totals or only repeat a request.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``utils/tracing/turn_trace_observer.py``, ``utils/tracing/service_decorators.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan

from ...usage import Component
from .. import Role

__all__ = ["LLM_SPAN", "PROVIDER", "SCOPE", "SPAN_RULES", "TURN_SCOPE", "PipecatRule", "find_rule"]

SCOPE = "pipecat"  # of services
TURN_SCOPE = "pipecat.turn"
LLM_SPAN = "llm"
PROVIDER = "gen_ai.provider.name"
_STT_SPAN = "stt"
_LLM_CLASS = "llmservice"  # at the end of the provider of a language model's ``stt`` span


@dataclass(frozen=True, slots=True)
class PipecatRule:
    """Rule for spans of one name. Implements `SpanRule`.

    Attributes:
        role: The role of the span.
        component: The component that the span bills.
        nests: True if the span is a request even without usage. Speech without usage was not sent: the request failed,
            or the reply was interrupted before. No request runs inside another of the same component.
        is_reported: Never true.
        is_attempt: Never true: one span covers all tries.
        is_newer: Never true.
    """

    role: Role
    component: Component = Component.LLM
    nests: bool = False
    is_reported: bool = False
    is_attempt: bool = False
    is_newer: bool = False


_WRAPPER = PipecatRule(Role.WRAPPER, Component.REALTIME)
_STT = PipecatRule(Role.USER_TURN, Component.STT)
_UNHOOKED_STT = PipecatRule(Role.REQUEST, Component.STT, nests=True)

SPAN_RULES = {
    (TURN_SCOPE, "conversation"): PipecatRule(Role.SESSION),
    (TURN_SCOPE, "turn"): PipecatRule(Role.AGENT_TURN),
    (SCOPE, LLM_SPAN): PipecatRule(Role.REQUEST, Component.LLM, nests=True),
    (SCOPE, "llm_request"): _WRAPPER,
    (SCOPE, "llm_response"): PipecatRule(Role.REQUEST, Component.REALTIME, nests=True),
    (SCOPE, "llm_setup"): _WRAPPER,
    (SCOPE, "llm_tool_call"): _WRAPPER,
    (SCOPE, "llm_tool_result"): _WRAPPER,
    (SCOPE, _STT_SPAN): _STT,
    (SCOPE, "tts"): PipecatRule(Role.REQUEST, Component.TTS),
}


def find_rule(span: ReadableSpan, is_stt_hooked: Callable[[], bool]) -> PipecatRule | None:
    """Return the rule for a Pipecat span, or None if the table does not have it.

    A span ``stt`` gets what was reported since the last one. It is a separate request if reports are not received:
    Pipecat before 1.7 has none, and a span may come from another process. A realtime model's is its transcript.

    Args:
        span: The span, which may be live.
        is_stt_hooked: Returns True if reports of speech-to-text are received.
    """
    scope = span.instrumentation_scope
    rule = SPAN_RULES.get((scope.name, span.name)) if scope is not None else None
    if rule is not _STT:
        return rule
    provider = (span.attributes or {}).get(PROVIDER)
    if isinstance(provider, str) and provider.endswith(_LLM_CLASS):
        return _WRAPPER
    return _STT if is_stt_hooked() else _UNHOOKED_STT
