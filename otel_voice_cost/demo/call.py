"""The call: three questions, a tool call and an interruption, on a real AgentSession."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool

from ..testing.components import (
    FRAME_SECONDS,
    Microphone,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    Speaker,
)
from .script import ANSWERS, GREETING, HEARD, INSTRUCTIONS, INTERRUPTED, INTERRUPTED_ANSWER, ORDER

__all__ = ["hold_call"]

_PATIENCE_SECONDS = 30.0
_SPEECH_SECONDS, _SILENCE_SECONDS = 1.5, 0.3  # of each utterance; the silence ends it
_LISTENING_SECONDS = 1.5  # until the caller interrupts
_LLM_SPEED = 20.0  # an answer is complete before the caller interrupts it
_TIMES_FASTER = 2  # than speech is a voice's synthesis, so that the caller cuts in while it goes on


class _Clerk(Agent):
    def __init__(self) -> None:
        super().__init__(instructions=INSTRUCTIONS)

    @function_tool
    async def find_order(self) -> str:
        """Find the caller's order."""
        return ORDER


async def hold_call(*, speed: float = 1.0, progress: Callable[[str], None] = lambda _: None) -> None:
    """Run the call and close the session.

    Its usage does not depend on the clock: the microphone is muted between the utterances, speech-to-text reports each,
    and the caller interrupts an answer that the model has completed and the voice has not.

    Args:
        speed: Seconds of audio per second of real time.
        progress: Called with progress messages.
    """
    microphone, speaker = Microphone(speed=speed, silence_seconds=_SILENCE_SECONDS), Speaker(speed=speed)
    answered: list[object] = []
    llm = ScriptedLLM(ANSWERS, speed=_LLM_SPEED * speed)
    llm.on("metrics_collected", answered.append)
    session: AgentSession[None] = AgentSession(
        stt=ScriptedSTT(HEARD, report_seconds=_SPEECH_SECONDS + _SILENCE_SECONDS, speed=speed),
        llm=llm,
        tts=ScriptedTTS(frame_delay=FRAME_SECONDS / _TIMES_FASTER / speed),
        vad=None,
        turn_detection="stt",
        min_endpointing_delay=0.3 / speed,
        **_no_warmup(),
    )
    session.input.audio, session.output.audio = microphone, speaker
    await session.start(_Clerk())
    progress("The agent greets")
    await session.say(GREETING).wait_for_playout()
    for number in range(len(HEARD)):
        progress(f"The caller speaks, {number + 1} of {len(HEARD)}")
        interrupts = session.agent_state == "speaking"
        microphone.speak(_SPEECH_SECONDS)
        if interrupts:
            await _until(lambda: session.agent_state in ("listening", "thinking"))
        await _until(lambda: session.agent_state == "speaking")
        if number == INTERRUPTED:
            await _until(lambda: len(answered) == INTERRUPTED_ANSWER)
            await asyncio.sleep(_LISTENING_SECONDS / speed)
        else:
            await _until(lambda: session.agent_state == "listening")
    progress("The caller hangs up")
    await session.aclose()
    microphone.hang_up()


def _no_warmup() -> dict[str, Any]:
    """Return the option for newer releases to accept the caller's audio from the agent's first word on."""
    name = "aec_warmup_duration"
    return {name: None} if name in inspect.signature(AgentSession.__init__).parameters else {}


async def _until(condition: Callable[[], bool]) -> None:
    async def met() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(met(), _PATIENCE_SECONDS)
