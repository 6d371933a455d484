"""LangWatch.

Speech is given in characters and seconds; the cost as a number in ``langwatch.metrics``, a JSON object.

Source:
    langwatch 1.4.0, ``telemetry/span.py`` (``langwatch.metrics``) and ``domain/__init__.py`` (``SpanMetrics.cost``);
    LangWatch's documentation for ``gen_ai.usage.input_chars`` and ``gen_ai.usage.audio_seconds``. Its server was
    not read.
"""

from __future__ import annotations

import json
from typing import Any

from ..cost import Cost
from ..usage import Measure
from . import Options, SpanFacts

__all__ = ["cost_attributes"]

AUDIO_SECONDS = "gen_ai.usage.audio_seconds"
INPUT_CHARACTERS = "gen_ai.usage.input_chars"
METRICS = "langwatch.metrics"


def cost_attributes(cost: Cost, _span: SpanFacts, _options: Options) -> dict[str, Any]:
    """Return the cost, and the amount of speech in its own unit."""
    attributes: dict[str, Any] = {}
    for unit, amount in cost.usage.quantities.items():
        if unit.measure in (Measure.TIME, Measure.SESSION):
            attributes[AUDIO_SECONDS] = float(amount)
        elif unit.measure is not Measure.TOKEN and unit.measure is not Measure.REQUEST:
            attributes[INPUT_CHARACTERS] = int(amount)
    if cost.usd is not None:
        attributes[METRICS] = json.dumps({"cost": float(cost.usd)})
    return attributes
