"""Models in addition to the conversation's, components that change, and listeners that fail."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from livekit.agents import AgentSession, stt

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS, ToolCall

from .harness import (
    RELEASE,
    SPEED,
    amounts_in,
    amounts_on,
    assert_all_on_one_span,
    assert_session_totals,
    converse,
    new_session,
)
from .test_conversations import Clerk


def side_model(*answers):
    return ScriptedLLM(answers or [Answer(text="{}", prompt_tokens=900, cached_tokens=300, completion_tokens=5)] * 9)


async def test_a_judge_is_billed_once(pipeline):
    """RunResult.judge repeats its request's tokens on judge_evaluation, and never ends the request."""
    llm_model, tts_model = ScriptedLLM([Answer(text="It has shipped.")]), ScriptedTTS()
    verdict = ToolCall(name="check_intent", arguments='{"success": true, "reason": "it does"}')
    judge = side_model(Answer(tool=verdict, prompt_tokens=800, completion_tokens=12))
    pipeline.listen(llm_model, tts_model, judge)
    session = AgentSession(llm=llm_model, tts=tts_model, vad=None)
    await session.start(Clerk())
    result = await session.run(user_input="Where is it?")
    message = result.expect.next_event().is_message(role="assistant")
    await message.judge(judge, intent="says where the order is")
    await session.aclose()

    if RELEASE == (1, 2):  # outside the session, and judge_evaluation names no provider: known, and unpriced
        assert amounts_on(pipeline.spans) == amounts_in(pipeline.reported)
        return
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len([span for span in pipeline.spans if "voice_cost.usd" in span.attributes]) >= 2


async def test_keyterm_detection_is_billed(pipeline):
    """A model that LiveKit runs in addition to the conversation, from 1.6.6 on."""
    if "stt_context_options" not in inspect.signature(AgentSession.__init__).parameters:
        pytest.skip("no stt_context_options in this release")
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED, keyterms=True)
    llm_model, tts_model, side = ScriptedLLM([Answer(text="Yes.")] * 2), ScriptedTTS(), side_model()
    pipeline.listen(stt_model, llm_model, tts_model, side)
    session = new_session(
        stt=stt_model,
        llm=llm_model,
        tts=tts_model,
        stt_context_options={"keyterm_detection": {"enabled": True, "llm": side, "turn_interval": 1}},
    )

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()
        await asyncio.sleep(0.3)

    await converse(session, Clerk(), script)

    assert len([metrics for metrics in pipeline.reported if getattr(metrics, "prompt_tokens", 0) == 900]) >= 1
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_several_speakers_are_billed_once(pipeline):
    if not hasattr(stt, "MultiSpeakerAdapter"):
        pytest.skip("no MultiSpeakerAdapter in this release")
    stt_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED, diarization=True)
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes.")]), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)
    session = new_session(stt=stt.MultiSpeakerAdapter(stt=stt_model), llm=llm_model, tts=tts_model)

    await converse(session, Clerk(), lambda caller: caller.ask_and_listen())

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_components_that_change_in_the_middle_of_a_call(pipeline):
    """update_options of a plugin changes what the next report names."""
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="First answer.")] * 2), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)

    async def script(caller):
        await caller.ask_and_listen()
        stt_model.update_options(model="universal-streaming", provider="AssemblyAI")
        tts_model.update_options(model="sonic-3-turbo")
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    models = {span.attributes.get("gen_ai.response.model") for span in pipeline.spans}
    assert {"nova-3", "universal-streaming", "sonic-3", "sonic-3-turbo"} <= models


async def test_a_failing_listener_of_the_application_loses_no_usage(pipeline):
    """LiveKit passes a listener's TypeError on, which ends its metrics task; the hook receives the report before."""
    stt_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes.")]), ScriptedTTS()
    pipeline.listen(stt_model, llm_model)

    def fails(metrics):
        pipeline.reported.append(metrics)  # listeners have no order before 1.8
        raise TypeError("a bug of the application")

    tts_model.on("metrics_collected", fails)
    await converse(
        new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), lambda caller: caller.ask_and_listen()
    )

    assert_all_on_one_span(pipeline)


async def test_a_turn_includes_its_stt_llm_and_tts(pipeline):
    stt_model = ScriptedSTT(["one"], report_seconds=0.2, speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="An answer.")]), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)

    await converse(
        new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), lambda caller: caller.ask_and_listen()
    )

    (turn,) = [span for span in pipeline.spans if span.name in ("agent_turn", "assistant_turn")]
    (heard,) = [span for span in pipeline.named("user_turn") if "voice_cost.usd" in span.attributes]
    assert turn.attributes["voice_cost.turn.stt.usd"] == heard.attributes["voice_cost.usd"]
    assert turn.attributes["voice_cost.turn.llm.usd"] == "0.000072"
    assert turn.attributes["voice_cost.turn.tts.usd"] == "0.00055"
    assert "gen_ai.usage.cost" not in turn.attributes
