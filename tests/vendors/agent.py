"""An agent with LiveKit's plugins for vendors that meter, and the call that it takes.

A call runs `SPEED` times faster than the clock: the caller's audio, the vendors' answers and the pauses alike. Timers
of LiveKit keep their length, so they are set short. A vendor that bills the time of the clock needs a speed of 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import ClientSession
from livekit.agents import Agent, function_tool, llm, stt, tts
from livekit.plugins import anthropic, assemblyai, cartesia, deepgram, elevenlabs, openai
from openai.types.realtime import AudioTranscription

from otel_voice_cost.testing import Caller, converse, new_session

from .anthropic import FakeAnthropic
from .assemblyai import FakeAssemblyAI
from .cartesia import FakeCartesia
from .completions import Answer, Fault
from .deepgram import FakeDeepgram
from .elevenlabs import FakeElevenLabs
from .meter import MeterEntry, entries_of_session_usage
from .openai import FakeOpenAI
from .openai_realtime import FakeOpenAIRealtime
from .server import VendorServer
from .texts import ANSWERS, GREETING, INSTRUCTIONS, LINES

__all__ = ["HeldCall", "Line", "Setup", "Vendors", "hold"]

SPEED = 6.0

_AUDIO_SPEED = 4.0  # vendors make speech faster than it is spoken
_Server = TypeVar("_Server", bound=VendorServer)


class Vendors:
    """The vendors of one call, and the plugins that call them."""

    def __init__(self, setup: Setup, stack: AsyncExitStack, http: ClientSession) -> None:
        self.setup, self.http = setup, http
        self.servers: list[VendorServer] = []
        self._stack = stack

    async def open(self, server: _Server) -> _Server:
        """Open a server until the end of the call."""
        self.servers.append(server)
        return await self._stack.enter_async_context(server)

    async def deepgram(self) -> stt.STT:
        server = await self.open(FakeDeepgram(self.setup.lines))
        url = f"{server.url}/v1/listen"
        return deepgram.STT(model="nova-3", api_key="none", base_url=url, http_session=self.http)

    async def assemblyai(self) -> stt.STT:
        server = await self.open(FakeAssemblyAI(self.setup.lines))
        return assemblyai.STT(api_key="none", base_url=server.url, http_session=self.http)

    async def openai(self, *, model: str = "gpt-4.1-mini", faults: Mapping[int, Fault] | None = None) -> llm.LLM:
        server = FakeOpenAI(self.setup.answers, faults=self.setup.faults if faults is None else faults, **self._pace())
        client = (await self.open(server)).client()
        return openai.LLM(model=model, client=await self._stack.enter_async_context(client))

    async def anthropic(self) -> llm.LLM:
        server = FakeAnthropic(self.setup.answers, faults=self.setup.faults, **self._pace())
        client = (await self.open(server)).client()
        await self._stack.enter_async_context(client)
        return anthropic.LLM(model="claude-haiku-4-5", api_key="none", client=client)

    async def openai_realtime(self) -> llm.RealtimeModel:
        setup = self.setup
        server = FakeOpenAIRealtime(
            setup.lines,
            setup.answers,
            audio_speed=_AUDIO_SPEED * setup.speed,
            created_seconds=setup.first_token_seconds / setup.speed,
        )
        await self.open(server)
        return openai.realtime.RealtimeModel(
            model="gpt-realtime",
            api_key="none",
            base_url=server.base_url,
            input_audio_transcription=AudioTranscription(model="gpt-4o-mini-transcribe"),
            http_session=await self._stack.enter_async_context(server.http()),
        )

    async def cartesia(self, *, failures: Collection[int] = ()) -> tts.TTS:
        server = await self.open(FakeCartesia(audio_speed=_AUDIO_SPEED * self.setup.speed, failures=failures))
        return cartesia.TTS(model="sonic-3", api_key="none", base_url=server.url, http_session=self.http)

    async def elevenlabs(self) -> tts.TTS:
        server = await self.open(FakeElevenLabs(audio_speed=_AUDIO_SPEED * self.setup.speed))
        return elevenlabs.TTS(encoding="pcm_24000", api_key="none", base_url=server.url, http_session=self.http)

    def _pace(self) -> dict[str, float]:
        setup = self.setup
        return {
            "tokens_per_second": setup.tokens_per_second * setup.speed,
            "first_token_seconds": setup.first_token_seconds / setup.speed,
        }


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Both sides of a call, before it is held. Seconds are those of the call.

    Attributes:
        lines: Lines of the caller, as for `Transcriber`.
        answers: Answers of the model, as for `FakeOpenAI`.
        instructions: Prompt of the agent.
        greeting: First words of the agent, if any.
        tool_seconds: Duration of the agent's tool.
        tokens_per_second: Pace of the model.
        first_token_seconds: Time until the model's first token.
        faults: Requests to the model that fail, as for `FakeOpenAI`.
        stt: Connects speech-to-text.
        llm: Connects the model.
        tts: Connects text-to-speech.
        session: Further arguments of ``AgentSession``.
        speed: Seconds of the call per second of the clock.
    """

    lines: Sequence[str] = LINES
    answers: Sequence[str | Answer] = ANSWERS
    instructions: str = INSTRUCTIONS
    greeting: str = GREETING
    tool_seconds: float = 0.0
    tokens_per_second: float = 100.0
    first_token_seconds: float = 0.3
    faults: Mapping[int, Fault] = field(default_factory=dict)
    stt: Callable[[Vendors], Awaitable[stt.STT]] | None = Vendors.deepgram
    llm: Callable[[Vendors], Awaitable[llm.LLM | llm.RealtimeModel]] = Vendors.openai
    tts: Callable[[Vendors], Awaitable[tts.TTS]] | None = Vendors.cartesia
    session: Mapping[str, Any] = field(default_factory=dict)
    speed: float = SPEED


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """The accounts of a call that was held.

    Attributes:
        meter: Entries of all vendors.
        session_usage: Entries of LiveKit's ``session.usage``.
    """

    meter: Sequence[MeterEntry]
    session_usage: Sequence[MeterEntry]


