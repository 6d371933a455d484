"""Scripted speech-to-text, language model and text-to-speech on Pipecat's base classes.

They receive and create real frames and report usage as the services of Deepgram, OpenAI and Cartesia do: same provider
and model names, same times. Each meters the work that it was asked to do. Nothing leaves the process.

Source:
    pipecat-ai 1.14.0: ``services/deepgram/stt.py`` (a report before each final transcript, and one at the end),
    ``services/openai/base_llm.py`` (one report, when the answer is complete), ``services/cartesia/tts.py`` (one report
    for each text that is sent).
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import fields
from decimal import Decimal
from functools import lru_cache
from itertools import count
from typing import Any

from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.utils.time import time_now_iso8601
from pipecat.utils.tracing.service_decorators import traced_llm, traced_stt, traced_tts

from ...usage import Component, Unit
from ..answers import Answer
from .telephone import FRAME_SECONDS, is_loud, tone

__all__ = ["ScriptedLLM", "ScriptedSTT", "ScriptedTTS"]

_PAUSE_FRAMES = 5  # silent frames that end an utterance
_STT_SECONDS = 0.25  # longest time for a transcript
_SAMPLE_BYTES = 2
_ids = count(1)


@lru_cache
def _named_after(provider: str, base: type[Any], kind: str) -> type[Any]:
    """Return a subclass with the name of a provider's service, which is the provider on Pipecat's spans."""
    return type(f"{provider}{kind}", (base,), {"__module__": base.__module__})


class ScriptedSTT(STTService):
    """Detects speech by loudness and transcribes by script; reports audio as Deepgram's service does.

    Args:
        lines: Transcripts, one per utterance.
        model: As reported.
        provider: As reported, in the case of Pipecat's class names.
        options: Further arguments of ``STTService``.

    Attributes:
        component: Speech-to-text.
        metered: The audio that it got, in seconds.
    """

    component = Component.STT

    def __new__(cls: Any, *_: Any, provider: str = "Deepgram", **__: Any) -> Any:
        return super().__new__(_named_after(provider, cls, "STTService"))

    def __init__(
        self, lines: Sequence[str], *, model: str = "nova-3", provider: str = "Deepgram", **options: Any
    ) -> None:
        settings = STTSettings(model=model, language="en")
        super().__init__(**{"ttfs_p99_latency": _STT_SECONDS, "settings": settings, **options})
        self.lines = deque(lines)
        self.model, self.provider = model, provider
        self.metered: dict[Unit, Decimal] = {Unit.AUDIO_SECOND: Decimal(0)}
        self._is_heard, self._silent_frames = False, 0

    def can_generate_metrics(self) -> bool:
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        self.metered[Unit.AUDIO_SECOND] += Decimal(len(audio)) / (_SAMPLE_BYTES * self.sample_rate)
        if is_loud(audio):
            self._is_heard, self._silent_frames = True, 0
        elif self._is_heard:
            self._silent_frames += 1
            if self._silent_frames == _PAUSE_FRAMES:
                self._is_heard = False
                await self._transcribe()
        yield None

    async def _transcribe(self) -> None:
        text = self.lines.popleft() if self.lines else ""
        if not text:
            return
        await self.emit_stt_usage_metrics()  # first, so that Pipecat puts it on the span that the transcript ends
        self.request_finalize()
        self.confirm_finalize()
        await self.push_frame(TranscriptionFrame(text, "", time_now_iso8601()))
        await self._handle_transcription(text, is_final=True)

    @traced_stt
    async def _handle_transcription(self, transcript: str, is_final: bool, language: Any = None) -> None:  # noqa: FBT001
        """Mark the class for Pipecat's tracing, which opens and ends the spans."""


