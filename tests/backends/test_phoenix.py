"""Phoenix shows the costs as attributes, and prices language models once by its own list."""

from __future__ import annotations

from decimal import Decimal

import pytest

from .conftest import arrived, asked, page, send_call
from .servers import serve_phoenix

QUERY = "{ projects { edges { node { id name traceCount costSummary { total { cost } } } } } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from serve_phoenix(tmp_path_factory.mktemp("phoenix"))


async def test_every_span_arrives_with_model_and_cost(server, tmp_path):
    call = await send_call("openinference", f"{server}/v1/traces")

    def priced() -> list:
        spans = asked(f"{server}/v1/projects/default/spans?limit=1000")["data"]
        return [span for span in spans if "llm.cost.total" in span["attributes"]]

    shown = {span["context"]["span_id"]: span["attributes"] for span in arrived(priced, len(call.spans))}
    assert {key: Decimal(str(values["llm.cost.total"])) for key, values in shown.items()} == call.costs()
    assert {values["llm.model_name"] for values in shown.values()} == {"gpt-4.1-mini", "nova-3", "sonic-3"}

    (project,) = [edge["node"] for edge in asked(f"{server}/graphql", {"query": QUERY})["data"]["projects"]["edges"]]
    llm = sum(Decimal(s.attributes["voice_cost.usd"]) for s in call.spans if s.name == "llm_request")
    assert project["traceCount"] == 1
    assert Decimal(str(project["costSummary"]["total"]["cost"])).quantize(Decimal("1e-9")) == llm

    document = page(f"{server}/projects/{project['id']}/spans", tmp_path / "phoenix.png")
    assert "agent_session" in document
