"""An agent of Pipecat's own services with vendors that meter, and the call that it takes.

A call runs faster than the clock: the caller's audio by `SPEED`, the agent's as fast as its vendor makes it unless a
setup says otherwise. Timers of Pipecat keep their length, so they are set short.

The caller speaks once all of Deepgram's connections are open, unless a setup says otherwise.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anthropic import AsyncAnthropic
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    ManuallySwitchServiceFrame,
    TTSSpeakFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.anthropic.llm import AnthropicLLMService
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.services.tts_service import TextAggregationMode
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from otel_voice_cost.testing.pipecat import LoudnessVAD, Microphone, Speaker
from otel_voice_cost.testing.pipecat.telephone import FRAME_SECONDS
from otel_voice_cost.usage import Component

from ..vendors.anthropic import FakeAnthropic
from ..vendors.cartesia import FakeCartesia
from ..vendors.completions import Answer, Fault
from ..vendors.deepgram import FakeDeepgram
from ..vendors.elevenlabs import FakeElevenLabs
from ..vendors.meter import MeterEntry
from ..vendors.openai import FakeOpenAI
from ..vendors.openai_realtime import FakeOpenAIRealtime
from ..vendors.openai_speech import FakeOpenAISpeech
from ..vendors.openai_transcription import FakeOpenAITranscription
from ..vendors.server import VendorServer
from ..vendors.texts import INSTRUCTIONS, LINES, SHORT_ANSWERS

__all__ = ["ASK_SECONDS", "SPEED", "Line", "Setup", "Vendors", "hold"]

SPEED = 8.0
ASK_SECONDS = 1.5  # of the caller's audio per question, half of it silent

_STT_SECONDS = 0.25  # longest time for a final transcript
_CONNECT_SECONDS = 0.05  # from the server's answer until the service knows that it is connected
_PATIENCE_SECONDS = 30.0  # the first answer again, if an interruption leaves nothing of it in the context
_Server = TypeVar("_Server", bound=VendorServer)


class _SnapshotOpenAI(FakeOpenAI):
    """Answers with the name of a snapshot, as OpenAI does: Pipecat's spans have it from the second request on."""

    snapshot = "-2025-04-14"


