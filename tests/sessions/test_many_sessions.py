"""Several sessions: at once, one after another, in threads, on several providers, killed, unsampled."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.accounting.session import REGISTRY
from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from .harness import (
    SPEED,
    Caller,
    Pipeline,
    amounts_in,
    amounts_on,
    assert_all_on_one_span,
    assert_session_totals,
    converse,
    cost_of_amounts,
    cost_on,
    new_session,
)
from .test_conversations import Clerk


def stack(pipeline, *, turns=1):
    stt = ScriptedSTT(["words"] * turns, report_seconds=0.5, speed=SPEED)
    llm, tts = ScriptedLLM([Answer(text="An answer.")] * turns), ScriptedTTS()
    pipeline.listen(stt, llm, tts)
    return stt, llm, tts


async def hold(stt, llm, tts, *, turns=1):
    async def script(caller):
        for _ in range(turns):
            await caller.ask_and_listen()

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), script)


def spans_by_session(pipeline):
    """Spans grouped by the agent_session they are below."""
    by_id = {span.context.span_id: span for span in pipeline.spans}
    groups = {}
    for span in pipeline.spans:
        above = span
        while above is not None and above.name != "agent_session":
            above = by_id.get(above.parent.span_id) if above.parent else None
        groups.setdefault(above and above.context.span_id, []).append(span)
    return groups


async def test_sessions_at_once_in_one_event_loop(pipeline):
    stacks = [stack(pipeline) for _ in range(3)]

    await asyncio.gather(*(asyncio.create_task(hold(*one)) for one in stacks))

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    for session, spans in spans_by_session(pipeline).items():
        (root,) = [span for span in spans if span.context.span_id == session]
        assert Decimal(root.attributes["voice_cost.session.usd"]) == cost_on(spans) > 0


async def test_sessions_that_share_components(pipeline):
    """LiveKit's session usage counts these twice."""
    stt = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm, tts = ScriptedLLM([Answer(text="An answer.")] * 2), ScriptedTTS()
    pipeline.listen(stt, llm, tts)

    await asyncio.gather(*(asyncio.create_task(hold(stt, llm, tts)) for _ in range(2)))

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len(pipeline.session_spans()) == 2


async def test_sessions_one_after_another_in_a_reused_process(pipeline):
    for _ in range(3):
        await hold(*stack(pipeline))

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def hold_two_in_one_task(pipeline):
    first, second = Caller(new_session(**named(stack(pipeline)))), Caller(new_session(**named(stack(pipeline))))
    await first.session.start(Clerk())
    await second.session.start(Clerk())
    await first.ask_and_listen()
    await second.ask_and_listen()
    await second.hang_up()
    await first.hang_up()


async def test_two_sessions_in_one_task_nest_in_one_trace(pipeline):
    await hold_two_in_one_task(pipeline)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


def named(components):
    return dict(zip(("stt", "llm", "tts"), components, strict=True))


def test_sessions_in_threads_of_the_thread_executor(pipeline):
    """Each job has a thread and an event loop of its own; the provider is one."""
    stacks = [stack(pipeline) for _ in range(3)]
    threads = [threading.Thread(target=lambda one=one: asyncio.run(hold(*one))) for one in stacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len(pipeline.session_spans()) == 3


async def test_a_killed_session_is_accounted_for_at_shutdown(price_catalog, caplog):
    """Its agent_session never ends, so its speech-to-text usage is on a usage span."""
    pipeline = Pipeline(price_catalog)
    stt, llm, tts = stack(pipeline)
    session = new_session(stt=stt, llm=llm, tts=tts)
    caller = Caller(session)
    await session.start(Clerk())
    await caller.ask_and_listen()
    await asyncio.sleep(0.2)
    pipeline.provider.shutdown()

    reported = list(pipeline.reported)
    assert pipeline.session_spans() == []
    assert amounts_on(pipeline.spans) == amounts_in(reported)
    assert len(pipeline.named("stt_usage")) == 1
    assert "No cost" not in caplog.text
    await caller.hang_up()


async def test_an_unsampled_session_exports_and_logs_nothing(price_catalog, caplog):
    provider, exporter = TracerProvider(sampler=ALWAYS_OFF), InMemorySpanExporter()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)

    await hold(
        ScriptedSTT(["words"], report_seconds=0.5, speed=SPEED), ScriptedLLM([Answer(text="Yes.")]), ScriptedTTS()
    )
    provider.shutdown()

    assert exporter.get_finished_spans() == ()
    lines = [record.message for record in caplog.records if record.name == "otel_voice_cost"]
    assert [line for line in lines if "inside a running event loop" not in line] == []


