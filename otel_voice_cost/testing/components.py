"""Scripted speech-to-text, language model and text-to-speech on LiveKit's base classes.

They receive and create real audio frames and report usage as the Deepgram, OpenAI and Cartesia
plugins do: same provider and model names, same times. Nothing leaves the process.

Source:
    livekit-plugins-deepgram 1.8.9, ``stt.py`` (a report every 5 seconds, and the rest of the connection
    time at its close); livekit-plugins-openai 1.8.9, ``llm.py`` (usage in the last chunk, cached
    tokens included in the prompt's); livekit-plugins-cartesia 1.8.9, ``tts.py`` (streaming, by character).
"""

from __future__ import annotations

import array
import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice import io

from .answers import Answer, ToolCall

__all__ = ["Answer", "Microphone", "ScriptedLLM", "ScriptedSTT", "ScriptedTTS", "Speaker", "ToolCall"]

SAMPLE_RATE = 16_000
FRAME_SECONDS = 0.05
_FRAME_SAMPLES = int(SAMPLE_RATE * FRAME_SECONDS)
_TONE = array.array(
    "h", (int(8_000 * math.sin(2 * math.pi * 220 * i / SAMPLE_RATE)) for i in range(_FRAME_SAMPLES))
).tobytes()
_SILENCE = bytes(2 * _FRAME_SAMPLES)
_PAUSE_FRAMES = 6  # silent frames that end an utterance
_ids = count(1)


class Microphone(io.AudioInput):
    """The caller's audio in real time: silence, and a tone while the caller speaks.

    Args:
        speed: Seconds of audio per second of real time.
        silence_seconds: Seconds of silence after each speech, and then no audio, as of a muted microphone, so that
            the audio of a call does not depend on the clock; None for silence without an end.
    """

    def __init__(self, *, speed: float = 1.0, silence_seconds: float | None = None) -> None:
        super().__init__(label="microphone")
        self._pace = FRAME_SECONDS / speed
        self._pause_frames = math.inf if silence_seconds is None else round(silence_seconds / FRAME_SECONDS)
        self._silent_frames = math.inf if silence_seconds is None else 0
        self._speech_frames = 0
        self._next_at = 0.0
        self._hung_up = False

    def speak(self, seconds: float) -> None:
        """Speak for some seconds, starting with the next frame."""
        self._speech_frames = round(seconds / FRAME_SECONDS)
        self._silent_frames = self._pause_frames

    def hang_up(self) -> None:
        """End the audio."""
        self._hung_up = True

    async def __anext__(self) -> rtc.AudioFrame:
        while not self._hung_up:
            now = time.monotonic()
            self._next_at = max(self._next_at + self._pace, now)
            await asyncio.sleep(self._next_at - now)
            if self._speech_frames > 0:
                self._speech_frames -= 1
                return rtc.AudioFrame(_TONE, SAMPLE_RATE, 1, _FRAME_SAMPLES)
            if self._silent_frames > 0:
                self._silent_frames -= 1
                return rtc.AudioFrame(_SILENCE, SAMPLE_RATE, 1, _FRAME_SAMPLES)
        raise StopAsyncIteration


class Speaker(io.AudioOutput):
    """The agent's audio, played in real time; can be interrupted."""

    def __init__(self, *, speed: float = 1.0) -> None:
        super().__init__(label="speaker", capabilities=io.AudioOutputCapabilities(pause=False))
        self._speed = speed
        self._started_at = 0.0
        self._seconds = 0.0
        self._end: asyncio.TimerHandle | None = None
        self.interrupted = False  # True if playback was stopped

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._seconds:
            self._started_at = time.monotonic()
            started = getattr(self, "on_playback_started", None)  # new in 1.4
            if started is not None:
                started(created_at=time.time())
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._seconds:
            left = self._seconds / self._speed - (time.monotonic() - self._started_at)
            self._end = asyncio.get_running_loop().call_later(max(0.0, left), self._finish)

    def clear_buffer(self) -> None:
        self.interrupted = True
        if self._end is not None:
            self._end.cancel()
        if self._seconds:
            self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool = False) -> None:
        played = min(self._seconds, (time.monotonic() - self._started_at) * self._speed)
        self._seconds, self._end = 0.0, None
        self.on_playback_finished(playback_position=played, interrupted=interrupted, synchronized_transcript=None)


