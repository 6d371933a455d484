"""After a fault the span has no cost but is exported complete, and one line names the cause."""

from __future__ import annotations

import json
import logging
from decimal import ROUND_UP, Context, Inexact, localcontext

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor

from .conftest import SPEECH, llm_metrics, realtime_metrics, tts_metrics

MALFORMED = [
    ("{broken", "got text that is no JSON, expected a JSON object"),
    ("[1, 2]", "got list, expected a JSON object"),
    ("[" * 100_000, "got text that is no JSON, expected a JSON object"),
    (json.dumps(tts_metrics(characters_count=-5)), "characters_count: got -5, expected a finite number, zero or more"),
    (json.dumps(tts_metrics(characters_count=1.5)), "characters_count: got 1.5, expected a whole number"),
    (json.dumps(tts_metrics(characters_count=True)), "characters_count: got bool, expected a number"),
    (json.dumps(tts_metrics(characters_count=SPEECH)), "characters_count: got str, expected a number"),
    (json.dumps(tts_metrics(characters_count=[1])), "characters_count: got list, expected a number"),
    (json.dumps(tts_metrics(characters_count=float("nan"))), "characters_count: got NaN, expected a finite number"),
    (json.dumps(tts_metrics(audio_duration=float("inf"))), "audio_duration: got Infinity, expected a finite number"),
]


LOGGED_ONCE = ". Logged once; further errors of this kind are only counted."


def record_of(caplog, message):
    """The whole message, as it was logged."""
    (line,) = [record.message for record in caplog.records if message in record.message]
    return line.removeprefix("No cost for tts_request: ").removesuffix(LOGGED_ONCE)


@pytest.mark.parametrize(("metrics", "message"), MALFORMED)
def test_malformed_metrics_have_no_cost_but_a_reason(end_span, caplog, metrics, message):
    attributes = {"lk.tts_metrics": metrics, "app.call_id": "c-1"}

    span = end_span("tts_request", attributes)
    end_span("tts_request", attributes)

    added = {key: value for key, value in span.attributes.items() if key not in attributes}
    assert attributes.items() <= dict(span.attributes).items()
    assert added == {"voice_cost.unpriced": f"metrics could not be read: {record_of(caplog, message)}"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "No cost for tts_request" in record.message
    assert message in record.message
    assert SPEECH not in caplog.text


@pytest.mark.parametrize(
    ("name", "key", "metrics", "message"),
    [
        ("llm_request", "lk.llm_metrics", llm_metrics(prompt_cached_tokens=301), "prompt_tokens: got 300, expected"),
        ("llm_request", "lk.llm_metrics", llm_metrics(reasoning_tokens=21), "completion_tokens: got 20, expected"),
        (
            "realtime_metrics",
            "lk.realtime_model_metrics",
            realtime_metrics(input_token_details="many"),
            "input_token_details: got str, expected an object",
        ),
    ],
)
def test_contradictory_metrics_are_not_priced(end_span, caplog, name, key, metrics, message):
    span = end_span(name, {key: json.dumps(metrics)})

    assert set(span.attributes) == {key, "voice_cost.unpriced"}
    assert message in span.attributes["voice_cost.unpriced"]
    assert message in caplog.text


@pytest.mark.parametrize("absent", ["characters_count", "input_tokens", "label", "metadata", "timestamp"])
def test_absent_fields_of_older_releases_are_not_a_fault(end_span, caplog, absent):
    """Fields were added from 1.2 to 1.8."""
    metrics = {key: value for key, value in tts_metrics().items() if key != absent}

    end_span("tts_request", {"lk.tts_metrics": json.dumps(metrics)})

    assert [record for record in caplog.records if record.message.startswith(("No cost for", "Error in"))] == []


def test_the_call_goes_on_after_a_fault(end_span):
    end_span("tts_request", {"lk.tts_metrics": "{broken"})

    span = end_span("tts_request", {"lk.tts_metrics": json.dumps(tts_metrics())})

    assert span.attributes["voice_cost.usd"] == "0.009"


def test_an_unexpected_fault_is_logged_without_its_message(exporter, caplog):
    """A bug's message may quote an attribute, so type and line are logged instead."""

    class Broken(PriceCatalog):
        def card_for(self, usage):
            raise ValueError(SPEECH)

        rule_for = card_for

    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=Broken([])))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass

    assert dict(exporter.get_finished_spans()[0].attributes) == attributes
    assert "ValueError (test_faults.py:" in caplog.text
    assert SPEECH not in caplog.text


def test_the_applications_decimal_context_changes_no_price(end_tts_span, end_llm_span):
    """An application may use 2 digits and trap inexact results; money stays exact."""
    with localcontext(Context(prec=2, rounding=ROUND_UP, traps=[Inexact])):
        speech = end_tts_span(characters_count=12_345_678)
        model = end_llm_span(prompt_tokens=12_345_678)

    assert speech.attributes["voice_cost.usd"] == "617.2839"
    assert model.attributes["voice_cost.usd"] == "4.9383032"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("VOICE_COST_ENABLED", "perhaps", "VOICE_COST_ENABLED: got 'perhaps'"),
        ("VOICE_COST_DIALECTS", "genai,datadog", "VOICE_COST_DIALECTS: got 'datadog', expected one of genai, langfuse"),
        ("VOICE_COST_PRICES", "{", "VOICE_COST_PRICES: got no JSON"),
        (
            "VOICE_COST_PRICES",
            '{"deepgram/nova-2": {"stt": "cheap"}}',
            "VOICE_COST_PRICES, deepgram/nova-2.stt: got 'cheap', expected a price such as",
        ),
        ("VOICE_COST_PRICES_FILE", "no-such.toml", "no-such.toml: got FileNotFoundError, expected a readable file"),
    ],
)
def test_an_invalid_variable_is_logged_and_ignored(monkeypatch, caplog, variable, value, message):
    """The process starts with all other settings."""
    monkeypatch.setenv(variable, value)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass

    assert message in caplog.text
    assert exporter.get_finished_spans()[0].attributes["voice_cost.usd"] == "0.009"
    provider.shutdown()


def test_an_invalid_price_file_loses_only_its_invalid_entries(monkeypatch, caplog, tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        """
        [[rate]]
        provider = "cartesia"
        model = "sonic-3"
        component = "tts"
        unit = "character"
        usd = 10
        per = 1_000_000

        [[rate]]
        provider = "cartesia"
        model = "sonic-2"
        component = "tts"
        unit = "words"
        usd = "10"
        """
    )
    monkeypatch.setenv("VOICE_COST_PRICES_FILE", str(path))
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass

    assert f"{path}, rate 2 (sonic-2), unit: got 'words'" in caplog.text
    assert f"{path}, rate 2 (sonic-2), usd: got '10', expected a number without quotes" in caplog.text
    assert exporter.get_finished_spans()[0].attributes["voice_cost.usd"] == "0.0018"
    provider.shutdown()
