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
from .script import ANSWERS, GREETING, HEARD, INSTRUCTIONS, INTERRUPTED, ORDER

__all__ = ["hold_call"]

_PATIENCE_SECONDS = 15.0
_TIMES_FASTER = 4  # than speech is a voice's synthesis, so that the caller cuts in while it goes on


class _Clerk(Agent):
    def __init__(self) -> None:
        super().__init__(instructions=INSTRUCTIONS)

    @function_tool
    async def find_order(self) -> str:
        """Find the caller's order."""
        return ORDER


async def hold_call(*, speed: float = 1.0, progress: Callable[[str], None] = lambda _: None) -> None:
    """Run the call and close the session.

    Args:
        speed: Seconds of audio per second of real time.
        progress: Called with progress messages.
    """
    microphone, speaker = Microphone(speed=speed), Speaker(speed=speed)
    session: AgentSession[None] = AgentSession(
        stt=ScriptedSTT(HEARD, speed=speed),
        llm=ScriptedLLM(ANSWERS, speed=speed),
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
        microphone.speak(1.5)
        if interrupts:
            await _until(session, "listening", "thinking")
        await _until(session, "speaking")
        if number == INTERRUPTED:
            await asyncio.sleep(1.5 / speed)  # then the caller interrupts
        else:
            await _until(session, "listening")
    progress("The caller hangs up")
    await session.aclose()
    microphone.hang_up()


def _no_warmup() -> dict[str, Any]:
    """Return the option for newer releases to accept the caller's audio from the agent's first word on."""
    name = "aec_warmup_duration"
    return {name: None} if name in inspect.signature(AgentSession.__init__).parameters else {}


async def _until(session: AgentSession[None], *states: str) -> None:
    async def reached() -> None:
        while session.agent_state not in states:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(reached(), _PATIENCE_SECONDS)