class ScriptedSTT(stt.STT[str]):
    """Detects speech by loudness and transcribes by script; reports audio as Deepgram's plugin does.

    Args:
        lines: Transcripts, one per utterance.
        model: As reported.
        provider: As reported.
        report_seconds: Seconds of audio per periodic report.
        overhead_seconds: Connection time beyond the audio, reported when it closes.
        speed: Pace of the `Microphone`.
        capabilities: Further capabilities of LiveKit's ``STTCapabilities``.
    """

    def __init__(
        self,
        lines: Sequence[str],
        *,
        model: str = "nova-3",
        provider: str = "Deepgram",
        report_seconds: float = 5.0,
        overhead_seconds: float = 0.25,
        speed: float = 1.0,
        **capabilities: Any,
    ) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True, **capabilities))
        self.lines = deque(lines)
        self.report_seconds = report_seconds
        self.overhead_seconds = overhead_seconds
        self._model, self._provider, self.speed = model, provider, speed

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return self._provider

    def update_options(self, *, model: str, provider: str) -> None:
        """Change what is reported from now on."""
        self._model, self._provider = model, provider

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        return self.event(stt.SpeechEventType.FINAL_TRANSCRIPT, self.lines.popleft() if self.lines else "")

    def event(self, kind: stt.SpeechEventType, text: str = "") -> stt.SpeechEvent:
        """Return an event with one alternative."""
        data = [stt.SpeechData(language="en", text=text, confidence=1.0)] if text else []  # type: ignore[arg-type]
        return stt.SpeechEvent(type=kind, request_id=f"stt-{next(_ids)}", alternatives=data)

    def stream(self, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any) -> stt.RecognizeStream:
        return _Hearing(stt=self, conn_options=conn_options, sample_rate=SAMPLE_RATE)


class _Hearing(stt.RecognizeStream):
    async def _run(self) -> None:
        scripted: ScriptedSTT = self._stt  # type: ignore[assignment]
        unreported = 0.0
        silent, text = _PAUSE_FRAMES, ""
        try:
            async for frame in self._input_ch:
                if not isinstance(frame, rtc.AudioFrame):
                    continue
                unreported += frame.duration
                if unreported >= scripted.report_seconds:
                    self._report(unreported)
                    unreported = 0.0
                if any(frame.data):
                    if not text and scripted.lines:
                        text = scripted.lines.popleft()
                        self._say(stt.SpeechEventType.START_OF_SPEECH)
                        self._say(stt.SpeechEventType.INTERIM_TRANSCRIPT, text)
                    silent = 0
                elif text and (silent := silent + 1) == _PAUSE_FRAMES:
                    self._say(stt.SpeechEventType.FINAL_TRANSCRIPT, text)
                    self._say(stt.SpeechEventType.END_OF_SPEECH)
                    text = ""
        finally:
            self._report(unreported + scripted.overhead_seconds)

    def _say(self, kind: stt.SpeechEventType, text: str = "") -> None:
        self._event_ch.send_nowait(self._stt.event(kind, text))  # type: ignore[attr-defined]

    def _report(self, seconds: float) -> None:
        event = self._stt.event(stt.SpeechEventType.RECOGNITION_USAGE)  # type: ignore[attr-defined]
        event.recognition_usage = stt.RecognitionUsage(audio_duration=round(seconds, 3))
        self._event_ch.send_nowait(event)


