"""The call: three questions, a tool call and an interruption, on a real AgentSession."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool

from ..testing.components import (
    FRAME_SECONDS,
    Answer,
    Microphone,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    Speaker,
    ToolCall,
)

__all__ = ["hold_call"]

_HEARD = [
    "Hi, I would like to know where my order is.",
    "It is order four two seven.",
    "Stop, please. When does it arrive?",
    "Thank you, that is all.",
]
_ANSWERS = [
    Answer(text="Of course. What is your order number?", prompt_tokens=412, completion_tokens=11),
    Answer(tool=ToolCall(name="find_order"), prompt_tokens=448, cached_tokens=384, completion_tokens=15),
    Answer(
        text="I found it. Your order left our warehouse in Rotterdam this morning, it was handed to the carrier at "
        "nine, it is now on its way to the sorting centre, and from there it goes on by van.",
        prompt_tokens=492,
        cached_tokens=384,
        completion_tokens=44,
    ),
    Answer(text="It arrives tomorrow before noon.", prompt_tokens=561, cached_tokens=512, completion_tokens=9),
    Answer(text="You are welcome. Goodbye!", prompt_tokens=590, cached_tokens=512, completion_tokens=8),
]
_PATIENCE_SECONDS = 15.0
_TIMES_FASTER = 4  # than speech is a voice's synthesis, so that the caller cuts in while it goes on


class _Clerk(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You are a clerk who finds orders.")

    @function_tool
    async def find_order(self) -> str:
        """Find the caller's order."""
        return "left the warehouse this morning"


async def hold_call(*, speed: float = 1.0, progress: Callable[[str], None] = lambda _: None) -> None:
    """Run the call and close the session.

    Args:
        speed: Seconds of audio per second of real time.
        progress: Called with progress messages.
    """
    microphone, speaker = Microphone(speed=speed), Speaker(speed=speed)
    session: AgentSession[None] = AgentSession(
        stt=ScriptedSTT(_HEARD, speed=speed),
        llm=ScriptedLLM(_ANSWERS, speed=speed),
        tts=ScriptedTTS(frame_delay=FRAME_SECONDS / _TIMES_FASTER / speed),
        vad=None,
        turn_detection="stt",
        min_endpointing_delay=0.3 / speed,
        **_no_warmup(),
    )
    session.input.audio, session.output.audio = microphone, speaker
    await session.start(_Clerk())
    progress("The agent greets")
    await session.say("Hello, this is the order desk. How can I help?").wait_for_playout()
    for number in range(len(_HEARD)):
        progress(f"The caller speaks, {number + 1} of {len(_HEARD)}")
        interrupts = session.agent_state == "speaking"
        microphone.speak(1.5)
        if interrupts:
            await _until(session, "listening", "thinking")
        await _until(session, "speaking")
        if number == 1:
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
