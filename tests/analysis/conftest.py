"""Real calls in both kinds of files: records, and spans as the Collector writes them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

pytest.importorskip("ibis", reason="the extra `analysis` is not installed")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost.export.records import as_focus

from ..conftest import llm_metrics, realtime_metrics, tts_metrics
from ..pipeline.test_bill import Call
from .otlp import to_line

GATEWAY_USD = 0.000012345678901234567  # as text: 21 decimal places


class Recorded:
    """Calls that have ended, and the files that tell of them."""

    def __init__(self, folder, records, spans):
        self.records, self.spans = records, spans
        self.record_file = folder / "calls-2026-11-24.jsonl"
        self.span_file = folder / "spans.json"
        self.record_file.write_text(
            "".join(json.dumps(as_focus(record), ensure_ascii=False) + "\n" for record in records), encoding="utf-8"
        )
        half = len(spans) // 2
        self.span_file.write_text(f"{to_line(spans[:half])}\n{to_line(spans[half:])}\n", encoding="utf-8")

    @property
    def usd(self):
        return sum((record.usd for record in self.records), Decimal(0))


def hold_call(call, number):
    """Hold a call with speech, unknown models, a gateway's own cost and a realtime model."""
    with call.session(90 + number, **{"lk.agent_name": "desk", "session.id": f"session-{number}"}):
        call.turn(prompt_tokens=301 + number, prompt_cached_tokens=128)
        call.turn(completion_tokens=33)
        call.span("realtime_inference", "lk.realtime_model_metrics", realtime_metrics())
        unknown = tts_metrics(request_id="tts-9", metadata={"model_name": "new", "model_provider": "Nobody"})
        call.span("tts_request", "lk.tts_metrics", unknown)
        by_gateway = {"lk.llm_metrics": json.dumps(llm_metrics(request_id="gateway"))}
        call.tracer.start_span("llm_request", attributes={**by_gateway, "gen_ai.usage.cost": GATEWAY_USD}).end()


@pytest.fixture
def record_calls(tmp_path):
    """Hold the same three calls by any catalog."""

    def hold(catalog, **options):
        exporter = InMemorySpanExporter()
        call = Call(exporter, catalog, **options)
        for number in range(3):
            hold_call(call, number)
        call.provider.shutdown()
        return Recorded(tmp_path, call.records, exporter.get_finished_spans())

    return hold


@pytest.fixture
def recorded(record_calls, price_catalog):
    """Three calls by the fixed prices of the tests."""
    return record_calls(price_catalog)