class Line:
    """The caller. Seconds are those of the call."""

    def __init__(self, caller: Caller, speed: float) -> None:
        self._caller, self._speed = caller, speed

    async def wait(self, seconds: float) -> None:
        """Be silent for a while."""
        await asyncio.sleep(seconds / self._speed)

    async def listen_to_greeting(self) -> None:
        await self._caller.until("speaking")
        await self._caller.until("listening")

    async def listen(self) -> None:
        """Listen until the agent stops."""
        await self._caller.until("listening")

    async def ask(self, seconds: float = 0.6) -> None:
        """Say the next line, and wait until the agent speaks."""
        await self._caller.ask(seconds)

    async def ask_and_listen(self, seconds: float = 0.6) -> None:
        """Say the next line, and listen to the whole answer."""
        await self.ask(seconds)
        await self.listen()

    async def ask_only(self) -> None:
        """Say the next line, and wait until the agent thinks."""
        self._caller.microphone.speak(0.6)
        await self._caller.until("thinking")

    async def interrupt_before_response(self) -> None:
        """Make the agent speak, and interrupt it before the model has created a response."""
        speech = self._caller.session.generate_reply()
        await asyncio.sleep(0.02)
        await speech.interrupt()

    async def barge_in(self) -> None:
        """Say the next line over the agent, and wait until it speaks again."""
        await self._caller.interrupt()
        await self._caller.until("listening", "thinking")
        await self._caller.until("speaking")


class Receptionist(Agent):
    """Greets, and looks for rooms."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(instructions=setup.instructions)
        self._setup = setup

    async def on_enter(self) -> None:
        if self._setup.greeting:
            self.session.say(self._setup.greeting)

    @function_tool
    async def find_room(self) -> str:
        """Find a free room."""
        await asyncio.sleep(self._setup.tool_seconds / self._setup.speed)
        return "Room 12 is free at 90 euros, with a balcony."


async def hold(setup: Setup, script: Callable[[Line], Awaitable[None]]) -> HeldCall:
    """Hold a call with a script of the caller's actions."""
    async with AsyncExitStack() as stack, ClientSession() as http:
        vendors = Vendors(setup, stack, http)
        connects = {"stt": setup.stt, "llm": setup.llm, "tts": setup.tts}
        components = {name: await connect(vendors) for name, connect in connects.items() if connect}
        session = new_session(**components, **setup.session)
        await converse(
            session, Receptionist(setup), lambda caller: script(Line(caller, setup.speed)), speed=setup.speed
        )
    meter = [entry for server in vendors.servers for entry in server.meter]
    return HeldCall(meter=meter, session_usage=entries_of_session_usage(session.usage.model_usage))
