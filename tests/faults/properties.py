"""Properties that hold for any input, shared by the property-based tests and the fuzz target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import Component, PriceCatalog, Usage, VoiceCostSpanProcessor
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import AT, PRICES, llm_metrics, realtime_metrics, stt_metrics, tts_metrics
from ..test_recorded import Report

__all__ = ["KEYS", "METRICS", "check_prices", "check_report", "check_span"]

METRICS = {"llm": llm_metrics(), "realtime": realtime_metrics(), "stt": stt_metrics(), "tts": tts_metrics()}
KEYS = {
    "llm": ("llm_request", "lk.llm_metrics"),
    "realtime": ("realtime_inference", "lk.realtime_model_metrics"),
    "tts": ("tts_request", "lk.tts_metrics"),
}
MILLIONTH = Decimal("0.000001")


class _Pipeline:
    """One processor for all checks, and the kinds of its faults."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.processor = VoiceCostSpanProcessor(catalog=PriceCatalog([parse_sheet(PRICES, "prices.toml").rates]))
        self.processor._diagnostics.on_fault = self.faults.append
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("livekit-agents")

    def take(self) -> tuple[list[Any], list[str]]:
        """Return the exported spans and the faults since the last call."""
        spans, faults = list(self.exporter.get_finished_spans()), list(self.faults)
        self.exporter.clear()
        self.faults.clear()
        return spans, faults


_pipeline: _Pipeline | None = None


def pipeline() -> _Pipeline:
    global _pipeline  # built when the first check runs
    _pipeline = _pipeline or _Pipeline()
    return _pipeline


def check_span(name: str, attributes: Mapping[str, Any]) -> None:
    """Check that a span is exported complete, causes no fault except malformed usage, and has the right cost."""
    held = pipeline()
    held.tracer.start_span(name, attributes=attributes).end()
    (span,), faults = held.take()
    left = dict(span.attributes)
    assert set(faults) <= {"UsageError"}, faults
    assert all(left[key] == value for key, value in attributes.items() if isinstance(value, (str, int, bool)))
    ours = {key: value for key, value in left.items() if key not in attributes}
    _assert_exportable(ours)
    if "voice_cost.usd" in ours:
        assert "voice_cost.unpriced" not in ours
        assert Decimal(ours["voice_cost.usd"]) >= 0
        expected = _cost(name, attributes)
        if expected is not None:
            assert abs(Decimal(ours["voice_cost.usd"]) - expected) <= Decimal("1e-17")


def check_report(text: str, kind: str) -> None:
    """Check that a usage report raises nothing into LiveKit, and that its session's total equals that of its spans."""
    held = pipeline()
    session = held.tracer.start_span("agent_session")
    with trace.use_span(session, end_on_exit=False):
        ScriptedSTT([]).emit("metrics_collected", Report({"report": kind, "label": "x", "json": text}))
    session.end()
    spans, faults = held.take()
    assert set(faults) <= {"UsageError"}, faults
    total = Decimal(spans[-1].attributes["voice_cost.session.usd"])
    assert total == sum((Decimal(span.attributes.get("voice_cost.usd", 0)) for span in spans), Decimal(0))
    assert len(spans) <= 2
    for span in spans:
        _assert_exportable(span.attributes)


def check_prices(text: str) -> None:
    """Check that a price sheet is read or rejected, problems are short, and valid entries price without a fault."""
    sheet = parse_sheet(text, "VOICE_COST_PRICES")
    assert all(len(str(problem)) < 2_000 for problem in sheet.problems)
    catalog = PriceCatalog([]).with_sheet(sheet)
    for rate in sheet.rates[:20]:
        usage = Usage(
            component=Component(rate.component),
            provider=rate.provider,
            model=rate.model[0].replace("*", "x"),
            quantities={rate.unit: Decimal("12.5")},
            at=AT,
            mode=rate.mode,
        )
        cost = calculate_cost(usage, catalog.card_for(usage))
        assert cost.usd is None or (cost.usd.is_finite() and cost.usd >= 0)


def _assert_exportable(attributes: Mapping[str, Any]) -> None:
    held = pipeline()
    held.tracer.start_span("agent_speaking", attributes=dict(attributes)).end()
    spans, _ = held.take()
    encode_spans(spans).SerializeToString()


def _cost(name: str, attributes: Mapping[str, Any]) -> Decimal | None:
    """Return the cost calculated from the metrics only, or None if the test's prices lack it."""
    key = dict(KEYS.values()).get(name)
    text = attributes.get(key or "")
    if key is None or not isinstance(text, str) or "gen_ai.usage.cost" in attributes:
        return None
    fields = json.loads(text, parse_float=Decimal)
    metadata = fields.get("metadata")
    known = isinstance(metadata, dict) and metadata.get("model_name") in ("gpt-4.1-mini", "sonic-3", "gpt-realtime")

    def count(holder: Any, field: str) -> Decimal:
        return Decimal((holder.get(field) if isinstance(holder, dict) else None) or 0)

    if not known:
        return None
    if name == "tts_request":
        return count(fields, "characters_count") * 50 * MILLIONTH
    if name == "llm_request":
        cached = count(fields, "prompt_cached_tokens")
        rest, output = count(fields, "prompt_tokens") - cached, count(fields, "completion_tokens")
        return (rest * Decimal("0.4") + cached * Decimal("0.1") + output * Decimal("1.6")) * MILLIONTH
    return None
