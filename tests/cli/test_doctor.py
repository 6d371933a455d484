"""Findings of the doctor."""

from __future__ import annotations

import importlib
import json
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from otel_voice_cost.cli.gaps import FRAMEWORKS
from otel_voice_cost.sources.pipecat.reports import read_tts_report

from .test_commands import run

INSTALLED = [framework for framework in FRAMEWORKS if framework.installed()]

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
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_agent", None)


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    result = run("doctor", *arguments, "--json", **environment)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in json.loads(result.stdout):
        found.setdefault(row["topic"], []).append((row["status"], row["text"]))
    return result.exit_code, found


def test_a_valid_environment_is_ok():
    status, found = doctor()

    assert status == 0
    assert found["hook"] == [("ok", f"{framework.source.name}'s usage reports are heard") for framework in INSTALLED]
    assert [text.split()[0] for _, text in found["versions"]] == [
        "otel-voice-cost",
        "opentelemetry-sdk",
        "genai-prices",
        *(framework.package for framework in INSTALLED),
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

    assert result.exit_code == 2
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


INSTRUMENTATION = """
class Instrumentor:
    _instance = None
    is_instrumented_by_opentelemetry = True
"""


@pytest.fixture
def instrumentations(tmp_path, monkeypatch):
    """Instrumentations of OpenAI's client and of Pipecat, installed and not switched on."""
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", "false")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("openai", "pipecat", "requests"):
        package = f"openinference-instrumentation-{name}"
        information = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entry = f"[opentelemetry_instrumentor]\n{name} = instruments_{name}:Instrumentor\n"
        (information / "entry_points.txt").write_text(entry)
        (tmp_path / f"instruments_{name}.py").write_text(INSTRUMENTATION)
    yield
    for name in ("openai", "pipecat", "requests"):
        sys.modules.pop(f"instruments_{name}", None)


def test_instrumentations_that_repeat_usage_are_listed(instrumentations):
    code, found = doctor()

    end = "on further spans, so a backend counts them twice if it is switched on: it is not so far."
    openai = f"openinference-instrumentation-openai puts the requests of openai clients {end}"
    pipecat = f"openinference-instrumentation-pipecat puts Pipecat's tokens (with enable_usage_metrics) {end}"
    assert code == 0
    assert found["spans"] == [("note", openai), *([("note", pipecat)] if find("Pipecat") else [])]


def test_an_instrumentation_that_is_on_is_wrong(instrumentations):
    module = importlib.import_module("instruments_openai")
    module.Instrumentor._instance = module.Instrumentor()

    code, found = doctor()

    assert code == 1
    status, text = found["spans"][0]
    assert status == "wrong"
    assert text.endswith("so a backend counts them twice: call Instrumentor().uninstrument().")


@pytest.mark.parametrize(
    ("release", "variable", "found"),
    [
        ("1.14.0", "", True),
        ("1.14.0", "False", False),
        ("1.13.0", "", False),
        (None, "", False),
    ],
)
def test_a_client_that_makes_spans_unasked_is_listed(release, variable, found, tmp_path, monkeypatch):
    """Anthropic's does, with the tokens that the framework's spans have too."""
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", variable)
    real = metadata.version

    def version(name):
        if name != "anthropic":
            return real(name)
        if release is None:
            raise metadata.PackageNotFoundError(name)
        return release

    monkeypatch.setattr("otel_voice_cost.cli.doctor.version", version)

    findings = doctor()[1].get("spans", [])

    text = (
        "anthropic 1.14.0 puts its requests on further spans of the global provider, so a backend counts them twice: "
        "set ANTHROPIC_OPEN_TELEMETRY=false."
    )
    assert (("note", text) in findings) is found


def find(name):
    return next((framework for framework in INSTALLED if framework.source.name == name), None)


@pytest.mark.parametrize(
    ("framework", "release", "status", "text"),
    [
        ("LiveKit", "1.1.7", "wrong", "livekit-agents 1.1.7 is older than 1.2, the oldest that is supported"),
        ("LiveKit", "1.9.0", "note", "livekit-agents 1.9.0 is newer than 1.8.9, the newest that was tested."),
        ("LiveKit", "1.8.11", "ok", "livekit-agents 1.8.11"),
        ("Pipecat", "1.6.1", "wrong", "pipecat-ai 1.6.1 is older than 1.7.0, the oldest that is supported"),
        ("Pipecat", "1.15.0", "note", "pipecat-ai 1.15.0 is newer than 1.14.0, the newest that was tested."),
        ("Pipecat", "1.14.2", "ok", "pipecat-ai 1.14.2"),
    ],
)
def test_releases_outside_of_the_tested_ones_are_found(monkeypatch, framework, release, status, text):
    (chosen,) = [each for each in FRAMEWORKS if each.source.name == framework]
    monkeypatch.setattr(metadata, "version", lambda name: {chosen.package: release}.get(name, "9.9"))
    monkeypatch.setattr("otel_voice_cost.sources.framework.version", metadata.version)

    found = doctor()[1]["versions"]

    assert any(s == status and t.startswith(text) for s, t in found)


def test_an_old_release_of_pipecat_is_reported_with_what_it_lacks(monkeypatch):
    monkeypatch.setattr("otel_voice_cost.sources.framework.version", lambda _: "1.6.1")

    found = doctor()[1]["versions"]

    assert any(text.endswith("upgrade it. Before 1.7 speech-to-text has no usage.") for _, text in found)


def test_an_environment_without_a_framework_is_not_that_of_the_agent(monkeypatch):
    monkeypatch.setattr("otel_voice_cost.sources.framework.version", raise_not_found)

    code, found = doctor()

    assert code == 0
    text = "Neither livekit-agents nor pipecat-ai is installed here: run this where the agent runs."
    assert ("note", text) in found["versions"]
    assert {"hook", "models", "tracing"}.isdisjoint(found)


def raise_not_found(name):
    raise metadata.PackageNotFoundError(name)


def test_a_framework_that_cannot_be_imported_is_a_note(monkeypatch):
    monkeypatch.setattr("importlib.import_module", raise_import_error)

    found = doctor()[1]["hook"]

    assert {status for status, _ in found} == {"note"}
    assert all("cannot be imported here (no such library): the hook was not tried." in text for _, text in found)


def raise_import_error(name):
    raise ImportError("no such library")


@pytest.mark.skipif(not find("Pipecat"), reason="Pipecat needs Python 3.11")
class TestPipecat:
    def test_a_class_that_cannot_be_hooked_is_wrong(self, monkeypatch):
        """As in a release without the method, or with one that cannot be set."""
        services = importlib.import_module("pipecat.services.stt_service")
        monkeypatch.setattr(services, "STTService", int)

        code, found = doctor()

        assert code == 1
        text = "Pipecat's STTService cannot be listened to: usage without a span is lost. Upgrade otel-voice-cost."
        assert ("wrong", text) in found["hook"]

    def test_a_class_of_an_old_release_is_not_hooked_by_a_newer_package(self, monkeypatch):
        services = importlib.import_module("pipecat.services.stt_service")
        monkeypatch.setattr(services, "STTService", int)
        monkeypatch.setattr("otel_voice_cost.sources.framework.version", lambda _: "1.6.0")

        assert any(text.endswith("is lost. Upgrade pipecat-ai.") for _, text in doctor()[1]["hook"])

    def test_the_log_line_of_calls_without_tracing_is_named(self):
        """The line that is logged begins with the sentence that the doctor quotes."""
        ((status, text),) = doctor()[1]["tracing"]
        hint = read_tts_report(SimpleNamespace(), "Good evening.").hint

        assert status == "note"
        assert "enable_tracing=True" in text
        assert hint.partition(". ")[0] in text

    def test_models_of_imported_services_are_checked(self):
        importlib.import_module("pipecat.services.openai.tts")

        found = doctor()[1]["models"]

        text = "OpenAITTSService gpt-4o-mini-tts: billed by time and token, reported by text"
        assert ("note", text) in found
        assert any(text.endswith(" models of Pipecat's classes that are used here are known") for _, text in found)

    def test_no_imported_service_is_a_note(self, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("pipecat.services.") and name.count(".") > 2]:
            monkeypatch.delitem(sys.modules, name)

        assert ("note", find("Pipecat").unused) in doctor()[1]["models"]
