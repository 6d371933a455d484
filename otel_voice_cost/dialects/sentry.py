"""Sentry's AI monitoring.

Doubles in US dollars; the names say tokens and mean the cost of them.

Source:
    sentry-conventions 0.33.0, ``gen_ai.cost.total_tokens``, ``.input_tokens`` and ``.output_tokens``.
"""

from __future__ import annotations

from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, as_doubles

__all__ = ["cost_attributes"]

INPUT_COST = "gen_ai.cost.input_tokens"
OUTPUT_COST = "gen_ai.cost.output_tokens"
TOTAL_COST = "gen_ai.cost.total_tokens"


def cost_attributes(cost: Cost, _span: SpanFacts, _options: Options) -> dict[str, Any]:
    """Return the total and, where they are known, its parts."""
    return as_doubles({TOTAL_COST: cost.usd, INPUT_COST: cost.input_usd, OUTPUT_COST: cost.output_usd})
