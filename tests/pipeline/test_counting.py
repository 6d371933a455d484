"""Counters in code and as OpenTelemetry metrics, and the debug switch."""

from __future__ import annotations

import json
import logging
import re

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from prometheus_client import generate_latest

from otel_voice_cost import Settings, Stats, VoiceCostSpanProcessor

from ..conftest import SPEECH, llm_metrics, tts_metrics

SPANS = [
    ("llm_request", "lk.llm_metrics", llm_metrics()),
    ("tts_request", "lk.tts_metrics", tts_metrics()),
    ("tts_request", "lk.tts_metrics", tts_metrics(metadata={"model_name": "unheard-of", "model_provider": "Nobody"})),
    ("tts_request", "lk.tts_metrics", tts_metrics(characters_count=-1)),
]


def end_spans(processor, exporter, spans=SPANS):
    provider = TracerProvider()
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("livekit-agents")
    for name, key, metrics in spans:
        attributes = {key: json.dumps(metrics), "lk.pii.input_text": SPEECH}
        with tracer.start_as_current_span(name, attributes=attributes):
            pass
    with tracer.start_as_current_span("agent_speaking"):
        pass
    return provider


def points(reader):
    """Return every measured value by name and labels; for a histogram, its sum."""
    data = reader.get_metrics_data()
    found = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            value = point.sum if hasattr(point, "sum") else point.value
            found[metric.name, tuple(sorted(dict(point.attributes).items()))] = value
    return found


def test_stats(price_catalog, exporter):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    end_spans(processor, exporter).shutdown()

    assert processor.stats() == Stats(priced=2, unpriced=2, failed=1)


def test_a_disabled_processor_counts_nothing(exporter):
    processor = VoiceCostSpanProcessor(settings=Settings(enabled=False))
    end_spans(processor, exporter).shutdown()

    assert processor.stats() == Stats()


def test_stats_as_metrics(price_catalog, exporter):
    reader = InMemoryMetricReader()
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=MeterProvider([reader]))
    provider = end_spans(processor, exporter)

    found = points(reader)
    llm = (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4.1-mini"),
        ("voice_cost.component", "llm"),
    )
    tts = (
        ("gen_ai.operation.name", "text_to_speech"),
        ("gen_ai.provider.name", "nobody"),
        ("gen_ai.request.model", "unheard-of"),
        ("voice_cost.component", "tts"),
    )
    assert found["gen_ai.client.operation.cost", llm] == pytest.approx(0.000152)
    assert found["voice_cost.priced", llm] == 1
    assert found["voice_cost.usage", (*llm, ("voice_cost.unit", "input_token"))] == 300
    assert found["voice_cost.unpriced", tts] == 1
    assert ("gen_ai.client.operation.cost", tts) not in found
    assert found["voice_cost.failed", (("error.type", "UsageError"),)] == 1
    provider.shutdown()


def test_labels_are_bounded(price_catalog, exporter):
    reader = InMemoryMetricReader()
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=MeterProvider([reader]))
    spans = [
        (
            "tts_request",
            "lk.tts_metrics",
            tts_metrics(metadata={"model_name": f"voice-{number}", "model_provider": "Cartesia"}),
        )
        for number in range(1_010)
    ]
    end_spans(processor, exporter, spans).shutdown()

    unpriced = {labels: value for (name, labels), value in points(reader).items() if name == "voice_cost.unpriced"}
    assert len(unpriced) == 1_001
    assert unpriced[(("otel.metric.overflow", True),)] == 10


def test_the_prometheus_page(price_catalog, exporter):
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=MeterProvider([PrometheusMetricReader()]))
    end_spans(processor, exporter).shutdown()

    page = generate_latest().decode()
    (line,) = re.findall(r'^gen_ai_client_operation_cost\w*_sum\{.*component="llm".*', page, re.MULTILINE)
    assert float(line.split()[-1]) == pytest.approx(0.000152)
    assert re.search(r'^voice_cost_unpriced_total\{.*gen_ai_request_model="unheard-of".*\} 1\.0', page, re.MULTILINE)


class Broken:
    """A third-party meter provider whose instruments fail."""

    def get_meter(self, *args, **kwargs):
        return self

    def create_counter(self, *args, **kwargs):
        return self

    create_histogram = create_counter

    def add(self, *args):
        raise OSError(SPEECH)

    record = add


def test_a_broken_meter_does_not_affect_prices(price_catalog, exporter, caplog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=Broken())
    end_spans(processor, exporter, SPANS[:2]).shutdown()

    assert [span.attributes.get("voice_cost.usd") for span in exporter.get_finished_spans()] == [
        "0.000152",
        "0.009",
        None,
    ]
    assert processor.stats().priced == 2
    assert processor.stats().failed > 0
    assert SPEECH not in caplog.text


def test_the_debug_switch_logs_usage_rate_and_written_attributes(price_catalog, exporter, caplog, monkeypatch):
    monkeypatch.setenv("VOICE_COST_DEBUG", "true")
    logger = logging.getLogger("otel_voice_cost")
    before = logger.level
    try:
        end_spans(VoiceCostSpanProcessor(catalog=price_catalog), exporter).shutdown()
    finally:
        logger.setLevel(before)

    lines = [record.message for record in caplog.records if record.levelno == logging.DEBUG]
    llm, tts, unpriced, speaking = lines
    span = exporter.get_finished_spans()[0]
    assert llm.startswith(
        f"llm_request {span.context.span_id:016x}: llm of openai/gpt-4.1-mini, 300 input_token, 20 output_token at "
        "0.40 USD per 1000000 input_token, prices.toml https://example.com/pricing 2026-11-01; "
    )
    assert ": 0.000152 USD; wrote gen_ai.operation.name, " in llm
    assert llm.endswith("voice_cost.rate_source")
    assert "180 character" in tts
    assert "no cost, no tts rate for nobody/unheard-of; wrote " in unpriced
    assert speaking.endswith("no usage; wrote nothing")
    assert SPEECH not in caplog.text


def test_without_the_switch_no_line_is_written(price_catalog, exporter, caplog):
    caplog.set_level(logging.DEBUG, "otel_voice_cost")
    end_spans(VoiceCostSpanProcessor(catalog=price_catalog), exporter, SPANS[:2]).shutdown()

    assert [record for record in caplog.records if record.name == "otel_voice_cost"] == []


def test_counts_that_another_thread_has_added_up_are_collected(price_catalog, exporter):
    reader = InMemoryMetricReader()
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=MeterProvider([reader]))
    end_spans(processor, exporter, SPANS[:2])
    processor._built.instruments._recording.work()

    assert sum(value for (name, _), value in points(reader).items() if name == "voice_cost.priced") == 2
