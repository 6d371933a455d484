"""Unmatched usage: one span per component and model, with the session's ids, at the latest at shutdown."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap

import pytest
from livekit.agents import Agent, llm
from livekit.agents.metrics import LLMMetrics
from livekit.agents.telemetry import set_tracer_provider, tracer
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from ..conftest import llm_metrics
from .harness import (
    RELEASE,
    SPEED,
    Caller,
    Pipeline,
    amounts_in,
    amounts_on,
    assert_all_on_one_span,
    assert_session_totals,
    converse,
    new_session,
)
from .scripted import ScriptedRealtime
from .test_conversations import LONG, Clerk


async def test_one_span_per_model_with_the_sessions_ids(price_catalog):
    """Langfuse and others find a span's session and user by the attributes on the span itself."""
    pipeline = Pipeline(price_catalog)
    ids = {"langfuse.session.id": "call-7", "user.id": "u-1", "tenant": "acme"}
    set_tracer_provider(pipeline.provider, metadata=ids)
    model = ScriptedRealtime(["unmatched", "unmatched"])

    async def script(caller):
        for _ in range(3):
            await caller.session.generate_reply().wait_for_playout()

    await converse(new_session(llm=model), Clerk(), script)

    pipeline.reported += model.reported
    assert len(model.reported) == 6
    assert_all_on_one_span(pipeline)
    (own,), (session,) = pipeline.named("realtime_usage"), pipeline.session_spans()
    assert {key: own.attributes[key] for key in ids} == ids
    assert own.parent.span_id == session.context.span_id
    assert own.context.trace_id == session.context.trace_id
    assert session.start_time < own.start_time < own.end_time < session.end_time
    assert own.attributes["gen_ai.operation.name"] == "generate_content"
    assert pipeline.spans.index(own) < pipeline.spans.index(session)
    assert own.instrumentation_scope.name == "livekit-agents"
    pipeline.provider.shutdown()


async def test_usage_spans_have_the_ids_with_a_wrapped_processor_too(price_catalog):
    pipeline = Pipeline(price_catalog, wrapping=True)
    set_tracer_provider(pipeline.provider, metadata={"langfuse.session.id": "call-7"})

    stt_model = ScriptedSTT([], speed=SPEED)
    await converse(
        new_session(stt=stt_model, llm=ScriptedLLM([]), tts=ScriptedTTS()), Clerk(), lambda _: asyncio.sleep(0.1)
    )

    if RELEASE == (1, 4):
        pytest.skip("1.4 loses the last report of speech-to-text")
    (own,) = pipeline.named("stt_usage")
    assert own.attributes["langfuse.session.id"] == "call-7"
    assert len({span.context.span_id for span in pipeline.spans}) == len(pipeline.spans)
    pipeline.provider.shutdown()


async def test_a_sentence_whose_span_never_ends(pipeline):
    """An interruption while the model still speaks leaves a tts_request open on every release."""
    stt_model = ScriptedSTT(["tell me", "stop"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(text=LONG, chunk_seconds=0.05), Answer(text="OK.")])
    tts_model = ScriptedTTS(streaming=False, frame_delay=0.02)
    pipeline.listen(stt_model, llm_model, tts_model)

    async def script(caller):
        await caller.ask()
        await caller.interrupt()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), script)

    assert_all_on_one_span(pipeline)
    if RELEASE == (1, 4):
        pytest.skip("1.4 loses the report too")
    on_requests = amounts_on(pipeline.named("tts_request"))
    assert amounts_on(pipeline.spans)["tts", "sonic-3", "character"] > on_requests["tts", "sonic-3", "character"]
    assert len(pipeline.named("tts_usage")) == 1


async def test_a_span_that_ends_after_its_session_is_not_priced_again(pipeline):
    """Its report was settled with the session."""
    tts_model = ScriptedTTS()
    session = new_session(stt=ScriptedSTT([], speed=SPEED), llm=ScriptedLLM([]), tts=tts_model)
    pipeline.listen(tts_model)
    late = []
    tts_model.on("metrics_collected", lambda metrics: late.append(metrics.model_dump_json()))
    caller = Caller(session)
    await session.start(Clerk())
    if not trace.get_current_span().is_recording():
        pytest.skip("this release does not leave the session's span current")
    await session.say("Twenty-one characters").wait_for_playout()
    await asyncio.sleep(0.05)
    open_span = tracer.start_span("tts_request")  # stands for one that LiveKit forgets
    metrics = json.loads(late[0]) | {"request_id": "forgotten"}
    open_span.set_attribute("lk.tts_metrics", json.dumps(metrics, separators=(",", ":")))
    tts_model.emit("metrics_collected", type(pipeline.reported[0]).model_validate(metrics))
    await caller.hang_up()
    open_span.end()

    assert len(pipeline.named("tts_usage")) == 1
    assert "voice_cost.usd" not in pipeline.spans[-1].attributes
    assert pipeline.session_spans()[0].attributes["voice_cost.session.tts.usd"] == "0.0021"


