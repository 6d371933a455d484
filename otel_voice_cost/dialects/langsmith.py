"""LangSmith.

``langsmith.usage_metadata`` is a JSON object that replaces ``gen_ai.usage.*`` at ingestion; costs in it are US
dollars as numbers and win over LangSmith's own price list. Only runs of kind ``llm`` add to the cost of a trace.

Source:
    langsmith 0.15.0, ``_internal/voice/translated_span.py`` (``set_usage``, ``langsmith.span.kind``), ``schemas.py``
    (``ExtractedUsageMetadata``).
"""

from __future__ import annotations

import json
from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, as_doubles
from .genai import token_counts

__all__ = ["cost_attributes"]

KIND = "langsmith.span.kind"
USAGE = "langsmith.usage_metadata"


def cost_attributes(cost: Cost, _span: SpanFacts, options: Options) -> dict[str, Any]:
    """Return tokens and costs, and the kind that adds up."""
    usage: dict[str, int | float] = {}
    tokens = token_counts(cost, speech_as_tokens=options.speech_as_tokens)
    if tokens is not None:
        usage = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
    costs = {"input_cost": cost.input_usd, "output_cost": cost.output_usd, "total_cost": cost.usd}
    usage |= as_doubles(costs)
    return {KIND: "llm", USAGE: json.dumps(usage)}
