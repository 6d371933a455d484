"""Adapters, retries and failures: an event passed on is one event, nested spans bill once."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import APIConnectionError, llm, stt, tts

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from .harness import SPEED, assert_all_on_one_span, assert_session_totals, converse, new_session
from .scripted import FailingSTT, ScriptedVAD
from .test_conversations import LONG, Clerk

SENTENCES = (
    "The first sentence is this one, to be read aloud. And here you have the second one of them. A third ends it."
)


async def ask_once(caller):
    await caller.ask_and_listen()


def failing() -> Answer:
    return Answer(error=APIConnectionError("down", retryable=False))


async def test_language_model_fallback(pipeline):
    """The first fails before it reports, the second serves, and the first is probed for recovery."""
    first = ScriptedLLM([failing(), Answer(text="Recovered."), Answer(text="Recovered.")], model="gpt-4.1-mini")
    second = ScriptedLLM([Answer(text="I stand in.")] * 3)
    stt_model, tts_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED), ScriptedTTS()
    pipeline.listen(first, second, stt_model, tts_model)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm.FallbackAdapter([first, second]), tts=tts_model), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


@pytest.mark.parametrize("streaming", [True, False])
async def test_speech_fallback(pipeline, streaming):
    down = APIConnectionError("down", retryable=False)
    first = ScriptedTTS(model="sonic-3-turbo", errors=[down] * 9, streaming=streaming)
    second = ScriptedTTS(streaming=streaming)
    stt_model, llm_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED), ScriptedLLM([Answer(text=SENTENCES)])
    pipeline.listen(first, second, stt_model, llm_model)
    session = new_session(stt=stt_model, llm=llm_model, tts=tts.FallbackAdapter([first, second]))

    await converse(session, Clerk(), ask_once)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert {span.attributes.get("gen_ai.response.model") for span in pipeline.named("tts_request")} >= {"sonic-3"}


async def test_stt_fallback_is_priced_by_the_model_that_transcribed(pipeline):
    """user_turn still names the model that failed."""
    down = APIConnectionError("down", retryable=False)
    first = FailingSTT([], error=down)
    second = ScriptedSTT(
        ["one", "two"], model="universal-streaming", provider="AssemblyAI", report_seconds=0.5, speed=SPEED
    )
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes.")] * 2), ScriptedTTS()
    pipeline.listen(first, second, llm_model, tts_model)

    async def script(caller):
        await asyncio.sleep(0.3)  # what is said before the second one takes over is lost
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    adapter = stt.FallbackAdapter([first, second], max_retry_per_stt=0)
    await converse(new_session(stt=adapter, llm=llm_model, tts=tts_model), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    turns = [span.attributes.get("gen_ai.response.model") for span in pipeline.named("user_turn")]
    assert "universal-streaming" in turns


async def test_a_sentence_at_a_time_through_the_stream_adapter(pipeline):
    stt_model, llm_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED), ScriptedLLM([Answer(text=SENTENCES)])
    tts_model = ScriptedTTS(streaming=False)
    pipeline.listen(stt_model, llm_model, tts_model)
    session = new_session(stt=stt_model, llm=llm_model, tts=tts.StreamAdapter(tts=tts_model))

    await converse(session, Clerk(), ask_once)

    assert_all_on_one_span(pipeline)
    assert len([s for s in pipeline.named("tts_request") if "voice_cost.usd" in s.attributes]) > 1


async def test_whole_utterances_through_the_stream_adapter(pipeline):
    """Speech-to-text that does not stream is billed as batch, per utterance."""
    stt_model = ScriptedSTT(["one", "two"], speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes.")] * 2), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)
    voice = ScriptedVAD()
    session = new_session(
        stt=stt.StreamAdapter(stt=stt_model, vad=voice), llm=llm_model, tts=tts_model, vad=voice, turn_detection="vad"
    )

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(session, Clerk(), script)

    heard = [span for span in pipeline.spans if span.attributes.get("voice_cost.component") == "stt"]
    reported = [metrics for metrics in pipeline.reported if metrics.type == "stt_metrics"]
    assert not any(metrics.streamed for metrics in reported)
    assert {span.attributes["voice_cost.rate"] for span in heard} == {"0.0043 USD per 60 audio_second"}
    whole_seconds = sum(span.attributes["voice_cost.quantity.audio_second"] for span in heard)
    assert whole_seconds == pytest.approx(sum(metrics.audio_duration for metrics in reported))
    assert_session_totals(pipeline)


async def test_a_retry_bills_what_was_reported(pipeline):
    """Failed attempts report nothing; the successful one does."""
    retried = Answer(error=APIConnectionError("again", retryable=True))
    stt_model = ScriptedSTT(["one"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([retried, Answer(text="Second try.")])
    tts_model = ScriptedTTS(errors=[APIConnectionError("again", retryable=True)])
    pipeline.listen(stt_model, llm_model, tts_model)

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), ask_once)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    runs = [span for span in pipeline.spans if span.name.endswith("_run")]
    assert len(runs) >= 4
    assert not any("voice_cost.usd" in span.attributes for span in runs)


async def test_sentences_built_on_streams_bill_once(pipeline):
    """xAI, Soniox and others make synthesize() with stream(): two spans, two events, one piece of work."""
    inner = ScriptedTTS()

    class OnStream(ScriptedTTS):
        async def speak(self, text, output):
            async with inner.stream() as stream:
                stream.push_text(text)
                stream.end_input()
                async for audio in stream:
                    output.push(audio.frame.data.tobytes())

    outer = OnStream(streaming=False)
    pipeline.listen(inner)  # what the outer one reports is the same work
    session = new_session(stt=ScriptedSTT([], speed=SPEED), llm=ScriptedLLM([]), tts=outer)
    pipeline.listen(session.stt)

    async def script(caller):
        async with outer.synthesize("Twenty-one characters") as stream:
            async for _ in stream:
                pass

    await converse(session, Clerk(), script)

    assert_all_on_one_span(pipeline)
    spoken = [span for span in pipeline.spans if span.attributes.get("voice_cost.component") == "tts"]
    assert [span.attributes["voice_cost.usd"] for span in spoken] == ["0.00105"]


async def test_an_interrupted_fallback(pipeline):
    """An interrupted sentence leaves its span open, below the adapter's span."""
    down = APIConnectionError("down", retryable=False)
    first, second = ScriptedTTS(errors=[down] * 9, streaming=False), ScriptedTTS(streaming=False)
    stt_model = ScriptedSTT(["tell me", "stop"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(text=LONG, chunk_seconds=0.05), Answer(text="OK.")])
    pipeline.listen(first, second, stt_model, llm_model)

    async def script(caller):
        await caller.ask()
        await caller.interrupt()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts.FallbackAdapter([first, second])), Clerk(), script)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
