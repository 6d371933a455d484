"""LiveKit's PII filter on the same provider, before and after this package's processor."""

from __future__ import annotations

import inspect
import json

import pytest
from livekit.agents.telemetry import set_tracer_provider, tracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import VoiceCostSpanProcessor, install

from ..conftest import tts_metrics


@pytest.mark.skipif(
    "allow_pii" not in inspect.signature(set_tracer_provider).parameters, reason="this release has no filter"
)
@pytest.mark.parametrize("way", ["behind the filter", "before the filter", "wrapping"])
def test_the_cost_is_added_and_the_speech_stays_out(way, price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    if way == "wrapping":
        provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(exporter), catalog=price_catalog))
    elif way == "behind the filter":
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider, allow_pii=False)  # puts its filter first
    if way == "before the filter":
        install(provider, catalog=price_catalog)

    attributes = {"lk.tts_metrics": json.dumps(tts_metrics()), "lk.pii.input_text": "my card number is"}
    with tracer.start_as_current_span("tts_request", attributes=attributes):
        pass

    (span,) = exporter.get_finished_spans()
    assert span.attributes["voice_cost.usd"] == "0.009"
    assert "lk.pii.input_text" not in span.attributes