class ScriptedLLM(LLMService):
    """Answers by script, word for word, with the usage at the end.

    Args:
        answers: One per request.
        model: As reported.
        provider: As reported, in the case of Pipecat's class names.
        instructions: The system instruction.
        speed: Words per real time, times those of the answers.
        options: Further arguments of ``LLMService``.

    Attributes:
        component: Language model.
        metered: The tokens of the answers that it gave to their end.
    """

    component = Component.LLM

    def __new__(cls: Any, *_: Any, provider: str = "OpenAI", **__: Any) -> Any:
        return super().__new__(_named_after(provider, cls, "LLMService"))

    def __init__(
        self,
        answers: Sequence[Answer],
        *,
        model: str = "gpt-4.1-mini",
        provider: str = "OpenAI",
        instructions: str | None = None,
        speed: float = 1.0,
        **options: Any,
    ) -> None:
        unset: dict[str, Any] = {field.name: None for field in fields(LLMSettings) if field.name != "extra"}
        settings = LLMSettings(
            **{**unset, "model": model, "system_instruction": instructions, "filter_incomplete_user_turns": False}
        )
        super().__init__(**{"settings": settings, **options})
        self.answers = deque(answers)
        self.model, self.provider, self.speed = model, provider, speed
        self.metered: dict[Unit, Decimal] = {}

    def can_generate_metrics(self) -> bool:
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            await self._process_context(frame.context)
        except Exception as error:  # noqa: BLE001  # Pipecat's services push an error frame too
            await self.push_error(error_msg=str(error), exception=error)
        finally:
            await self.push_frame(LLMFullResponseEndFrame())

    @traced_llm
    async def _process_context(self, context: LLMContext) -> None:
        answer = self.answers.popleft() if self.answers else Answer(text="Goodbye.")
        if answer.error is not None:
            raise answer.error
        for word in answer.text.split():
            await asyncio.sleep(answer.chunk_seconds / self.speed)
            await self._push_llm_text(word + " ")
        self._meter(answer)
        await self.start_llm_usage_metrics(
            LLMTokenUsage(
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                total_tokens=answer.prompt_tokens + answer.completion_tokens,
                cache_read_input_tokens=answer.cached_tokens,
            )
        )
        if answer.tool is not None:
            call = FunctionCallFromLLM(
                context=context,
                tool_call_id=f"call-{next(_ids)}",
                function_name=answer.tool.name,
                arguments=json.loads(answer.tool.arguments),
            )
            await self.run_function_calls([call])

    def _meter(self, answer: Answer) -> None:
        for unit, tokens in (
            (Unit.INPUT_TOKEN, answer.prompt_tokens - answer.cached_tokens),
            (Unit.CACHED_INPUT_TOKEN, answer.cached_tokens),
            (Unit.OUTPUT_TOKEN, answer.completion_tokens),
        ):
            if tokens:
                self.metered[unit] = self.metered.get(unit, Decimal(0)) + tokens


class ScriptedTTS(TTSService):
    """Speaks a tone of fixed length per character, each sentence in one request.

    Args:
        model: As reported.
        provider: As reported, in the case of Pipecat's class names.
        seconds_per_character: Seconds of audio.
        frame_delay: Seconds of real time that it takes to make a frame of audio.
        options: Further arguments of ``TTSService``.

    Attributes:
        component: Text-to-speech.
        metered: The characters that it was sent.
    """

    component = Component.TTS

    def __new__(cls: Any, *_: Any, provider: str = "Cartesia", **__: Any) -> Any:
        return super().__new__(_named_after(provider, cls, "TTSService"))

    def __init__(
        self,
        *,
        model: str = "sonic-3",
        provider: str = "Cartesia",
        seconds_per_character: float = 0.05,
        frame_delay: float = 0.0,
        **options: Any,
    ) -> None:
        settings = TTSSettings(model=model, voice="scripted", language="en")
        super().__init__(
            **{"push_start_frame": True, "push_stop_frames": True, "settings": settings, **options},
        )
        self.seconds_per_character, self.frame_delay = seconds_per_character, frame_delay
        self.model, self.provider = model, provider
        self.metered: dict[Unit, Decimal] = {Unit.CHARACTER: Decimal(0)}

    def can_generate_metrics(self) -> bool:
        return True

    @traced_tts
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        self.metered[Unit.CHARACTER] += len(text)
        await self.start_tts_usage_metrics(text)
        for _ in range(math.ceil(len(text) * self.seconds_per_character / FRAME_SECONDS)):
            yield TTSAudioRawFrame(tone(self.sample_rate), self.sample_rate, 1, context_id=context_id)
            await asyncio.sleep(self.frame_delay)
