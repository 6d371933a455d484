"""MLflow Tracing.

Without it MLflow prices the models it knows. The cost is a JSON object as text, dollars as numbers; MLflow
sums ``total_cost`` over a trace.

Source:
    mlflow 3.18.0, ``tracing/constant.py`` (``SpanAttributeKey.LLM_COST``, ``CostKey``),
    ``tracing/otel/translation/__init__.py`` (given cost wins), ``store/tracking/sqlalchemy_store.py`` (values stored).
"""

from __future__ import annotations

import json

from ...cost import Cost
from . import Attributes, Dialect, SpanView

__all__ = ["DIALECTS"]

COST = "mlflow.llm.cost"


class MLflow(Dialect):
    """MLflow's cost object."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the total and its parts; if the parts are unknown, all of it is input."""
        if cost.usd is None:
            return {}
        parts = {
            "input_cost": cost.usd if cost.input_usd is None else cost.input_usd,
            "output_cost": cost.output_usd or 0,
            "total_cost": cost.usd,
        }
        return {COST: json.dumps({key: float(usd) for key, usd in parts.items()})}


DIALECTS = {"mlflow": MLflow}
