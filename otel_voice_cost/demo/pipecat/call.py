"""The call: three questions, a tool call and an interruption, on a real PipelineWorker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipecat.frames.frames import BotStartedSpeakingFrame, UserStartedSpeakingFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.llm_service import FunctionCallParams

from ...testing.pipecat import Caller, ScriptedLLM, ScriptedSTT, ScriptedTTS, converse, new_worker
from ...testing.pipecat.telephone import FRAME_SECONDS
from ...usage import Unit
from ..report import Meter
from ..script import ANSWERS, GREETING, HEARD, INSTRUCTIONS, INTERRUPTED, INTERRUPTED_ANSWER, ORDER

__all__ = ["Desk"]

_SPEECH_SECONDS, _SILENCE_SECONDS = 1.5, 0.75  # of each utterance; the silence ends it
_LISTENING_SECONDS = 2.0  # until the caller interrupts
_LLM_SPEED = 20.0  # an answer is complete before the caller interrupts it
_PATIENCE_SECONDS = 30.0
_TIMES_FASTER = 2  # than speech is a voice's synthesis, so that the caller cuts in while it goes on


class Desk:
    """The bot.

    Attributes:
        meters: Its components, which count what they are asked to do.
    """

    def __init__(self, *, speed: float = 8.0) -> None:
        """Set the bot up.

        Args:
            speed: Seconds of audio per second of real time.
        """
        self._speed = speed
        self._stt = ScriptedSTT(HEARD)
        self._llm = ScriptedLLM(ANSWERS, instructions=INSTRUCTIONS, speed=_LLM_SPEED)
        self._tts = ScriptedTTS(frame_delay=FRAME_SECONDS / _TIMES_FASTER / speed)
        self.meters: list[Meter] = [self._stt, self._llm, self._tts]

    async def hold_call(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Run the call to its end.

        Its usage does not depend on the clock: the microphone sends nothing between the utterances, and the caller
        interrupts an answer that the voice was sent completely.

        Args:
            progress: Called with progress messages.
        """

        async def call(caller: Caller) -> None:
            progress("The agent greets")
            await caller.be_greeted(GREETING)
            for number in range(len(HEARD)):
                progress(f"The caller speaks, {number + 1} of {len(HEARD)}")
                await _ask(caller)
                if number == INTERRUPTED:
                    await self._until_sent(GREETING, *(answer.text for answer in ANSWERS[:INTERRUPTED_ANSWER]))
                    await asyncio.sleep(_LISTENING_SECONDS / self._speed)
                else:
                    await caller.listen()
            progress("The caller hangs up")

        caller = Caller(speed=self._speed, patience_seconds=_PATIENCE_SECONDS)
        context = LLMContext(tools=[find_order])
        worker = new_worker(caller, self._stt, self._llm, self._tts, context=context, conversation_id="demo")
        await converse(worker, caller, call)

    async def _until_sent(self, *texts: str) -> None:
        """Wait until the voice was sent these texts. It counts the spaces between some sentences, and not all."""
        letters = len("".join("".join(texts).split()))
        while self._tts.metered[Unit.CHARACTER] < letters:
            await asyncio.sleep(0.01)


async def _ask(caller: Caller) -> None:
    """Speak, and wait for an answer. Silence follows when the turn has begun, so that it has the transcript."""
    speaker = caller.speaker
    turns, answers = speaker.count(UserStartedSpeakingFrame), speaker.count(BotStartedSpeakingFrame)
    await caller.microphone.speak(_SPEECH_SECONDS)
    await speaker.until(lambda: speaker.count(UserStartedSpeakingFrame) > turns, _PATIENCE_SECONDS)
    await caller.microphone.be_silent(_SILENCE_SECONDS)
    await speaker.until(lambda: speaker.count(BotStartedSpeakingFrame) > answers, _PATIENCE_SECONDS)


async def find_order(params: FunctionCallParams) -> None:
    """Find the caller's order."""
    await params.result_callback(ORDER)