class Vendors:
    """The vendors of one call, and the services that call them.

    Attributes:
        servers: All of them.
        switchers: Each with its second service.
    """

    def __init__(self, setup: Setup, stack: AsyncExitStack) -> None:
        self.setup = setup
        self.servers: list[VendorServer] = []
        self.switchers: list[tuple[ServiceSwitcher, FrameProcessor]] = []
        self._stack = stack

    async def open(self, server: _Server) -> _Server:
        """Open a server until the end of the call."""
        self.servers.append(server)
        return await self._stack.enter_async_context(server)

    async def deepgram(
        self, kind: type[DeepgramSTTService] = DeepgramSTTService, *, finalizes: bool = False
    ) -> FrameProcessor:
        server = await self.open(FakeDeepgram(self.setup.lines, finalizes=finalizes))
        return kind(api_key="none", base_url=server.url, ttfs_p99_latency=_STT_SECONDS)

    async def whisper(self, seconds: float = 0.0) -> FrameProcessor:
        server = await self.open(FakeOpenAITranscription(self.setup.lines, seconds=seconds))
        settings = OpenAISTTService.Settings(model="whisper-1")
        url = f"{server.url}/v1"
        return OpenAISTTService(api_key="none", base_url=url, settings=settings, ttfs_p99_latency=_STT_SECONDS)

    async def openai(self, kind: type[OpenAILLMService] = OpenAILLMService) -> OpenAILLMService:
        server = await self.open(_SnapshotOpenAI(self.setup.answers, **self._pace()))
        settings = kind.Settings(model="gpt-4.1-mini", system_instruction=self.setup.instructions)
        return kind(api_key="none", base_url=f"{server.url}/v1", settings=settings)

    async def anthropic(self) -> AnthropicLLMService:
        server = await self.open(FakeAnthropic(self.setup.answers, **self._pace()))
        client = AsyncAnthropic(api_key="none", base_url=server.url)
        settings = AnthropicLLMService.Settings(
            model="claude-haiku-4-5", system_instruction=self.setup.instructions, enable_prompt_caching=True
        )
        return AnthropicLLMService(api_key="none", client=client, settings=settings)

    async def openai_realtime(self, transcription: str | None = None) -> FrameProcessor:
        setup = self.setup
        server = FakeOpenAIRealtime(
            setup.lines, list(setup.answers), audio_speed=setup.audio_speed, tells_session=True, caches=True
        )
        await self.open(server)
        audio = events.AudioConfiguration(
            input=events.AudioInput(
                transcription=events.InputAudioTranscription(model=transcription) if transcription else None
            )
        )
        settings = OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime",
            system_instruction=setup.instructions,
            session_properties=events.SessionProperties(audio=audio),
        )
        url = f"{_socket_url(server)}/v1/realtime"
        return OpenAIRealtimeLLMService(api_key="none", base_url=url, settings=settings)

    async def cartesia(self, kind: type[CartesiaTTSService] = CartesiaTTSService, **options: Any) -> FrameProcessor:
        speed = self.setup.audio_speed
        server = await self.open(FakeCartesia(audio_speed=speed, word_speed=speed))
        settings = kind.Settings(model="sonic-3", voice="voice-1")
        return kind(api_key="none", url=f"{_socket_url(server)}/tts/websocket", settings=settings, **options)

    async def closed_cartesia(self) -> FrameProcessor:
        settings = CartesiaTTSService.Settings(model="sonic-3", voice="voice-1")
        return CartesiaTTSService(api_key="none", url="ws://127.0.0.1:9/tts/websocket", settings=settings)

    async def cartesia_by_tokens(self) -> FrameProcessor:
        return await self.cartesia(text_aggregation_mode=TextAggregationMode.TOKEN)

    async def elevenlabs(self, **options: Any) -> FrameProcessor:
        server = await self.open(FakeElevenLabs(audio_speed=self.setup.audio_speed))
        settings = ElevenLabsTTSService.Settings(model="eleven_flash_v2_5", voice="voice-1")
        return ElevenLabsTTSService(api_key="none", url=_socket_url(server), settings=settings, **options)

    async def elevenlabs_by_tokens(self) -> FrameProcessor:
        return await self.elevenlabs(text_aggregation_mode=TextAggregationMode.TOKEN)

    async def openai_speech(self, status: int = 200) -> FrameProcessor:
        server = await self.open(FakeOpenAISpeech(audio_speed=self.setup.audio_speed, status=status))
        settings = OpenAITTSService.Settings(model="tts-1", voice="alloy")
        return OpenAITTSService(api_key="none", base_url=f"{server.url}/v1", settings=settings)

    def switcher(
        self, first: FrameProcessor, second: FrameProcessor, kind: type[ServiceSwitcher] = ServiceSwitcher
    ) -> FrameProcessor:
        """Return both as one, of which the first works until the caller's `Line.switch`."""
        switcher = kind([first, second])
        self.switchers.append((switcher, second))
        return switcher

    def _pace(self) -> dict[str, Any]:
        setup = self.setup
        return {
            "tokens_per_second": setup.tokens_per_second,
            "first_token_seconds": setup.first_token_seconds,
            "faults": setup.faults,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The agent, its vendors and the caller's lines.

    Attributes:
        lines: What the caller says, for the vendors' transcripts.
        answers: What the model says.
        instructions: Prompt of the agent.
        tokens_per_second: Pace of the model.
        first_token_seconds: Time until its first token.
        audio_speed: Seconds of speech that a vendor makes per second of the clock.
        played_speed: Seconds of speech played per second of the clock.
        frame_seconds: Length of a frame of the caller's audio.
        faults: Requests to the model that fail, as for `FakeOpenAI`.
        stt: Connects speech-to-text.
        llm: Connects the model.
        tts: Connects text-to-speech.
        speaks_at_once: Whether the caller speaks before Deepgram's connection is open.
        detects_turns: Whether the agent detects the caller's turns, not its realtime model.
        params: Arguments of ``PipelineParams``.
        worker: Further arguments of ``PipelineWorker``.
    """

    lines: Sequence[str] = LINES
    answers: Sequence[str | Answer] = SHORT_ANSWERS
    instructions: str = INSTRUCTIONS
    tokens_per_second: float = 1_000.0
    first_token_seconds: float = 0.02
    audio_speed: float = 40.0
    played_speed: float = math.inf  # at once
    frame_seconds: float = FRAME_SECONDS
    faults: Mapping[int, Fault] = field(default_factory=dict)
    stt: Callable[[Vendors], Awaitable[FrameProcessor]] | None = Vendors.deepgram
    llm: Callable[[Vendors], Awaitable[FrameProcessor]] | None = Vendors.openai
    tts: Callable[[Vendors], Awaitable[FrameProcessor]] | None = Vendors.cartesia
    speaks_at_once: bool = False
    detects_turns: bool = True
    params: Mapping[str, Any] = field(default_factory=lambda: {"enable_metrics": True, "enable_usage_metrics": True})
    worker: Mapping[str, Any] = field(default_factory=lambda: {"enable_tracing": True})


class Line:
    """The caller's end of the line. Seconds are those of the audio."""

    def __init__(
        self,
        microphone: Microphone,
        speaker: Speaker,
        worker: PipelineWorker,
        vendors: Vendors,
    ) -> None:
        self._microphone, self._speaker, self._worker = microphone, speaker, worker
        self._servers, self._switchers = vendors.servers, vendors.switchers
        self._speaks_at_once = vendors.setup.speaks_at_once
        self._awaited: Counter[type[Frame]] = Counter()

    async def until_ready(self) -> None:
        """Wait until the pipeline has started."""
        await self._microphone.is_ready.wait()
        if not self._speaks_at_once:
            for server in self._servers:
                if isinstance(server, FakeDeepgram):
                    await server.is_connected.wait()
                    await self.pause(_CONNECT_SECONDS)

    async def ask(self) -> None:
        """Say the next line and fall silent, until the turn is the agent's."""
        await self._microphone.speak(ASK_SECONDS / 2)
        await self._microphone.be_silent(ASK_SECONDS / 2)
        await self._next(UserStoppedSpeakingFrame)

    async def be_silent(self, seconds: float) -> None:
        await self._microphone.be_silent(seconds)

    async def until_speaking(self) -> None:
        """Wait until the agent speaks, the next time."""
        await self._next(BotStartedSpeakingFrame)

    async def listen(self) -> None:
        """Listen until the agent stops, the next time."""
        await self._next(BotStoppedSpeakingFrame)

    async def until_answering(self) -> None:
        """Wait until the model begins to answer, the next time."""
        await self._next(LLMFullResponseStartFrame)

    async def until_written(self) -> None:
        """Wait until the model's vendor has written the answer, and a little longer for the service to read it."""
        while not any(entry.component is Component.LLM for server in self._servers for entry in server.meter):
            await asyncio.sleep(0.01)
        await self.pause(0.1)

    async def pause(self, seconds: float) -> None:
        """Wait, in seconds of the clock, without any audio."""
        await asyncio.sleep(seconds)

    async def ask_haltingly(self) -> None:
        """Say the next two lines with a pause between them that ends an utterance and not the turn."""
        await self._microphone.speak(0.75)
        await self._microphone.be_silent(0.375)
        await self.ask()

    async def ask_and_listen(self) -> None:
        """Say the next line, and listen to the whole answer."""
        await self.ask()
        await self.listen()

    async def greet(self, text: str) -> None:
        """Let the agent say a text."""
        await self._worker.queue_frame(TTSSpeakFrame(text))

    async def switch(self) -> None:
        """Let the second services of all switchers do the work from now on."""
        for switcher, service in self._switchers:
            await self._worker.queue_frame(ManuallySwitchServiceFrame(service=service))
            while switcher.strategy.active_service is not service:
                await asyncio.sleep(0.01)

    async def start(self) -> None:
        """Let the model begin the conversation."""
        await self._worker.queue_frame(LLMRunFrame())

    async def cancel(self) -> None:
        """Cancel the pipeline."""
        await self._worker.cancel()

    async def hang_up(self) -> None:
        """End the pipeline once it has done its work."""
        await self._worker.queue_frame(EndFrame())

    async def _next(self, kind: type[Frame]) -> None:
        """Wait for the first frame of a class that was not awaited before."""
        self._awaited[kind] += 1
        await self._speaker.until(lambda: self._speaker.count(kind) >= self._awaited[kind], _PATIENCE_SECONDS)


async def hold(
    setup: Setup,
    script: Callable[[Line], Awaitable[None]],
    *,
    context: LLMContext | None = None,
    end: Callable[[Line], Awaitable[None]] = Line.hang_up,
) -> list[MeterEntry]:
    """Hold a call by a script of the caller's actions; return the meters of all vendors.

    Args:
        setup: The agent.
        script: Actions of the caller.
        context: Messages and tools to begin with.
        end: The end of the call.
    """
    async with AsyncExitStack() as stack:
        vendors = Vendors(setup, stack)
        services = [await connect(vendors) if connect else None for connect in (setup.stt, setup.llm, setup.tts)]
        line, worker = _connect(vendors, services, context or LLMContext())
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        try:
            await line.until_ready()
            await script(line)
            await end(line)
        except BaseException:
            await worker.cancel()  # else its tasks hold the servers
            raise
        finally:
            await running
    return [entry for server in vendors.servers for entry in server.meter]


def _connect(
    vendors: Vendors, services: Sequence[FrameProcessor | None], context: LLMContext
) -> tuple[Line, PipelineWorker]:
    setup, (stt, llm, tts) = vendors.setup, services
    microphone = Microphone(speed=SPEED, frame_seconds=setup.frame_seconds)
    speaker = Speaker(speed=setup.played_speed)
    user_params = LLMUserAggregatorParams()
    if setup.detects_turns:
        strategies = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.05)])
        user_params = LLMUserAggregatorParams(vad_analyzer=LoudnessVAD(), user_turn_strategies=strategies)
    user, assistant = LLMContextAggregatorPair(context, user_params=user_params)
    processors = [microphone, stt, user, llm, tts, speaker, assistant]
    worker = PipelineWorker(
        Pipeline([processor for processor in processors if processor is not None]),
        params=PipelineParams(**setup.params),
        **setup.worker,
    )
    return Line(microphone, speaker, worker, vendors), worker


def _socket_url(server: VendorServer) -> str:
    return server.url.replace("http", "ws", 1)
