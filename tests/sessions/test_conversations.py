"""Real conversations: every unit of usage lands on exactly one span."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import Agent, function_tool

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS, ToolCall

from .harness import SPEED, Pipeline, assert_all_on_one_span, assert_session_totals, converse, new_session
from .scripted import ScriptedVAD

LONG = "This is a long answer that goes on and on. It has a second sentence. And it has a third one, too."


class Clerk(Agent):
    def __init__(self, **components):
        super().__init__(instructions="You find orders.", **components)

    @function_tool
    async def find_order(self) -> str:
        """Find the order."""
        return "shipped"


def components(lines, answers, **options):
    stt = ScriptedSTT(lines, report_seconds=0.5, speed=SPEED)
    llm, tts = ScriptedLLM(answers), ScriptedTTS(**options)
    return stt, llm, tts


async def test_plain_turns(pipeline):
    stt, llm, tts = components(["one", "two"], [Answer(text="First answer.", cached_tokens=64), Answer(text="Second.")])
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len(pipeline.named("llm_request")) == 2


async def test_a_tool_call_takes_two_steps_of_the_model(pipeline):
    stt, llm, tts = components(
        ["where is it"], [Answer(tool=ToolCall(name="find_order"), cached_tokens=32), Answer(text="It has shipped.")]
    )
    pipeline.listen(stt, llm, tts)

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), lambda caller: caller.ask_and_listen())

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len(pipeline.named("llm_request")) == 2


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming speech", "sentence by sentence"])
async def test_an_interruption(pipeline, streaming):
    """An interrupted sentence leaves its tts_request open forever; its report gets a usage span."""
    stt, llm, tts = components(
        ["tell me", "stop"], [Answer(text=LONG, chunk_seconds=0.05), Answer(text="OK.")], streaming=streaming
    )
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        await caller.ask()
        await asyncio.sleep(0.1)
        await caller.interrupt()
        await asyncio.sleep(0.3)

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_say_only(pipeline):
    """An agent that speaks first uses no model."""
    stt, llm, tts = components([], [])
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        await caller.session.say("Hello, how can I help?").wait_for_playout()

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert pipeline.named("llm_request") == []
    assert pipeline.session_spans()[0].attributes["voice_cost.session.tts.usd"] == "0.0011"


async def test_a_handoff_to_other_components(pipeline):
    """The old agent's speech-to-text sends its last report after its session has unsubscribed."""
    stt, llm, tts = components(["hello"], [Answer(text="I hand you over.", tool=ToolCall(name="hand_over"))])
    other_stt = ScriptedSTT(["again"], model="universal-streaming", provider="AssemblyAI", speed=SPEED)
    other_llm, other_tts = ScriptedLLM([Answer(text="Hi."), Answer(text="Bye.")]), ScriptedTTS(model="sonic-3-turbo")
    pipeline.listen(stt, llm, tts, other_stt, other_llm, other_tts)

    class Desk(Agent):
        def __init__(self):
            super().__init__(instructions="You greet.")

        @function_tool
        async def hand_over(self):
            """Hand the caller over."""
            return Clerk(stt=other_stt, llm=other_llm, tts=other_tts)

    async def script(caller):
        await caller.ask_and_listen()
        await asyncio.sleep(0.3)
        await caller.until("listening")
        await caller.ask_and_listen()

    await converse(new_session(stt=stt, llm=llm, tts=tts), Desk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    models = {span.attributes.get("gen_ai.response.model") for span in pipeline.spans}
    assert {"nova-3", "universal-streaming", "sonic-3", "sonic-3-turbo"} <= models


async def test_a_model_called_inside_a_tool(pipeline):
    """LiveKit's session usage does not include it."""
    stt, llm, tts = components(["think"], [Answer(tool=ToolCall(name="think")), Answer(text="Done thinking.")])
    side = ScriptedLLM([Answer(text="hm", prompt_tokens=700, cached_tokens=256, completion_tokens=7)])
    pipeline.listen(stt, llm, tts, side)

    class Thinker(Agent):
        def __init__(self):
            super().__init__(instructions="You think.")

        @function_tool
        async def think(self) -> str:
            """Think."""
            async with side.chat(chat_ctx=self.chat_ctx.copy()) as stream:
                return "".join([chunk.delta.content async for chunk in stream if chunk.delta and chunk.delta.content])

    await converse(new_session(stt=stt, llm=llm, tts=tts), Thinker(), lambda caller: caller.ask_and_listen())

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_preemptive_generation(pipeline):
    """A generation that starts before the end of the turn and is discarded is billed as far as it was reported."""
    stt, llm, tts = components(["hello", "more"], [Answer(text="Yes?")] * 4)
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    session = new_session(stt=stt, llm=llm, tts=tts, preemptive_generation=True)
    await converse(session, Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_a_discarded_preemptive_generation(pipeline):
    """The caller continues before the turn is over: the answer is discarded, and a new one generated."""
    stt, llm, tts = components(["hello", "and another thing"], [Answer(text=LONG, chunk_seconds=0.05)] * 3)
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        caller.microphone.speak(0.6)
        await asyncio.sleep(0.3)
        caller.microphone.speak(0.6)
        await caller.until("speaking")
        await caller.until("listening")

    session = new_session(
        stt=stt,
        llm=llm,
        tts=tts,
        vad=ScriptedVAD(),
        turn_detection="vad",
        preemptive_generation=True,
        min_endpointing_delay=0.5,
    )
    await converse(session, Clerk(), script)

    assert len(pipeline.named("llm_request_run")) > 1
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_wrapping_a_processor_gives_the_same_costs(price_catalog):
    """Usage spans go to the wrapped processor; nothing is lost or duplicated there either."""
    pipeline = Pipeline(price_catalog, wrapping=True)
    stt, llm, tts = components(["one"], [Answer(text="First answer.")])
    pipeline.listen(stt, llm, tts)

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), lambda caller: caller.ask_and_listen())

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    (own,) = pipeline.named("stt_usage")
    (session,) = pipeline.session_spans()
    assert own.parent.span_id == session.context.span_id
    assert session.start_time <= own.start_time <= own.end_time <= session.end_time
    assert own.resource is session.resource
    pipeline.provider.shutdown()


