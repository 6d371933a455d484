"""Application classes that wrap a model: they report its usage again, and it is billed once."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import llm, stt, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from .harness import SPEED, assert_all_on_one_span, assert_session_totals, converse, new_session
from .test_conversations import Clerk


class LoggingSTT(stt.STT):
    """Passes on the events of another, including usage, in a separate stream."""

    def __init__(self, inner: ScriptedSTT) -> None:
        super().__init__(capabilities=inner.capabilities)
        self.inner = inner

    async def _recognize_impl(self, buffer, **options):
        return await self.inner.recognize(buffer)

    def stream(self, *, conn_options=DEFAULT_API_CONNECT_OPTIONS, **_):
        return _PassingOn(stt=self, conn_options=conn_options)


class _PassingOn(stt.RecognizeStream):
    async def _run(self) -> None:
        async with self._stt.inner.stream() as inner:
            feeding = asyncio.create_task(self._feed(inner))
            try:
                async for event in inner:
                    self._event_ch.send_nowait(event)
            finally:
                await utils.aio.cancel_and_wait(feeding)

    async def _feed(self, inner) -> None:
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                inner.flush()
            else:
                inner.push_frame(frame)
        inner.end_input()


class CopyingSTT(ScriptedSTT):
    """Transcribes through another's stream, and emits a changed copy of its metrics under its own name."""

    def __init__(self, inner: ScriptedSTT) -> None:
        super().__init__([])
        self.inner = inner
        inner.on("metrics_collected", self._copy)

    def _copy(self, metrics) -> None:
        self.emit("metrics_collected", metrics.model_copy(update={"label": "app.CopyingSTT"}))

    def stream(self, **options):
        return self.inner.stream(**options)


class LoggingLLM(llm.LLM):
    """Passes on the chunks of another, including usage, in a separate stream."""

    def __init__(self, inner: ScriptedLLM) -> None:
        super().__init__()
        self.inner = inner

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def provider(self) -> str:
        return self.inner.provider

    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **_):
        return _Chunks(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Chunks(llm.LLMStream):
    async def _run(self) -> None:
        async with self._llm.inner.chat(chat_ctx=self._chat_ctx, tools=self._tools) as inner:
            async for chunk in inner:
                self._event_ch.send_nowait(chunk)


class TwoStepLLM(LoggingLLM):
    """Calls another model first, then reports its own usage: both are billed."""

    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **_):
        return _TwoSteps(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _TwoSteps(llm.LLMStream):
    async def _run(self) -> None:
        async with self._llm.inner.chat(chat_ctx=self._chat_ctx, tools=self._tools) as inner:
            async for chunk in inner:
                if chunk.usage is None:
                    self._event_ch.send_nowait(chunk)
        usage = llm.CompletionUsage(completion_tokens=7, prompt_tokens=70, total_tokens=77)
        self._event_ch.send_nowait(llm.ChatChunk(id="of-its-own", usage=usage))


class NamelessSTT(ScriptedSTT):
    """Reports no request id, like the plugins of AWS, AssemblyAI, Azure and others."""

    def event(self, kind, text=""):
        event = super().event(kind, text)
        event.request_id = ""
        return event


async def two_questions(caller):
    await caller.ask_and_listen()
    await caller.ask_and_listen()


@pytest.mark.parametrize("inside", [ScriptedSTT, NamelessSTT])
@pytest.mark.parametrize("around", [LoggingSTT, CopyingSTT])
async def test_a_class_that_wraps_speech_to_text_is_billed_once(pipeline, around, inside):
    stt_model = inside(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes.")] * 2), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)

    await converse(new_session(stt=around(stt_model), llm=llm_model, tts=tts_model), Clerk(), two_questions)

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_a_class_that_wraps_a_language_model_is_billed_once(pipeline):
    stt_model, tts_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED), ScriptedTTS()
    llm_model = ScriptedLLM([Answer(text="Yes."), Answer(text="No.", prompt_tokens=150)])
    pipeline.listen(stt_model, llm_model, tts_model)

    await converse(new_session(stt=stt_model, llm=LoggingLLM(llm_model), tts=tts_model), Clerk(), two_questions)

    assert len(pipeline.named("llm_request")) == 4
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_a_class_that_wraps_two_requests_also_bills_its_own_usage(pipeline):
    stt_model, tts_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED), ScriptedTTS()
    llm_model = ScriptedLLM([Answer(text="Yes."), Answer(text="No.", prompt_tokens=150)])
    outer = TwoStepLLM(llm_model)
    pipeline.listen(stt_model, llm_model, tts_model, outer)

    await converse(new_session(stt=stt_model, llm=outer, tts=tts_model), Clerk(), two_questions)

    assert len(pipeline.named("llm_request")) == 4
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