async def test_metrics_are_complete_if_traces_are_not_sampled(price_catalog):
    """They are recorded as usage is reported; two processors count it once."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    provider = TracerProvider(sampler=ALWAYS_OFF)
    processors = [VoiceCostSpanProcessor(catalog=price_catalog, meter_provider=meters) for _ in range(2)]
    for processor in processors:
        provider.add_span_processor(processor)
    set_tracer_provider(provider)

    sampled = Pipeline(price_catalog)
    set_tracer_provider(provider)
    components = stack(sampled)
    await hold(*components)

    metrics = {m.name: m for m in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics}
    cost = sum(point.sum for point in metrics["gen_ai.client.operation.cost"].data.data_points)
    assert cost == pytest.approx(float(cost_of_amounts(amounts_in(sampled.reported))))
    assert cost > 0
    provider.shutdown()
    sampled.provider.shutdown()


async def test_two_providers_account_for_their_own_sessions(price_catalog):
    """Both receive every report; a report belongs to its session."""
    first = Pipeline(price_catalog)
    await hold(*stack(first))
    otel_context.attach(otel_context.Context())  # start() leaves its span current
    second = Pipeline(price_catalog)
    await hold(*stack(second))

    assert_all_on_one_span(first)
    assert_all_on_one_span(second)
    first.provider.shutdown()
    second.provider.shutdown()


async def test_a_rebuilt_processor_continues(price_catalog):
    first = Pipeline(price_catalog)
    await hold(*stack(first))
    first.provider.shutdown()
    otel_context.attach(otel_context.Context())
    second = Pipeline(price_catalog)
    await hold(*stack(second))

    assert_all_on_one_span(first)
    assert_all_on_one_span(second)
    second.provider.shutdown()


async def test_nothing_keeps_an_ended_session_alive(pipeline):
    session = new_session(**named(stack(pipeline)))
    reference = weakref.ref(session)

    await converse(session, Clerk(), lambda caller: caller.ask_and_listen())
    del session
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    holders = [type(holder).__module__ for holder in gc.get_referrers(reference())] if reference() else []

    assert not any(module.startswith("otel_voice_cost") for module in holders)


@pytest.mark.parametrize("wrapping", [False, True])
async def test_a_session_that_overlaps_shutdown(price_catalog, wrapping):
    """Spans after shutdown pass unchanged; earlier usage is counted."""
    pipeline = Pipeline(price_catalog, wrapping=wrapping)
    stt, llm, tts = stack(pipeline)
    caller = Caller(new_session(stt=stt, llm=llm, tts=tts))
    await caller.session.start(Clerk())
    await caller.ask_and_listen()
    before = list(pipeline.reported)
    pipeline.processor.shutdown()
    await caller.hang_up()

    assert amounts_on(pipeline.spans) == amounts_in(before)
    pipeline.provider.shutdown()


async def test_a_killed_session_of_a_provider_that_livekit_no_longer_uses(price_catalog):
    """Pending usage goes to the provider of its session, not to the one that LiveKit now uses."""
    first = Pipeline(price_catalog)
    caller = Caller(new_session(**named(stack(first))))
    await caller.session.start(Clerk())
    await caller.ask_and_listen()
    await asyncio.sleep(0.2)
    second = Pipeline(price_catalog)
    first.provider.shutdown()

    assert amounts_on(first.spans) == amounts_in(first.reported)
    (own,) = first.named("stt_usage")
    assert own.instrumentation_scope.name == "livekit-agents"
    assert second.spans == []
    second.provider.shutdown()
    await caller.hang_up()


async def test_a_passive_processor_keeps_no_sessions(price_catalog):
    pipeline = Pipeline(price_catalog)
    passive = VoiceCostSpanProcessor(catalog=price_catalog)
    pipeline.provider.add_span_processor(passive)

    await hold(*stack(pipeline))

    assert_all_on_one_span(pipeline)
    assert REGISTRY.drain(passive.accounting) == []
    pipeline.provider.shutdown()


def test_a_provider_that_is_dropped_with_a_live_session_is_freed(price_catalog):
    provider = TracerProvider(shutdown_on_exit=False)
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.get_tracer("livekit-agents").start_span("agent_session")
    freed = weakref.ref(processor)

    del provider, processor
    gc.collect()

    assert freed() is None
