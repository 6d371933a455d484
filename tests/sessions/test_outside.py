"""Speech-to-text outside of sessions: voicemail, batch transcription, a report from a thread without context."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from decimal import Decimal

import pytest
from livekit import rtc
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.accounting.session import REGISTRY
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import stt_metrics
from ..test_recorded import Report
from .harness import (
    Caller,
    Pipeline,
    amounts_in,
    amounts_on,
    assert_all_on_one_span,
    assert_session_totals,
    new_session,
)
from .test_conversations import Clerk
from .test_many_sessions import hold_two_in_one_task, named, stack

VOICEMAIL_SECONDS = 2


@pytest.fixture(autouse=True)
def alone():
    """Sessions that other tests left running would receive these reports."""
    for session in REGISTRY.running():
        REGISTRY.drain(session.owner())


def report(seconds=5.0):
    """Report usage as LiveKit's STT does, in the current context."""
    component = ScriptedSTT([])
    metrics = stt_metrics(audio_duration=seconds)
    component.emit("metrics_collected", Report({"report": "stt_metrics", "label": "x", "json": json.dumps(metrics)}))


async def transcribe(stt):
    """Transcribe a whole recording at once, as an application does."""
    frame = rtc.AudioFrame(bytes(2 * 16_000 * VOICEMAIL_SECONDS), 16_000, 1, 16_000 * VOICEMAIL_SECONDS)
    return await stt.recognize([frame])


@pytest.mark.parametrize("wrapping", [False, True])
async def test_a_voicemail_is_on_a_span_below_the_application_span(price_catalog, wrapping):
    pipeline = Pipeline(price_catalog, wrapping=wrapping)
    stt = ScriptedSTT(["Please call back."])
    pipeline.listen(stt)
    tracer = pipeline.provider.get_tracer("app")

    with tracer.start_as_current_span("voicemail", attributes={"session.id": "box-7"}) as span:
        await transcribe(stt)
        await transcribe(stt)

    (own,) = pipeline.named("stt_usage")
    assert own.parent.span_id == span.context.span_id
    assert own.context.trace_id == span.context.trace_id
    assert own.attributes["session.id"] == "box-7"
    assert amounts_on([own]) == amounts_in(pipeline.reported) != {}
    assert pipeline.processor.stats().priced == 2
    pipeline.provider.shutdown()
    assert pipeline.named("stt_usage") == [own]


async def test_usage_without_any_span_gets_a_separate_span_at_a_flush(price_catalog):
    pipeline = Pipeline(price_catalog)
    stt = ScriptedSTT(["Please call back."])
    pipeline.listen(stt)

    await transcribe(stt)
    assert pipeline.spans == []
    await asyncio.to_thread(pipeline.provider.force_flush)

    (own,) = pipeline.named("stt_usage")
    assert own.parent is None
    assert amounts_on([own]) == amounts_in(pipeline.reported) != {}
    pipeline.provider.shutdown()


async def test_a_processor_that_is_shut_down_leaves_reports_to_the_next(price_catalog):
    pipeline = Pipeline(price_catalog)
    second = VoiceCostSpanProcessor(catalog=price_catalog)
    pipeline.provider.add_span_processor(second)
    pipeline.processor.shutdown()

    await transcribe(ScriptedSTT(["Please call back."]))

    assert second.stats().priced == 1
    pipeline.provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_forked_child_leaves_pending_usage_to_its_parent(price_catalog):
    pipeline = Pipeline(price_catalog)
    await transcribe(ScriptedSTT(["Please call back."]))

    child = os.fork()
    if not child:
        os._exit(len(pipeline.processor.accounting.outside))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(pipeline.processor.accounting.outside) == 1
    pipeline.provider.shutdown()
    assert len(pipeline.named("stt_usage")) == 1


