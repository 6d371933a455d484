"""Pydantic Logfire.

Logfire shows and sums ``operation.cost``, a double in US dollars.

Source:
    pydantic-ai 2, ``_instrumentation.py`` and ``models/instrumented.py``, which write it for Logfire.
"""

from __future__ import annotations

from typing import Any

from ..cost import Cost
from . import Options, SpanFacts, as_doubles

__all__ = ["cost_attributes"]

COST = "operation.cost"


def cost_attributes(cost: Cost, _span: SpanFacts, _options: Options) -> dict[str, Any]:
    """Return the cost as a double."""
    return as_doubles({COST: cost.usd})
