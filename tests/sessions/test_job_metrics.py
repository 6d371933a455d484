"""Metrics of job processes, LiveKit's default: all arrive without a flush by hand, because the processor flushes."""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from .harness import amounts_in, cost_of_amounts
from .test_process_jobs import agent_file, hold  # noqa: F401  # a fixture

PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"
SET_UP, FLUSH = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
ADDING = "provider.add_span_processor(VoiceCostSpanProcessor())\n"
OWN_COUNTER = 'own_calls = meter_provider.get_meter("own").create_counter("own.calls")\n'
COUNT = "own_calls.add(1)\n"
COST = "gen_ai.client.operation.cost"
SESSION_COST = "voice_cost.session.cost"
DISABLED = "import os\nos.environ['VOICE_COST_ENABLED'] = 'false'\n"
DELTA = "import os\nos.environ['OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE'] = 'delta'\n"


class MetricReceiver:
    """An OTLP/HTTP receiver of metrics."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        receiver.metrics += scope.metrics
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Lines for the agent's file: the address for its metric exporter."""
        url = f"http://127.0.0.1:{self.server.server_port}/v1/metrics"
        return f"import os\nos.environ['OTEL_EXPORTER_OTLP_METRICS_ENDPOINT'] = {url!r}\n"

    def named(self, name: str) -> list[Metric]:
        """Every export of a metric, the oldest first."""
        return [metric for metric in self.metrics if metric.name == name]

    def last_total(self, name: str) -> float:
        """The total of a metric of one process: each export repeats it from the start."""
        return sum_of(self.named(name)[-1])


def sum_of(metric: Metric) -> float:
    """The sum over all labels in one export of a histogram or counter."""
    if metric.HasField("histogram"):
        return sum(point.sum for point in metric.histogram.data_points)
    return sum(point.as_double or point.as_int for point in metric.sum.data_points)


@pytest.fixture
def receiver() -> Iterator[MetricReceiver]:
    made = MetricReceiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(
    ("method", "ending"),
    [("forkserver", "hangs up"), ("spawn", "hangs up"), ("forkserver", "raises"), ("forkserver", "returns")],
)
def test_the_set_up_of_the_page_loses_no_metric(hold, receiver, method, ending):  # noqa: F811
    """The call is shorter than the minute between two exports; counters of the agent's own arrive too."""
    agent = agent_file(imported=receiver.address + SET_UP + OWN_COUNTER, entrypoint=COUNT)

    call = hold(agent, method=method, ending=ending)

    cost = float(cost_of_amounts(amounts_in(call.reports)))
    assert cost > 0
    assert receiver.last_total(COST) == pytest.approx(cost)
    assert receiver.last_total(SESSION_COST) == pytest.approx(cost)
    assert receiver.last_total("own.calls") == 1


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="exit handlers run in job processes, and the SDK's flushes")
@pytest.mark.parametrize("set_up", [SET_UP.replace(ADDING, ""), DISABLED + SET_UP], ids=["without", "disabled"])
def test_without_the_processor_the_last_minute_of_metrics_is_lost(hold, receiver, set_up):  # noqa: F811
    """The same agent and call: no exit handler runs in a job process."""
    assert set_up != SET_UP

    call = hold(agent_file(imported=receiver.address + set_up + OWN_COUNTER, entrypoint=COUNT))

    assert call.reports != []
    assert receiver.metrics == []


def test_the_flush_of_the_page_saves_the_metrics_of_another_provider(hold, receiver):  # noqa: F811
    """As printed, in an agent without the processor."""
    flush = FLUSH.replace("meter_provider = MeterProvider()  # the one set up above\n", "").replace(
        "answer", "flush_late"
    )
    imported = receiver.address + SET_UP.replace(ADDING, "") + OWN_COUNTER + flush
    assert "async def flush_late(context" in imported

    hold(agent_file(imported=imported, entrypoint="await flush_late(context)\n" + COUNT))

    assert receiver.last_total("own.calls") == 1


def test_each_cost_is_exported_once_as_cloudwatch_needs_it(hold, receiver):  # noqa: F811
    """docs/cloudwatch.md: with changes in place of totals, the sum over all exports is the cost of the call."""
    call = hold(agent_file(imported=DELTA + receiver.address + SET_UP))

    exports = receiver.named(COST)
    assert {metric.histogram.aggregation_temporality for metric in exports} == {
        AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    }
    assert sum(map(sum_of, exports)) == pytest.approx(float(cost_of_amounts(amounts_in(call.reports))))
    assert {metric.sum.aggregation_temporality for metric in receiver.metrics if metric.HasField("sum")} == {
        AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    }
