"""The demo prints the received spans, and they add up."""

from __future__ import annotations

import io
import re
from decimal import Decimal

from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.demo.call import hold_call
from otel_voice_cost.demo.receiver import OtlpReceiver
from otel_voice_cost.demo.report import print_report


async def test_the_demo_adds_up_to_the_last_digit(price_catalog):
    """By hand: 711 fresh, 1,792 cached and 87 output tokens are 284.4 + 179.2 + 139.2 millionths of a dollar;
    143 characters at $50 a million are $0.00715; seconds of audio at $0.0048 a minute are $0.00008 each. The 185
    characters that the caller cuts off are $0.00925, which nobody reports.
    """
    said: list[str] = []
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        records = []
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=records.append))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
        set_tracer_provider(provider)
        await hold_call(speed=5, progress=said.append)
        provider.shutdown()
        out = io.StringIO()
        assert print_report(receiver.spans, records[0], Console(file=out, width=120))

    printed = out.getvalue()
    seconds = sum(
        Decimal(str(span.attributes["voice_cost.quantity.audio_second"]))
        for span in receiver.spans
        if "voice_cost.quantity.audio_second" in span.attributes
    )
    total = Decimal("0.0006028") + Decimal("0.00715") + seconds * Decimal("0.00008")
    (session,) = [span for span in receiver.spans if span.name == "agent_session"]
    assert Decimal(session.attributes["voice_cost.session.usd"]) == total
    assert set(re.findall(r"\$(\d+\.\d+) *\n", printed)) >= {f"{total.normalize():f}"}
    assert re.search(rf"total +{total.normalize():f} *\n", printed)
    assert "46 character at 50 USD per 1000000 character: 0.0023 USD" in printed
    assert "Not reported: 1 tts, cut off   $0.00925, estimated" in printed
    assert f"With what was not reported     ${(total + Decimal('0.00925')).normalize():f} " in printed
    assert said[0] == "The agent greets"


async def test_the_interrupted_answer_is_in_the_demo(price_catalog):
    """One agent turn is interrupted by the caller, and one calls a tool."""
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
        set_tracer_provider(provider)
        await hold_call(speed=5)
        provider.shutdown()

    turns = [span for span in receiver.spans if span.name in ("agent_turn", "assistant_turn")]
    assert len(turns) >= 5
    assert True in [turn.attributes.get("lk.interrupted") for turn in turns]
    assert len([span for span in receiver.spans if span.name == "function_tool"]) == 1