async def test_unsampled_usage_is_only_in_the_metrics(price_catalog):
    provider, exporter, reader = TracerProvider(sampler=ALWAYS_OFF), InMemorySpanExporter(), InMemoryMetricReader()
    processor = VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=MeterProvider([reader]))
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)

    with provider.get_tracer("app").start_as_current_span("voicemail"):
        await transcribe(ScriptedSTT(["Please call back."]))
    await transcribe(ScriptedSTT(["Please call back."]))
    provider.shutdown()

    assert exporter.get_finished_spans() == ()
    assert processor.stats().priced == 2


async def test_the_only_session_gets_the_reports_of_a_thread(pipeline):
    caller = Caller(new_session(**named(stack(pipeline))))
    await caller.session.start(Clerk())
    await caller.ask_and_listen()
    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    await caller.hang_up()

    (session,) = pipeline.session_spans()
    seconds = amounts_on(pipeline.spans)["stt", "nova-3", "audio_second"]
    assert seconds - amounts_in(pipeline.reported)["stt", "nova-3", "audio_second"] == 5
    assert_session_totals(pipeline)
    assert Decimal(session.attributes["voice_cost.session.stt.usd"]) == pytest.approx(seconds * Decimal("0.00008"))


async def test_none_of_several_sessions_gets_the_reports_of_a_thread(pipeline):
    callers = [Caller(new_session(**named(stack(pipeline)))) for _ in range(2)]
    for caller in callers:
        await asyncio.create_task(caller.session.start(Clerk()))
    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    for caller in callers:
        await caller.hang_up()
    await asyncio.to_thread(pipeline.provider.force_flush)

    (own,) = [span for span in pipeline.named("stt_usage") if span.parent is None]
    assert own.attributes["voice_cost.quantity.audio_second"] == 5


async def test_a_report_without_livekit_spans_is_logged_once(price_catalog, caplog):
    """The processor is on a provider that LiveKit does not use."""
    REGISTRY.reset()
    set_tracer_provider(TracerProvider())
    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    pipeline_of_others = ScriptedSTT(["Please call back."])

    await transcribe(pipeline_of_others)
    await transcribe(pipeline_of_others)

    lines = [record.message for record in caplog.records if "set_tracer_provider" in record.message]
    assert len(lines) == 1
    provider.shutdown()


async def test_a_session_continues_while_livekit_gets_another_provider(price_catalog):
    """As in two jobs of one process, each of which sets a provider: one account of each session."""
    first = Pipeline(price_catalog)
    caller = Caller(new_session(**named(stack(first, turns=2))))
    await asyncio.create_task(caller.session.start(Clerk()))
    await caller.ask_and_listen()
    second = Pipeline(price_catalog)
    other = Caller(new_session(**named(stack(second))))
    await asyncio.create_task(other.session.start(Clerk()))
    await caller.ask_and_listen()
    await other.ask_and_listen()
    await caller.hang_up()
    await other.hang_up()
    for pipeline in (first, second):
        pipeline.provider.shutdown()

    spans = [*first.spans, *second.spans]
    totals = [span for span in spans if span.name == "agent_session"]
    assert amounts_on(spans) == amounts_in([*first.reported, *second.reported])
    assert sum(Decimal(span.attributes["voice_cost.session.usd"]) for span in totals) == sum(
        Decimal(span.attributes.get("voice_cost.usd", 0)) for span in spans
    )
    for session in totals:
        own = [span for span in spans if span.context.trace_id == session.context.trace_id]
        assert Decimal(session.attributes["voice_cost.session.usd"]) == sum(
            Decimal(span.attributes.get("voice_cost.usd", 0)) for span in own
        )


async def test_sessions_of_one_trace_add_up_in_its_metadata(pipeline):
    await hold_two_in_one_task(pipeline)

    sessions = pipeline.session_spans()
    if len({span.context.trace_id for span in sessions}) > 1:
        pytest.skip("this release gives each session a trace")
    usd = [Decimal(span.attributes["voice_cost.session.usd"]) for span in sessions]
    written = [span.attributes["langfuse.trace.metadata.voice_cost_usd"] for span in sessions]
    assert written == [float(usd[0]), float(usd[0] + usd[1])]
    assert_all_on_one_span(pipeline)
