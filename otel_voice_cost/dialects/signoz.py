"""SigNoz' LLM dashboards.

SigNoz prices language models itself under these names; given ones are doubles in US dollars.

Source:
    SigNoz' documentation of LLM cost; its server was not read.
"""

from __future__ import annotations

from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, as_doubles

__all__ = ["cost_attributes"]

INPUT_COST = "_signoz.gen_ai.input_cost"
OUTPUT_COST = "_signoz.gen_ai.output_cost"
TOTAL_COST = "_signoz.gen_ai.total_cost"


def cost_attributes(cost: Cost, _span: SpanFacts, _options: Options) -> dict[str, Any]:
    """Return the total and, where they are known, its parts."""
    return as_doubles({TOTAL_COST: cost.usd, INPUT_COST: cost.input_usd, OUTPUT_COST: cost.output_usd})
