"""Findings of the doctor."""

from __future__ import annotations

import json

import pytest

from .test_commands import run

AGENT = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from otel_voice_cost import VoiceCostSpanProcessor

provider, late, twice, none = (TracerProvider() for _ in range(4))
provider.add_span_processor(VoiceCostSpanProcessor())
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
late.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
late.add_span_processor(VoiceCostSpanProcessor())
twice.add_span_processor(VoiceCostSpanProcessor())
twice.add_span_processor(VoiceCostSpanProcessor())
something = 1
"""


@pytest.fixture
def agent(tmp_path, monkeypatch):
    (tmp_path / "my_agent.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules})
    monkeypatch.syspath_prepend(str(tmp_path))


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    result = run("doctor", *arguments, "--json", **environment)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in json.loads(result.output):
        found.setdefault(row["topic"], []).append((row["status"], row["text"]))
    return result.exit_code, found


def test_a_valid_environment_is_ok():
    status, found = doctor()

    assert status == 0
    assert found["hook"] == [("ok", "LiveKit's usage reports are heard")]
    assert [text.split()[0] for _, text in found["versions"]] == [
        "otel-voice-cost",
        "opentelemetry-sdk",
        "genai-prices",
        "livekit-agents",
    ]
    assert found["dialects"] == [("ok", "genai, langfuse")]


def test_models_of_installed_plugins_without_a_price_are_listed():
    assert ("note", "deepgram STT whisper-large: no stt rate for deepgram/whisper-large") in doctor()[1]["models"]


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("provider", "ok", "VoiceCostSpanProcessor → SimpleSpanProcessor"),
        ("late", "wrong", "VoiceCostSpanProcessor was added after SimpleSpanProcessor"),
        ("twice", "wrong", "my_agent:twice has 2 VoiceCostSpanProcessors"),
        ("none", "wrong", "my_agent:none has no VoiceCostSpanProcessor"),
    ],
)
def test_the_processors_of_a_provider_are_checked(agent, target, status, text):
    code, found = doctor(f"my_agent:{target}")

    assert found["order"][0][0] == status
    assert found["order"][0][1].startswith(text)
    assert code == (1 if status == "wrong" else 0)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("my_agent:something", "got int, expected an OpenTelemetry SDK TracerProvider"),
        ("nowhere:x", "got ModuleNotFound"),
    ],
)
def test_an_invalid_provider_is_reported(agent, target, expected):
    result = run("doctor", target)

    assert result.exit_code == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "topic", "status", "text"),
    [
        (
            "VOICE_COST_PRICES",
            '{"a/b": {"stt": "cheap"}}',
            "prices",
            "wrong",
            "VOICE_COST_PRICES, a/b.stt: got 'cheap'",
        ),
        ("VOICE_COST_ENABLED", "perhaps", "variables", "wrong", "VOICE_COST_ENABLED: got 'perhaps'"),
        ("VOICE_COST_ENABLED", "false", "variables", "note", "VOICE_COST_ENABLED is false"),
        ("VOICE_COST_DIALECTS", "genai,x", "dialects", "wrong", "VOICE_COST_DIALECTS: got 'x'"),
        ("OTEL_SDK_DISABLED", "true", "variables", "wrong", "OTEL_SDK_DISABLED is true"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "variables", "note", "OTEL_TRACES_SAMPLER is parentbased"),
        (
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "100",
            "variables",
            "note",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ),
    ],
)
def test_a_variable_that_loses_spans_or_prices_is_reported(variable, value, topic, status, text):
    code, found = doctor(**{variable: value})

    assert any(s == status and t.startswith(text) for s, t in found[topic])
    assert code == (1 if status == "wrong" else 0)
