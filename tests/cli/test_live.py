"""``doctor --live``: a real call through a user's provider, and what leaves it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .test_commands import run

pytest.importorskip("livekit.agents")

AGENT = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_voice_cost import VoiceCostSpanProcessor

def provider_of(*processors):
    provider = TracerProvider()
    for processor in processors:
        provider.add_span_processor(processor)
    return provider

class OnlyTts(BatchSpanProcessor):
    def on_end(self, span):
        if not span.name.startswith("llm"):
            super().on_end(span)

def sound():
    return provider_of(VoiceCostSpanProcessor(), BatchSpanProcessor(InMemorySpanExporter()))

def wrapped():
    return provider_of(VoiceCostSpanProcessor(BatchSpanProcessor(InMemorySpanExporter())))

def without_us():
    return provider_of(BatchSpanProcessor(InMemorySpanExporter()))

def filtered():
    return provider_of(VoiceCostSpanProcessor(), OnlyTts(InMemorySpanExporter()))

def refused():
    exporter = OTLPSpanExporter(endpoint="http://127.0.0.1:9/v1/traces", timeout=1)
    return provider_of(VoiceCostSpanProcessor(), BatchSpanProcessor(exporter))

def broken():
    raise ValueError("no keys")

silent = provider_of(VoiceCostSpanProcessor())
"""


@pytest.fixture
def agent(tmp_path, monkeypatch):
    (tmp_path / "live_agent.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("live_agent", None)


def live(target: str) -> tuple[int, list[tuple[str, str]]]:
    """Run it in its own process, because it sets the provider of the process."""
    command = [
        sys.executable,
        "-c",
        "from otel_voice_cost.cli import main; main()",
        "doctor",
        "--live",
        target,
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = [(row["status"], row["text"]) for row in json.loads(done.stdout) if row["topic"] in ("live", "export")]
    return done.returncode, found


@pytest.mark.parametrize("target", ["live_agent:sound", "live_agent:wrapped"])
def test_what_left_is_told_with_its_cost(agent, target):
    status, ((verdict, text),) = live(target)

    assert (status, verdict) == (0, "ok")
    assert text.startswith("InMemorySpanExporter sent ")
    assert text.endswith("14 with a cost: $0.0085088")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("live_agent:filtered", "a filter drops the others"),
        ("live_agent:refused", "OTLPSpanExporter could not send"),
        ("live_agent:silent", "exports nothing"),
        ("live_agent:without_us", "spans without a cost: put VoiceCostSpanProcessor before it"),
    ],
)
def test_what_is_wrong_is_named(agent, target, problem):
    status, ((verdict, text),) = live(target)

    assert (status, verdict) == (1, "wrong")
    assert problem in text


def test_a_factory_that_fails_and_a_missing_provider_are_bad_input(agent):
    failed = run("doctor", "live_agent:broken")
    missing = run("doctor", "--live")

    assert (failed.exit_code, missing.exit_code) == (2, 2)
    assert "live_agent:broken(): got ValueError: no keys, expected a provider" in failed.stderr
    assert "--live: got no provider" in missing.stderr
