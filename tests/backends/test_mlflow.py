"""MLflow shows the cost of every span that bills, and the sum of a call."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from .conftest import asked, page, send_call
from .servers import serve_mlflow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from serve_mlflow(tmp_path_factory.mktemp("mlflow"))


async def test_every_cost_and_their_sum_are_shown(server, tmp_path):
    call = await send_call("mlflow", f"{server}/v1/traces", **{"x-mlflow-experiment-id": "0"})

    experiment = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    (info,) = asked(f"{server}/api/3.0/mlflow/traces/search", {"locations": [experiment], "max_results": 5})["traces"]
    total = json.loads(info["trace_metadata"]["mlflow.trace.cost"])["total_cost"]
    assert Decimal(repr(total)).quantize(Decimal("1e-12")) == call.usd

    trace = asked(f"{server}/api/3.0/mlflow/traces/get?trace_id={info['trace_id']}")["trace"]
    shown = [
        Decimal(str(part["value"]["double_value"]))
        for span in trace["spans"]
        for item in span["attributes"]
        if item["key"] == "mlflow.llm.cost"
        for part in item["value"]["kvlist_value"]["values"]
        if part["key"] == "total_cost"
    ]
    assert sorted(shown) == sorted(call.costs().values())
    assert len(shown) == 14

    document = page(f"{server}/#/experiments/0/traces?selectedEvaluationId={info['trace_id']}", tmp_path / "mlflow.png")
    assert "agent_session" in document
    assert "$0.0023" in document  # of the greeting, 46 characters at $50 a million