class ScriptedLLM(llm.LLM[str]):
    """Answers by script, word for word, with the usage in the last chunk."""

    def __init__(
        self,
        answers: Sequence[Answer],
        *,
        model: str = "gpt-4.1-mini",
        provider: str = "api.openai.com",
        speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.answers = deque(answers)
        self._model, self._provider, self.speed = model, provider, speed

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return self._provider

    def chat(
        self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any
    ) -> llm.LLMStream:
        return _Answering(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Answering(llm.LLMStream):
    async def _run(self) -> None:
        scripted: ScriptedLLM = self._llm  # type: ignore[assignment]
        answer = scripted.answers.popleft() if scripted.answers else Answer(text="Goodbye.")
        if answer.error is not None:
            raise answer.error
        chunk_id = f"chatcmpl-{next(_ids)}"
        for word in answer.text.split():
            await asyncio.sleep(answer.chunk_seconds / scripted.speed)
            self._event_ch.send_nowait(
                llm.ChatChunk(id=chunk_id, delta=llm.ChoiceDelta(role="assistant", content=word + " "))
            )
        if answer.tool is not None:
            call = llm.FunctionToolCall(
                name=answer.tool.name, arguments=answer.tool.arguments, call_id=f"call-{next(_ids)}"
            )
            self._event_ch.send_nowait(
                llm.ChatChunk(id=chunk_id, delta=llm.ChoiceDelta(role="assistant", tool_calls=[call]))
            )
        usage = llm.CompletionUsage(
            completion_tokens=answer.completion_tokens,
            prompt_tokens=answer.prompt_tokens,
            prompt_cached_tokens=answer.cached_tokens,
            total_tokens=answer.prompt_tokens + answer.completion_tokens,
        )
        self._event_ch.send_nowait(llm.ChatChunk(id=chunk_id, usage=usage))


class ScriptedTTS(tts.TTS[str]):
    """Speaks a tone of fixed length per character; streams as Cartesia's plugin does, or sends whole sentences."""

    def __init__(
        self,
        *,
        model: str = "sonic-3",
        provider: str = "Cartesia",
        streaming: bool = True,
        seconds_per_character: float = 0.05,
        frame_delay: float = 0.0,
        errors: Sequence[Exception] = (),
    ) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=streaming), sample_rate=SAMPLE_RATE, num_channels=1)
        self._model, self._provider = model, provider
        self.seconds_per_character, self.frame_delay = seconds_per_character, frame_delay
        self.errors = deque(errors)

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return self._provider

    def update_options(self, *, model: str) -> None:
        """Change what is reported from now on."""
        self._model = model

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> tts.ChunkedStream:
        return _Sentence(tts=self, input_text=text, conn_options=conn_options)

    def stream(self, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        return _Speech(tts=self, conn_options=conn_options)

    async def speak(self, text: str, output: tts.AudioEmitter) -> None:
        """Push the audio of a text, frame by frame."""
        if self.errors:
            raise self.errors.popleft()
        for _ in range(math.ceil(len(text) * self.seconds_per_character / FRAME_SECONDS)):
            output.push(_TONE)
            await asyncio.sleep(self.frame_delay)


class _Sentence(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=f"tts-{next(_ids)}", sample_rate=SAMPLE_RATE, num_channels=1, mime_type="audio/pcm"
        )
        await self._tts.speak(self._input_text, output_emitter)  # type: ignore[attr-defined]
        output_emitter.flush()


class _Speech(tts.SynthesizeStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=f"tts-{next(_ids)}", sample_rate=SAMPLE_RATE, num_channels=1, mime_type="audio/pcm", stream=True
        )
        output_emitter.start_segment(segment_id=f"segment-{next(_ids)}")
        text = ""
        async for part in self._input_ch:
            if isinstance(part, str):
                self._mark_started()
                text += part
                await self._tts.speak(part, output_emitter)  # type: ignore[attr-defined]
        output_emitter.end_segment()