async def test_a_request_without_metrics_that_ends_before_its_report_is_priced_once(pipeline):
    """An SDK limit dropped its metrics; the token counts are left."""
    model = ScriptedLLM([])
    caller = Caller(new_session(stt=ScriptedSTT([], speed=SPEED), llm=model, tts=ScriptedTTS()))
    await caller.session.start(Clerk())
    if not trace.get_current_span().is_recording():
        pytest.skip("this release does not leave the session's span current")
    tokens = {"gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 20}
    names = {"gen_ai.request.model": "gpt-4.1-mini", "gen_ai.provider.name": "openai"}
    tracer.start_span("llm_request", attributes=tokens | names).end()
    for _ in range(2):  # the second is of a request whose span never ends
        model.emit("metrics_collected", LLMMetrics.model_validate(llm_metrics()))
    await caller.hang_up()

    assert pipeline.session_spans()[0].attributes["voice_cost.session.llm.usd"] == "0.000304"
    assert len(pipeline.named("llm_usage")) == 1


async def test_usage_after_the_session_ended_is_counted_at_the_flush(price_catalog):
    """Under its session, on a usage span."""
    pipeline = Pipeline(price_catalog)
    side = ScriptedSTT([], speed=SPEED)
    caller = Caller(new_session(stt=ScriptedSTT([], speed=SPEED), llm=ScriptedLLM([]), tts=ScriptedTTS()))
    await caller.session.start(Clerk())
    await caller.hang_up()  # its span stays current in this task
    before = len(pipeline.spans)
    metrics = side_report(side)
    pipeline.provider.force_flush()

    (own,) = pipeline.spans[before:]
    assert own.name == "stt_usage"
    assert own.attributes["voice_cost.quantity.audio_second"] == metrics.audio_duration
    assert own.parent.span_id == pipeline.session_spans()[0].context.span_id
    pipeline.provider.shutdown()
    assert len(pipeline.spans) == before + 1


def side_report(component):
    from .scripted import transcription_report  # noqa: PLC0415

    metrics = transcription_report()
    component.emit("metrics_collected", metrics)
    return metrics


@pytest.mark.parametrize(
    "limits",
    [SpanLimits(max_span_attribute_length=120), SpanLimits(max_span_attributes=5), SpanLimits(max_span_attributes=1)],
    ids=["values cut", "oldest attributes dropped", "all but one dropped"],
)
async def test_span_limits_lose_no_usage(price_catalog, limits):
    """OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT and _COUNT_LIMIT cut or drop the metrics JSON."""
    pipeline = Pipeline(price_catalog, limits=limits)
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(text="First.", cached_tokens=64), Answer(text="Second.", prompt_tokens=150)])
    tts_model = ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), script)

    assert amounts_on(pipeline.spans) == amounts_in(pipeline.reported)
    assert_session_totals(pipeline)
    pipeline.provider.shutdown()


async def test_a_custom_llm_node_that_yields_usage(pipeline):
    """From 1.8 on its usage is only on llm_node, without a model: it is counted but unpriced."""

    class Custom(Agent):
        def __init__(self):
            super().__init__(instructions="You answer.")

        async def llm_node(self, chat_ctx, tools, model_settings):
            yield llm.ChatChunk(id="own-1", delta=llm.ChoiceDelta(role="assistant", content="An own answer."))
            yield llm.ChatChunk(
                id="own-1", usage=llm.CompletionUsage(completion_tokens=4, prompt_tokens=115, total_tokens=119)
            )

    stt_model, tts_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED), ScriptedTTS()
    await converse(
        new_session(stt=stt_model, llm=ScriptedLLM([]), tts=tts_model), Custom(), lambda c: c.ask_and_listen()
    )

    (node,) = pipeline.named("llm_node")
    if "gen_ai.usage.input_tokens" not in node.attributes:
        pytest.skip("this release puts no usage on llm_node")
    assert node.attributes["voice_cost.quantity.input_token"] == 115
    assert node.attributes["voice_cost.unpriced"].startswith("no llm rate for")
    assert pipeline.session_spans()[0].attributes["voice_cost.session.unpriced"] == 1


async def test_connection_reports_are_not_usage_and_zero_is_unknown(pipeline):
    """LiveKit reports a connection with zero seconds, and 0.0 for unknown."""
    from .scripted import transcription_report  # noqa: PLC0415

    stt_model = ScriptedSTT([], overhead_seconds=0.5, speed=SPEED)
    caller = Caller(new_session(stt=stt_model, llm=ScriptedLLM([]), tts=ScriptedTTS()))
    await caller.session.start(Clerk())
    zero = transcription_report()
    zero.audio_duration = 0.0
    zero.metadata.model_name = "no-such-model"
    stt_model.emit("metrics_collected", zero)
    await caller.hang_up()

    assert not any("no-such-model" in str(span.attributes) for span in pipeline.spans)
    assert pipeline.session_spans()[0].attributes["voice_cost.session.unpriced"] == 0


def test_a_process_that_stops_without_closing_its_session():
    """The provider shuts down at interpreter exit; pending usage is on a span by then."""
    program = textwrap.dedent(
        """
        import asyncio
        from livekit.agents.telemetry import set_tracer_provider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
        from otel_voice_cost import VoiceCostSpanProcessor
        from otel_voice_cost.testing.components import ScriptedLLM, ScriptedSTT, ScriptedTTS
        from tests.sessions.harness import Caller, new_session
        from tests.sessions.test_conversations import Clerk

        async def main():
            hears = ScriptedSTT([], report_seconds=0.5, speed=10)
            caller = Caller(new_session(stt=hears, llm=ScriptedLLM([]), tts=ScriptedTTS()))
            await caller.session.start(Clerk())
            await asyncio.sleep(0.3)

        provider = TracerProvider()
        provider.add_span_processor(VoiceCostSpanProcessor())
        printed = ConsoleSpanExporter(formatter=lambda span: span.to_json(None) + "\\n")
        provider.add_span_processor(SimpleSpanProcessor(printed))
        set_tracer_provider(provider)
        asyncio.run(main())
        """
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    spans = [json.loads(line) for line in done.stdout.splitlines()]
    (own,) = [span for span in spans if span["name"] == "stt_usage"]
    seconds = own["attributes"]["voice_cost.quantity.audio_second"]
    assert seconds >= 0.5
    assert own["attributes"]["gen_ai.usage.cost"] == pytest.approx(seconds * 0.0048 / 60)
    assert "agent_session" not in {span["name"] for span in spans}
