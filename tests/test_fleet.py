"""The fleet examples as written, on Prometheus and ClickHouse if these are installed: ``make test-fleet``."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from otel_voice_cost import PriceCatalog, Settings, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet

from .conftest import PRICES, llm_metrics, tts_metrics

FLEET = Path(__file__).parents[1] / "examples" / "fleet"
METRIC = r"\b((?:gen_ai_client|voice_cost)_\w+)\b(?=[{\[(]|\s|$)"
LABELS = r"\b((?:gen_ai|voice_cost|error)_(?:agent_name|provider_name|request_model|component|unit|type))\b"


@pytest.fixture(scope="module")
def fleet():
    """A registry of Prometheus with the metrics of three calls, and the spans of the same."""
    exporter, provider, reader = InMemorySpanExporter(), TracerProvider(), PrometheusMetricReader()
    catalog = PriceCatalog([parse_sheet(PRICES, "prices.toml").rates])
    settings, meters = Settings(revision="2026.11.1"), MeterProvider([reader])
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=catalog, settings=settings, meter_provider=meters))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("livekit-agents")
    now = time.time_ns()
    for number in range(3):
        start = now - (90 + number) * 10**9
        session = tracer.start_span("agent_session", attributes={"lk.agent_name": "desk"}, start_time=start)
        with trace.use_span(session):
            for name, key, metrics in (
                ("llm_request", "lk.llm_metrics", llm_metrics(prompt_tokens=100 * (number + 1))),
                ("tts_request", "lk.tts_metrics", tts_metrics(characters_count=50)),
                ("tts_request", "lk.tts_metrics", tts_metrics(characters_count=-1)),
                (
                    "tts_request",
                    "lk.tts_metrics",
                    tts_metrics(metadata={"model_name": "new", "model_provider": "Nobody"}),
                ),
            ):
                tracer.start_span(name, attributes={key: json.dumps(metrics)}).end()
        session.end(now)
    registry = CollectorRegistry()
    registry.register(reader._collector)
    yield registry, exporter.get_finished_spans()
    provider.shutdown()


def expressions():
    """Every expression of the rules and the dashboard."""
    rules = yaml.safe_load((FLEET / "prometheus-rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        yield rule["expr"]
    for panel in json.loads((FLEET / "grafana-dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_every_metric_and_label_of_the_examples_is_on_the_page(fleet):
    page = generate_latest(fleet[0]).decode()
    series = set(re.findall(r"^(\w+)\{", page, re.MULTILINE))
    labels = set(re.findall(r"(\w+)=\"", page))

    used = {name for text in expressions() for name in re.findall(METRIC, text)} - {
        label for text in expressions() for label in re.findall(LABELS, text)
    }
    assert len(used) >= 8
    assert used <= series
    assert {label for text in expressions() for label in re.findall(LABELS, text)} <= labels


def test_the_collectors_configuration_reads_attributes_that_are_written(fleet):
    text = (FLEET / "collector.yaml").read_text()
    written = {key for span in fleet[1] for key in span.attributes}

    assert set(yaml.safe_load(text)["service"]["pipelines"]) == {"traces", "metrics"}
    assert set(re.findall(r'attributes\["([^"]+)"\]', text)) | set(re.findall(r"- key: (\S+)", text)) <= written


# The options of the Collector's CloudWatch exporter, with those of AWS sessions.
# Source: opentelemetry-collector-contrib, exporter/awsemfexporter, config.schema.yaml and config.go;
# internal/aws/awsutil, config.schema.yaml.
AWSEMF = {
    "certificate_file_path": str,
    "detailed_metrics": bool,
    "dimension_rollup_option": str,
    "disable_metric_extraction": bool,
    "eks_fargate_container_insights_enabled": bool,
    "endpoint": str,
    "external_id": str,
    "imds_retries": int,
    "local_mode": bool,
    "log_group_name": str,
    "log_retention": int,
    "log_stream_name": str,
    "max_retries": int,
    "metric_declarations": list,
    "metric_descriptors": list,
    "namespace": str,
    "no_verify_ssl": bool,
    "num_workers": int,
    "output_destination": str,
    "parse_json_encoded_attr_values": list,
    "profile": str,
    "proxy_address": str,
    "region": str,
    "request_timeout_seconds": int,
    "resource_arn": str,
    "resource_to_telemetry_conversion": dict,
    "retain_initial_value_of_delta_metric": bool,
    "role_arn": str,
    "shared_credentials_file": list,
    "tags": dict,
    "version": str,
}
DECLARATION, DESCRIPTOR = (
    {"dimensions", "label_matchers", "metric_name_selectors"},
    {"metric_name", "overwrite", "unit"},
)
ROLL_UPS = {"NoDimensionRollup", "SingleDimensionRollupOnly", "ZeroAndSingleDimensionRollup"}
DAYS = {0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 2192, 2557, 2922, 3288, 3653}
UNITS = {"Seconds", "Microseconds", "Milliseconds", "Bytes", "Percent", "Count", "None"}  # some of them


@pytest.fixture(scope="module")
def cloudwatch():
    return yaml.safe_load((FLEET / "cloudwatch.yaml").read_text())


def test_the_cloudwatch_exporter_knows_every_option(cloudwatch):
    exporter = cloudwatch["exporters"]["awsemf"]

    assert {name: type(value) for name, value in exporter.items()}.items() <= AWSEMF.items()
    assert all(set(each) <= DECLARATION for each in exporter["metric_declarations"])
    assert all(set(each) == DESCRIPTOR for each in exporter["metric_descriptors"])
    assert exporter["dimension_rollup_option"] in ROLL_UPS
    assert exporter["log_retention"] in DAYS
    assert {each["unit"] for each in exporter["metric_descriptors"]} <= UNITS
    assert cloudwatch["service"]["pipelines"] == {"metrics": {"receivers": ["otlp"], "exporters": ["awsemf"]}}


def test_cloudwatch_gets_metrics_and_dimensions_that_a_processor_exports(cloudwatch, exported):
    """A set of dimensions that a metric lacks is left out by the exporter: the metric would never be seen."""
    exporter = cloudwatch["exporters"]["awsemf"]

    selected = set()
    for declaration in exporter["metric_declarations"]:
        for selector in declaration["metric_name_selectors"]:
            found = {name: labels for name, labels in exported.items() if re.search(selector, name)}
            assert len(found) == 1, selector
            ((name, labels),) = found.items()
            selected.add(name)
            assert all(set(dimensions) <= labels for dimensions in declaration["dimensions"]), name
    assert {each["metric_name"] for each in exporter["metric_descriptors"]} == selected


@pytest.fixture(scope="module")
def exported():
    """The labels of each metric of a call with a fault in a callback and a model without a price."""
    reader, provider = InMemoryMetricReader(), TracerProvider()

    def fail(_):
        raise RuntimeError

    processor = VoiceCostSpanProcessor(
        catalog=PriceCatalog([parse_sheet(PRICES, "prices.toml").rates]),
        meter_provider=MeterProvider([reader]),
        on_session_end=fail,
    )
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("livekit-agents")
    start = time.time_ns() - 90 * 10**9
    session = tracer.start_span("agent_session", attributes={"lk.agent_name": "desk"}, start_time=start)
    with trace.use_span(session):
        for metrics in (tts_metrics(), tts_metrics(metadata={"model_name": "new", "model_provider": "Nobody"})):
            tracer.start_span("tts_request", attributes={"lk.tts_metrics": json.dumps(metrics)}).end()
    session.end()
    provider.force_flush()
    data = reader.get_metrics_data()
    provider.shutdown()
    return {
        metric.name: {key for point in metric.data.data_points for key in point.attributes}
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_the_rules_pass_prometheus_own_tests():
    for command in (["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules-test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=FLEET, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")
def test_a_real_prometheus_reads_the_page_and_every_expression(fleet, tmp_path):
    registry, spans = fleet
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, page_port = free.getsockname()[1], other.getsockname()[1]
    server, _ = start_http_server(page_port, "127.0.0.1", registry)
    shutil.copy(FLEET / "prometheus-rules.yml", tmp_path)
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["prometheus-rules.yml"],
                "scrape_configs": [{"job_name": "agents", "static_configs": [{"targets": [f"127.0.0.1:{page_port}"]}]}],
            }
        )
    )
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )

    def ask(expression):
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    try:
        deadline, result = time.monotonic() + 30, []
        while not result and time.monotonic() < deadline:
            time.sleep(0.3)
            try:
                result = ask("sum(gen_ai_client_operation_cost_sum)")
            except OSError:
                continue
        usd = sum(Decimal(span.attributes.get("voice_cost.usd", 0)) for span in spans)
        assert float(result[0]["value"][1]) == pytest.approx(float(usd))
        assert float(ask("sum(voice_cost_session_cost_sum)")[0]["value"][1]) == pytest.approx(float(usd))
        assert float(ask("sum(voice_cost_unpriced_total)")[0]["value"][1]) == 6
        for expression in expressions():
            for variable, value in (("$__range", "1h"), ("$__rate_interval", "1m"), ("$agent", ".*")):
                expression = expression.replace(variable, value)
            ask(expression)
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()


# The table of the Collector's ClickHouse exporter.
# Source: opentelemetry-collector-contrib, exporter/clickhouseexporter, traces_table.sql, without indexes and engine.
TABLE = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String,
    SpanAttributes Map(LowCardinality(String), String), Duration UInt64,
    StatusCode LowCardinality(String), StatusMessage String
) ENGINE = Memory
"""