async def test_the_last_seconds_of_stt_are_counted(pipeline):
    """AgentSession unsubscribes before its speech-to-text closes: the rest is on a usage span."""
    stt, llm, tts = components([], [])
    heard_by_session = []
    pipeline.listen(stt, llm, tts)
    session = new_session(stt=stt, llm=llm, tts=tts)
    session.on("metrics_collected", lambda event: heard_by_session.append(event.metrics))

    await converse(session, Clerk(), lambda caller: asyncio.sleep(0.2))

    assert_all_on_one_span(pipeline)
    in_session = sum(metrics.audio_duration for metrics in heard_by_session if metrics.type == "stt_metrics")
    reported = sum(metrics.audio_duration for metrics in pipeline.reported)
    assert reported > in_session
    (own,) = pipeline.named("stt_usage")
    assert own.attributes["voice_cost.quantity.audio_second"] == pytest.approx(reported)


async def test_stt_usage_goes_to_the_next_user_turn_once(pipeline):
    stt, llm, tts = components(["one", "two", "three"], [Answer(text="Yes.")] * 3)
    pipeline.listen(stt, llm, tts)

    async def script(caller):
        for _ in range(3):
            await caller.ask_and_listen()

    await converse(new_session(stt=stt, llm=llm, tts=tts), Clerk(), script)

    assert_all_on_one_span(pipeline)
    heard = [s for s in pipeline.named("user_turn") if "voice_cost.usd" in s.attributes]
    assert heard
    assert all(span.attributes["gen_ai.operation.name"] for span in heard)
