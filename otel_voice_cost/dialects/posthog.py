"""PostHog's LLM analytics.

Given cost wins over PostHog's own price list. Doubles in US dollars.

Source:
    posthog 7.91.1, ``ai/openai_agents/processor.py`` and ``ai/claude_agent_sdk/processor.py`` for the total;
    PostHog's documentation of ``$ai_generation`` for its parts.
"""

from __future__ import annotations

from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, as_doubles

__all__ = ["cost_attributes"]

INPUT_COST = "$ai_input_cost_usd"
OUTPUT_COST = "$ai_output_cost_usd"
TOTAL_COST = "$ai_total_cost_usd"


def cost_attributes(cost: Cost, _span: SpanFacts, _options: Options) -> dict[str, Any]:
    """Return the total and, where they are known, its parts."""
    return as_doubles({TOTAL_COST: cost.usd, INPUT_COST: cost.input_usd, OUTPUT_COST: cost.output_usd})
