"""Backends that read total, input and output cost as doubles in US dollars, each under separate keys.

Source:
    Logfire: pydantic-ai 2, ``_instrumentation.py`` and ``models/instrumented.py``, which write ``operation.cost``.
    PostHog: posthog 7.91.1, ``ai/openai_agents/processor.py`` and ``ai/claude_agent_sdk/processor.py`` for the total;
    PostHog's documentation of ``$ai_generation`` for its parts. A cost on the event overrides PostHog's price list.
    Sentry: sentry-conventions 0.33.0; its token keys hold the cost of the tokens.
    SigNoz: its documentation of LLM cost; the server's code was not read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ...cost import Cost
from . import Attributes, Dialect, Options, SpanView, as_doubles

__all__ = ["DIALECTS"]


class _Keys(NamedTuple):
    total: str
    input: str | None = None
    output: str | None = None


class _PlainCosts(Dialect):
    def __init__(self, keys: _Keys, options: Options) -> None:
        super().__init__(options)
        self._keys = keys

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the total and, if the backend reads them and they are known, its parts."""
        keys = self._keys
        amounts = {keys.total: cost.usd}
        if keys.input is not None and keys.output is not None:
            amounts |= {keys.input: cost.input_usd, keys.output: cost.output_usd}
        return as_doubles(amounts)


_KEYS = {
    "logfire": _Keys("operation.cost"),
    "posthog": _Keys("$ai_total_cost_usd", "$ai_input_cost_usd", "$ai_output_cost_usd"),
    "sentry": _Keys("gen_ai.cost.total_tokens", "gen_ai.cost.input_tokens", "gen_ai.cost.output_tokens"),
    "signoz": _Keys("_signoz.gen_ai.total_cost", "_signoz.gen_ai.input_cost", "_signoz.gen_ai.output_cost"),
}

DIALECTS: dict[str, Callable[[Options], Dialect]] = {name: partial(_PlainCosts, keys) for name, keys in _KEYS.items()}