def test_the_queries_on_a_real_clickhouse(fleet):
    chdb = pytest.importorskip("chdb.session", reason="chdb is not installed")
    spans = fleet[1]
    database = chdb.Session()
    database.query("CREATE DATABASE fleet ENGINE = Atomic")
    database.query("USE fleet")
    database.query(TABLE)
    rows = [
        json.dumps(
            {
                "Timestamp": datetime.fromtimestamp(span.start_time / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
                "TraceId": f"{span.context.trace_id:032x}",
                "SpanName": span.name,
                "SpanAttributes": {key: _as_the_exporter_writes(value) for key, value in span.attributes.items()},
            }
        )
        for span in spans
    ]
    database.query("INSERT INTO otel_traces FORMAT JSONEachRow " + "\n".join(rows))
    queries = [part for part in (FLEET / "clickhouse.sql").read_text().split(";") if "SELECT" in part]

    by_model, dearest, minute, unpriced, lost = (
        [json.loads(line) for line in str(database.query(query, "JSONEachRow")).splitlines()] for query in queries
    )

    usd = sum(Decimal(span.attributes.get("voice_cost.usd", 0)) for span in spans)
    assert sum(Decimal(str(row["usd"])) for row in by_model) == usd
    assert {(row["component"], row["model"]) for row in by_model} == {("llm", "gpt-4.1-mini"), ("tts", "sonic-3")}
    assert [Decimal(str(row["usd"])) for row in dearest] == sorted(
        (Decimal(s.attributes["voice_cost.session.usd"]) for s in spans if s.name == "agent_session"), reverse=True
    )
    assert [row["revision"] for row in minute] == ["2026.11.1"]
    assert (int(minute[0]["calls"]), Decimal(str(minute[0]["usd"]))) == (3, usd)
    assert sorted((row["reason"].partition(":")[0], int(row["spans"])) for row in unpriced) == [
        ("metrics could not be read", 3),
        ("no tts rate for nobody/new", 3),
    ]
    assert lost == []
    database.close()


def _as_the_exporter_writes(value):
    """Convert every attribute to text, as the exporter does."""
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)
