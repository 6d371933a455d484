"""More scripted components: a realtime model, voice activity, failures."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, vad
from livekit.agents.metrics import LLMMetrics, RealtimeModelMetrics, STTMetrics
from livekit.agents.metrics.base import Metadata

from otel_voice_cost.testing.components import SAMPLE_RATE, ScriptedSTT

_ids = count(1)


def known_arguments(function: Any, **arguments: Any) -> dict[str, Any]:
    """Return the arguments that this release's function accepts."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


def realtime_report(request_id: str, *, model: str = "gpt-realtime", seconds: float = 0.0, scale: int = 1) -> Any:
    """RealtimeModelMetrics with cached text and audio, as in the OpenAI plugin."""
    audio, text, cached_audio, cached_text = 200 * scale, 104 * scale, 96 * scale, 64 * scale
    details = RealtimeModelMetrics.InputTokenDetails(
        audio_tokens=audio,
        text_tokens=text,
        image_tokens=0,
        cached_tokens=cached_audio + cached_text,
        cached_tokens_details=RealtimeModelMetrics.CachedTokenDetails(
            audio_tokens=cached_audio, text_tokens=cached_text, image_tokens=0
        ),
    )
    out = RealtimeModelMetrics.OutputTokenDetails(text_tokens=20 * scale, audio_tokens=80 * scale, image_tokens=0)
    return RealtimeModelMetrics(
        label="tests.ScriptedRealtime",
        request_id=request_id,
        timestamp=time.time(),
        duration=0.5,
        ttft=0.1,
        cancelled=False,
        input_tokens=audio + text,
        output_tokens=100 * scale,
        total_tokens=audio + text + 100 * scale,
        tokens_per_second=10.0,
        input_token_details=details,
        output_token_details=out,
        metadata=Metadata(model_name=model, model_provider="api.openai.com"),
        **known_arguments(RealtimeModelMetrics, session_duration=seconds),
    )


class ScriptedRealtime(llm.RealtimeModel):
    """A realtime model that says one sentence per reply.

    Args:
        metrics: What to report for each reply: ``matched``, ``late`` (after the turn), ``repeated`` (a second
            report for the same response), ``unmatched`` (an id no response has).
        closing: Metrics reported when the session closes.
    """

    def __init__(self, metrics: Sequence[str] = ("matched",), closing: Sequence[Any] = ()) -> None:
        names = ("message_truncation", "turn_detection", "user_transcription", "auto_tool_reply_generation")
        capabilities = {**dict.fromkeys(names, False), "manual_function_calls": False, "audio_output": True}
        super().__init__(
            capabilities=llm.RealtimeCapabilities(**known_arguments(llm.RealtimeCapabilities, **capabilities))
        )
        self.metrics, self.closing = list(metrics), list(closing)
        self.reported: list[Any] = []

    @property
    def model(self) -> str:
        return "gpt-realtime"

    @property
    def provider(self) -> str:
        return "api.openai.com"

    def session(self, **_: Any) -> llm.RealtimeSession:
        return _RealtimeSession(self)

    async def aclose(self) -> None:
        pass


