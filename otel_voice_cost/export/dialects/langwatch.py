"""LangWatch.

Speech is given in characters and seconds, the cost as a number in ``langwatch.metrics``, a JSON object.

Source:
    langwatch 1.4.0, ``telemetry/span.py`` (``langwatch.metrics``) and ``domain/__init__.py`` (``SpanMetrics.cost``);
    LangWatch's documentation for ``gen_ai.usage.input_chars`` and ``gen_ai.usage.audio_seconds``. Its server code
    was not read.
"""

from __future__ import annotations

import json

from ...cost import Cost
from ...usage import Dimension
from . import Attributes, Dialect, SpanView

__all__ = ["DIALECTS"]

AUDIO_SECONDS = "gen_ai.usage.audio_seconds"
INPUT_CHARACTERS = "gen_ai.usage.input_chars"
METRICS = "langwatch.metrics"


class LangWatch(Dialect):
    """LangWatch's metrics."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the cost, and the amount of speech in characters or seconds."""
        attributes: Attributes = {}
        for unit, amount in cost.usage.quantities.items():
            if unit.dimension in (Dimension.TIME, Dimension.SESSION):
                attributes[AUDIO_SECONDS] = float(amount)
            elif unit.dimension is not Dimension.TOKEN and unit.dimension is not Dimension.REQUEST:
                attributes[INPUT_CHARACTERS] = int(amount)
        if cost.usd is not None:
            attributes[METRICS] = json.dumps({"cost": float(cost.usd)})
        return attributes


DIALECTS = {"langwatch": LangWatch}
