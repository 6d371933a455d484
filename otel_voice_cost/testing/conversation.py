"""A scripted conversation with a real AgentSession, faster than real time.

Source:
    livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``input``, ``output``, ``agent_state``, ``aclose``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from livekit.agents import Agent, AgentSession

from .components import Microphone, Speaker

__all__ = ["Caller", "converse", "new_session"]

_POLL_SECONDS = 0.005
_PAUSE_SECONDS = 0.05  # 1.2 and 1.3 wait forever if closed at the moment a speech ends


class Caller:
    """Speaks to a session through a microphone and listens to its speaker.

    Attributes:
        session: The session.
        microphone: The audio to the agent.
        speaker: The audio from the agent.
    """

    def __init__(self, session: AgentSession[Any], speed: float = 10.0, patience_seconds: float = 10.0) -> None:
        """Connect to a session that has not started.

        Args:
            session: The session.
            speed: Seconds of audio per second of real time.
            patience_seconds: Longest wait for each reaction of the agent.
        """
        self.session = session
        self.microphone, self.speaker = Microphone(speed=speed), Speaker(speed=speed)
        self._patience_seconds = patience_seconds
        session.input.audio, session.output.audio = self.microphone, self.speaker

    async def until(self, *states: str) -> None:
        """Wait until the agent is in one of the states.

        Raises:
            TimeoutError: It is not in one of them within ``patience_seconds``.
        """
        await self._wait_for(lambda: self.session.agent_state in states)

    async def ask(self, seconds: float = 0.6) -> None:
        """Speak, and wait until the agent answers."""
        self.microphone.speak(seconds)
        await self.until("thinking", "speaking")
        await self.until("speaking")

    async def ask_and_listen(self) -> None:
        """Speak, and wait for the end of the answer."""
        await self.ask()
        await self.until("listening")

    async def interrupt(self) -> None:
        """Speak over the agent, and wait until it stops. The agent must be speaking."""
        assert self.session.agent_state == "speaking"
        self.speaker.interrupted = False
        self.microphone.speak(0.6)
        await self._wait_for(lambda: self.speaker.interrupted)

    async def hang_up(self) -> None:
        """Close the session."""
        await asyncio.sleep(_PAUSE_SECONDS)
        await self.session.aclose()
        self.microphone.hang_up()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        async def met() -> None:
            while not condition():
                await asyncio.sleep(_POLL_SECONDS)

        await asyncio.wait_for(met(), self._patience_seconds)


def new_session(**components: Any) -> AgentSession[Any]:
    """Return a session with minimal delays and turn detection by speech-to-text.

    Args:
        components: Arguments of AgentSession; those that the installed release lacks are ignored.
    """
    options = {"vad": None, "turn_detection": "stt", "min_endpointing_delay": 0.02, "aec_warmup_duration": None}
    known = inspect.signature(AgentSession.__init__).parameters
    return AgentSession(**{name: value for name, value in {**options, **components}.items() if name in known})


async def converse(
    session: AgentSession[Any], agent: Agent, script: Callable[[Caller], Awaitable[None]], speed: float = 10.0
) -> None:
    """Start a session, follow the script, hang up.

    Args:
        session: From `new_session`, or a custom one with scripted components.
        agent: The agent under test.
        script: The caller's actions.
        speed: Seconds of audio per second of real time; the same as for the scripted speech-to-text.
    """
    caller = Caller(session, speed)
    await session.start(agent)
    await script(caller)
    await caller.hang_up()