class _RealtimeSession(llm.RealtimeSession):
    def __init__(self, model: ScriptedRealtime) -> None:
        super().__init__(model)
        self._scripted = model
        self._chat_ctx = llm.ChatContext.empty()
        self._tools = llm.ToolContext.empty()
        self._tasks: list[asyncio.Task[None]] = []

    chat_ctx = property(lambda self: self._chat_ctx)
    tools = property(lambda self: self._tools)

    async def update_instructions(self, instructions: str) -> None:
        pass

    async def update_chat_ctx(self, chat_ctx: Any) -> None:
        self._chat_ctx = chat_ctx

    async def update_tools(self, tools: Any) -> None:
        pass

    def update_options(self, **_: Any) -> None:
        pass

    def push_audio(self, frame: Any) -> None:
        pass

    def push_video(self, frame: Any) -> None:
        pass

    def commit_audio(self) -> None:
        pass

    def clear_audio(self) -> None:
        pass

    def interrupt(self) -> None:
        pass

    def truncate(self, **_: Any) -> None:
        pass

    def report(self, metrics: Any) -> None:
        self._scripted.reported.append(metrics.model_copy(deep=True))
        self.emit("metrics_collected", metrics)

    def generate_reply(self, **_: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        future: asyncio.Future[llm.GenerationCreatedEvent] = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._reply(future)))
        return future

    async def _reply(self, future: asyncio.Future[llm.GenerationCreatedEvent]) -> None:
        response_id = f"resp-{next(_ids)}"
        modalities: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        modalities.set_result(["audio", "text"])

        async def texts() -> Any:
            yield "Hello there."

        async def frames() -> Any:
            for _ in range(4):
                yield rtc.AudioFrame(bytes(2 * 1_600), SAMPLE_RATE, 1, 1_600)
            ids = {"matched": response_id, "repeated": response_id, "unmatched": f"completion-{next(_ids)}"}
            for kind in self._scripted.metrics:
                if kind in ids:
                    self.report(realtime_report(ids[kind], scale=list(ids).index(kind) + 1))

        async def messages() -> Any:
            yield llm.MessageGeneration(
                message_id=f"item-{next(_ids)}", text_stream=texts(), audio_stream=frames(), modalities=modalities
            )

        async def calls() -> Any:
            return
            yield

        generation = llm.GenerationCreatedEvent(
            message_stream=messages(),
            function_stream=calls(),
            user_initiated=True,
            **known_arguments(llm.GenerationCreatedEvent, response_id=response_id),
        )
        self.emit("generation_created", generation)
        future.set_result(generation)
        if "late" in self._scripted.metrics:
            await asyncio.sleep(0.5)  # the turn is over by then
            self.report(realtime_report(response_id))

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks)
        for metrics in self._scripted.closing:
            self.report(metrics)


def backend_report() -> Any:
    """LLMMetrics that a realtime session passes on: a backend model that does its reasoning."""
    return LLMMetrics(
        label="tests.Backend",
        request_id="backend-1",
        timestamp=time.time(),
        duration=1.0,
        ttft=0.2,
        cancelled=False,
        completion_tokens=30,
        prompt_tokens=500,
        prompt_cached_tokens=100,
        total_tokens=530,
        tokens_per_second=30.0,
        metadata=Metadata(model_name="gpt-4.1-mini", model_provider="api.openai.com"),
    )


def transcription_report() -> Any:
    """STTMetrics that a realtime session reports for the transcription of its input."""
    return STTMetrics(
        label="tests.Transcription",
        request_id="stt-1",
        timestamp=time.time(),
        duration=0.0,
        audio_duration=7.5,
        streamed=True,
        metadata=Metadata(model_name="nova-3", model_provider="Deepgram"),
    )


class FailingSTT(ScriptedSTT):
    """Fails on its first streams, after it has reported its usage."""

    def __init__(self, *args: Any, failures: int = 1_000, error: Exception, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failures, self.error = failures, error

    def stream(self, **options: Any) -> stt.RecognizeStream:
        return _failing(super().stream(**options), self)


def _failing(stream: Any, failing: FailingSTT) -> Any:
    run = stream._run

    async def _run() -> None:
        if failing.failures <= 0:
            return await run()
        failing.failures -= 1
        usage = failing.event(stt.SpeechEventType.RECOGNITION_USAGE)
        usage.recognition_usage = stt.RecognitionUsage(audio_duration=0.35)
        stream._event_ch.send_nowait(usage)
        await asyncio.sleep(0)
        raise failing.error

    stream._run = _run
    return stream


class ScriptedVAD(vad.VAD):
    """Voice activity by loudness."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.1))

    def stream(self) -> vad.VADStream:
        return _Activity(self)


class _Activity(vad.VADStream):
    async def _main_task(self) -> None:
        speech: list[rtc.AudioFrame] = []
        silent = 0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            if any(frame.data):
                if not speech:
                    self._event(vad.VADEventType.START_OF_SPEECH, [])
                speech.append(frame)
                silent = 0
            elif speech and (silent := silent + 1) == 6:
                self._event(vad.VADEventType.END_OF_SPEECH, speech)
                speech = []

    def _event(self, kind: Any, frames: list[rtc.AudioFrame]) -> None:
        fields = {
            name: 0.0
            for name in ("timestamp", "speech_duration", "silence_duration", "samples_index")
            if name in inspect.signature(vad.VADEvent).parameters
        }
        self._event_ch.send_nowait(vad.VADEvent(type=kind, frames=frames, **fields))
