"""The demo on Pipecat prints the received spans, and they add up to what its components were asked to do."""

from __future__ import annotations

import io
import subprocess
import sys
from decimal import Decimal

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.demo.receiver import OtlpReceiver
from otel_voice_cost.demo.report import PIPECAT, print_meters, print_report
from otel_voice_cost.demo.run import UntouchedSpans
from otel_voice_cost.usage import Unit

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")


@pytest.fixture
async def call(price_catalog, monkeypatch):
    """A desk, the spans that were received of its call, their attributes before, and the record of it."""
    from otel_voice_cost.demo.pipecat.call import Desk  # noqa: PLC0415

    records, untouched = [], UntouchedSpans()
    with OtlpReceiver() as receiver:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(untouched)
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=records.append))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
        # the API lets an application set it once; tests hold one conversation after another
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        desk = Desk()
        await desk.hold_call()
        provider.shutdown()
    return desk, receiver.spans, untouched.attributes, records[0]


async def test_the_bill_is_the_work_of_the_components_to_the_last_digit(call):
    """By hand: 711 fresh, 1,792 cached and 87 output tokens are 284.4 + 179.2 + 139.2 millionths of a dollar; four
    times 1.5 s of speech and 0.75 s of silence at $0.0048 a minute are $0.00072; characters are $50 a million.
    """
    desk, spans, untouched, record = call
    out = io.StringIO()
    console = Console(file=out, width=80)

    assert print_report(spans, untouched, record, console, PIPECAT)
    assert print_meters(desk.meters, record, console)

    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    characters = desk.meters[2].metered[Unit.CHARACTER]
    assert characters > 300
    total = Decimal("0.0006028") + Decimal("0.00072") + characters * Decimal("0.00005")
    assert f"total no cost ${total.normalize():f}" in lines
    assert f"conversation says ${total.normalize():f}" in lines
    assert "stt nova-3 audio seconds 9 9" in lines
    assert f"tts sonic-3 characters {characters} {characters}" in lines


async def test_the_interrupted_answer_is_in_the_call(call):
    _, spans, _, _ = call

    assert len([span for span in spans if span.name == "turn"]) == 5
    assert len([span for span in spans if span.attributes.get("tts.interrupted")]) == 1
    assert len([span for span in spans if span.name == "llm"]) == 5


async def test_a_bill_that_differs_from_the_meters_is_told(call):
    desk, _, _, record = call
    desk.meters[2].metered[Unit.CHARACTER] += 1

    assert not print_meters(desk.meters, record, Console(file=io.StringIO()))


def test_the_command_prints_nothing_but_the_call():
    command = [sys.executable, "-m", "otel_voice_cost.demo.pipecat"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "conversation says" in done.stdout
    assert [line for line in done.stderr.splitlines() if not line.startswith(("A phone call", "The "))] == []
