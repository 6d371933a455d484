"""The cost attributes proposed for OpenTelemetry's semantic conventions.

``gen_ai.usage.cost.amount`` (double), ``.currency`` (ISO 4217) and ``.source``. They nest under the scalar
``gen_ai.usage.cost``, and stores that nest keys reject a span with both: so this dialect does not run beside
``genai``, and writes that one's other attributes itself.

Source:
    open-telemetry/semantic-conventions-genai, the proposal for cost attributes; not accepted yet.
"""

from __future__ import annotations

from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, genai

__all__ = ["CONFLICTS", "cost_attributes"]

CONFLICTS = ("genai",)

AMOUNT = "gen_ai.usage.cost.amount"
CURRENCY = "gen_ai.usage.cost.currency"
SOURCE = "gen_ai.usage.cost.source"


def cost_attributes(cost: Cost, span: SpanFacts, options: Options) -> dict[str, Any]:
    """Return the GenAI attributes with the cost in its proposed form.

    Nothing of it where the span came with the scalar: that stays as it is.
    """
    attributes = genai.cost_attributes(cost, span, options)
    attributes.pop(genai.COST, None)
    if cost.usd is not None and genai.COST not in span.attributes:
        source = "estimated" if cost.estimated else "calculated"
        attributes |= {AMOUNT: float(cost.usd), CURRENCY: "USD", SOURCE: source}
    return attributes
