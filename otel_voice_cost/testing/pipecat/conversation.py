"""A scripted call with a real PipelineWorker, faster than real time.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``pipeline/worker.py``, ``workers/runner.py``,
    ``processors/aggregators/llm_response_universal.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.frames.frames import BotStartedSpeakingFrame, BotStoppedSpeakingFrame, EndFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from .telephone import LoudnessVAD, Microphone, Speaker

__all__ = ["Caller", "converse", "new_worker"]

_SPEECH_SECONDS = 0.75
_PAUSE_SECONDS = 0.75  # of audio, in which the turn ends
_TURN_SECONDS = 0.05  # of real time


class Caller:
    """Speaks to a pipeline through a microphone and listens to its speaker.

    Attributes:
        microphone: The first processor of the pipeline.
        speaker: The output of the pipeline.
    """

    def __init__(self, speed: float = 10.0, patience_seconds: float = 10.0) -> None:
        """Create both ends of the call.

        Args:
            speed: Seconds of audio per second of real time.
            patience_seconds: Longest wait for each reaction of the bot.
        """
        self.microphone, self.speaker = Microphone(speed=speed), Speaker(speed=speed)
        self._patience_seconds = patience_seconds
        self._worker: PipelineWorker | None = None

    @property
    def hears_bot(self) -> bool:
        """True while the bot speaks."""
        return self._started > self._stopped

    async def connect(self, worker: PipelineWorker) -> None:
        """Wait until a running pipeline has started."""
        self._worker = worker
        await asyncio.wait_for(self.microphone.is_ready.wait(), self._patience_seconds)

    async def ask(self, seconds: float = _SPEECH_SECONDS) -> None:
        """Speak, and wait until the bot answers. If it speaks, this interrupts it."""
        started = self._started
        await self.microphone.speak(seconds)
        await self.microphone.be_silent(_PAUSE_SECONDS)
        await self._until(lambda: self._started > started)

    async def ask_and_listen(self, seconds: float = _SPEECH_SECONDS) -> None:
        """Speak, and wait for the end of the answer."""
        await self.ask(seconds)
        await self.listen()

    async def hear_answer(self) -> None:
        """Wait until the bot speaks for the first time, and listen."""
        await self._until(lambda: self._started > 0)
        await self.listen()

    async def listen(self) -> None:
        """Wait until the bot, which is speaking or about to, has stopped."""
        await self._until(lambda: self._started == self._stopped)

    async def be_greeted(self, text: str) -> None:
        """Let the bot say a text, and listen."""
        started = self._started
        await self._frames(TTSSpeakFrame(text))
        await self._until(lambda: self._started > started)
        await self.listen()

    async def hang_up(self) -> None:
        """End the pipeline."""
        await self._frames(EndFrame())

    @property
    def _started(self) -> int:
        return self.speaker.count(BotStartedSpeakingFrame)

    @property
    def _stopped(self) -> int:
        return self.speaker.count(BotStoppedSpeakingFrame)

    async def _until(self, condition: Callable[[], bool]) -> None:
        await self.speaker.until(condition, self._patience_seconds)

    async def _frames(self, *frames: Any) -> None:
        assert self._worker is not None, "converse() connects the caller"
        await self._worker.queue_frames(frames)


def new_worker(
    caller: Caller,
    stt: FrameProcessor,
    llm: FrameProcessor,
    tts: FrameProcessor,
    *,
    context: LLMContext | None = None,
    **options: Any,
) -> PipelineWorker:
    """Return a traced worker of a usual pipeline, with minimal delays and turn detection by loudness.

    Args:
        caller: Not connected yet.
        stt: Speech-to-text.
        llm: Language model.
        tts: Text-to-speech.
        context: Messages and tools to begin with.
        options: Further arguments of ``PipelineWorker``.
    """
    strategies = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=_TURN_SECONDS)])
    user, assistant = LLMContextAggregatorPair(
        context or LLMContext(),
        user_params=LLMUserAggregatorParams(vad_analyzer=LoudnessVAD(), user_turn_strategies=strategies),
    )
    pipeline = Pipeline([caller.microphone, stt, user, llm, tts, caller.speaker, assistant])
    return PipelineWorker(pipeline, **{"enable_tracing": True, **options})


async def converse(worker: PipelineWorker, caller: Caller, script: Callable[[Caller], Awaitable[None]]) -> None:
    """Run a pipeline, follow the script, hang up.

    Args:
        worker: From `new_worker`, or a custom one with the caller's microphone and speaker in its pipeline.
        caller: The caller.
        script: The caller's actions.
    """
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    try:
        await caller.connect(worker)
        await script(caller)
        await caller.hang_up()
    except BaseException:
        await worker.cancel()
        raise
    finally:
        await running
