"""The demo prints the received spans, the bill without this package and with it, and they add up."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.demo.call import hold_call
from otel_voice_cost.demo.receiver import OtlpReceiver
from otel_voice_cost.demo.report import print_report
from otel_voice_cost.demo.run import UntouchedSpans

from ..langfuse_model import observe


class Call:
    """The demo's call, held five times as fast: its spans before and after the processor, and its record.

    It is printed for 80 columns, in which nothing may be cut.
    """

    def __init__(self, spans, untouched, record, progress):
        self.spans, self.untouched, self.record, self.progress = spans, untouched, record, progress
        self.costs = {
            span.span_id: Decimal(span.attributes["voice_cost.usd"])
            for span in spans
            if "voice_cost.usd" in span.attributes
        }

    def printed(self):
        out = io.StringIO()
        assert print_report(self.spans, self.untouched, self.record, Console(file=out, width=80))
        assert "…" not in out.getvalue()
        return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.fixture
async def call(price_catalog):
    records, untouched, progress = [], UntouchedSpans(), []
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        provider.add_span_processor(untouched)
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=records.append))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
        set_tracer_provider(provider)
        await hold_call(speed=5, progress=progress.append)
        provider.shutdown()
    return Call(receiver.spans, untouched.attributes, records[0], progress)


async def test_the_demo_adds_up_to_the_last_digit(call):
    """By hand: 711 fresh, 1,792 cached and 87 output tokens are 284.4 + 179.2 + 139.2 millionths of a dollar;
    143 characters at $50 a million are $0.00715; seconds of audio at $0.0048 a minute are $0.00008 each: four times
    1.8, and what LiveKit sends when it closes. The 185 characters that the caller cuts off are $0.00925.
    """
    seconds = [
        Decimal(str(span.attributes["voice_cost.quantity.audio_second"]))
        for span in call.spans
        if "voice_cost.quantity.audio_second" in span.attributes
    ]
    total = Decimal("0.0006028") + Decimal("0.00715") + sum(seconds) * Decimal("0.00008")
    lines = call.printed()

    assert seconds[:4] == [Decimal("1.8")] * 4
    assert f"total no cost ${total.normalize():f}" in lines
    assert "tts sonic-3 143 characters no cost $0.00715" in lines
    assert "llm gpt-4.1-mini 711 input tokens only tokens $0.0006028" in lines
    assert "46 characters at $50/1M characters: $0.0023" in lines
    assert "Not reported: 1 tts, cut off $0.00925, estimated" in lines
    assert f"With what was not reported ${(total + Decimal('0.00925')).normalize():f}" in lines
    assert call.progress[0] == "The agent greets"


async def test_without_this_package_the_same_spans_have_no_cost(call):
    """Langfuse shows no cost on any of them by its reading rules, and would price only spans with tokens."""
    before = [(span, call.untouched[span.span_id]) for span in call.spans if span.span_id in call.costs]
    observed = [(span, observe(span.name, attributes, is_error=False, path="events")) for span, attributes in before]

    assert len(observed) >= 13
    assert [shown.total for _, shown in observed if shown.total is not None] == []
    assert {span.attributes["voice_cost.component"] for span, shown in observed if shown.usage} == {"llm"}
    assert [key for _, attributes in before for key in attributes if "cost" in key] == []


async def test_a_cost_that_a_span_had_before_is_not_called_no_cost(call):
    (span_id, *_) = call.costs
    call.untouched[span_id] = {**call.untouched[span_id], "gen_ai.usage.cost": 0.1}

    assert [line for line in call.printed() if line.startswith("total a cost $")]


async def test_the_interrupted_answer_is_in_the_demo(call):
    """One agent turn is interrupted by the caller, and one calls a tool."""
    turns = [span for span in call.spans if span.name in ("agent_turn", "assistant_turn")]

    assert len(turns) >= 5
    assert True in [turn.attributes.get("lk.interrupted") for turn in turns]
    assert len([span for span in call.spans if span.name == "function_tool"]) == 1
