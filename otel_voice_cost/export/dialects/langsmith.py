"""LangSmith.

``langsmith.usage_metadata`` is a JSON object that replaces ``gen_ai.usage.*`` at ingestion; costs in it are US
dollars as numbers and override LangSmith's price list. Only runs of kind ``llm`` add to the cost of a trace.

Source:
    langsmith 0.15.0, ``_internal/voice/translated_span.py`` (``set_usage``, ``langsmith.span.kind``), ``schemas.py``
    (``ExtractedUsageMetadata``).
"""

from __future__ import annotations

import json

from ...cost import Cost
from . import Attributes, Dialect, SpanView, as_doubles
from .genai import token_counts

__all__ = ["DIALECTS"]

KIND = "langsmith.span.kind"
USAGE = "langsmith.usage_metadata"


class LangSmith(Dialect):
    """LangSmith's usage metadata."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return tokens and costs, and the run kind that adds to the trace."""
        usage: dict[str, int | float] = {}
        tokens = token_counts(cost, speech_as_tokens=self._options.speech_as_tokens)
        if tokens is not None:
            usage = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
        costs = {"input_cost": cost.input_usd, "output_cost": cost.output_usd, "total_cost": cost.usd}
        usage |= as_doubles(costs)
        return {KIND: "llm", USAGE: json.dumps(usage)}


DIALECTS = {"langsmith": LangSmith}
