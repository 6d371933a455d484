"""The calls: scripts of callers, and the components of which LiveKit does not report all that is billed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from livekit.agents import APIConnectOptions, llm, tts
from livekit.agents.voice.agent_session import SessionConnectOptions

from otel_voice_cost.usage import Component

from ..sessions.scripted import ScriptedVAD
from .agent import HeldCall, Line, Setup, Vendors, hold
from .completions import Answer, Fault
from .texts import (
    ANSWERS,
    GERMAN_ANSWERS,
    GERMAN_GREETING,
    GERMAN_INSTRUCTIONS,
    GERMAN_LINES,
    HALTING_LINES,
    HANDBOOK,
    LONG_ANSWERS,
    SHORT_ANSWERS,
)

__all__ = ["CALLS", "Call"]

_Hold = Callable[[], Awaitable[HeldCall]]
_SLOW = 25  # tokens per second: an answer that is still being written when its first sentence is spoken
_LLM, _STT, _TTS = Component.LLM, Component.STT, Component.TTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that can be held.

    Attributes:
        name: Short name.
        hold: Holds it.
        unreported: Components of which LiveKit does not report all that the vendor bills.
    """

    name: str
    hold: _Hold
    unreported: frozenset[Component]


CALLS: list[Call] = []


def call(*unreported: Component) -> Callable[[_Hold], _Hold]:
    """Put a call into `CALLS`."""

    def put(hold_it: _Hold) -> _Hold:
        CALLS.append(Call(name=hold_it.__name__, hold=hold_it, unreported=frozenset(unreported)))
        return hold_it

    return put


async def _three_questions(line: Line) -> None:
    await line.listen_to_greeting()
    for _ in range(3):
        await line.ask_and_listen()


async def _three_early_interruptions(line: Line) -> None:
    await line.listen_to_greeting()
    await line.ask()
    for _ in range(3):
        await line.wait(0.3)
        await line.barge_in()
    await line.listen()


@call()
async def plain() -> HeldCall:
    """Three questions, each answer heard to its end."""
    return await hold(Setup(), _three_questions)


@call(_LLM, _TTS)
async def barge_in_early() -> HeldCall:
    """Three answers are cut off while the model writes them."""
    return await hold(Setup(tokens_per_second=_SLOW), _three_early_interruptions)


async def _four_interruptions(line: Line) -> None:
    await line.listen_to_greeting()
    await line.ask()
    for seconds in (0.8, 1.3, 1.9, 2.5):
        await line.wait(seconds)
        await line.barge_in()
    await line.listen()


@call(_TTS)
async def interruptions() -> HeldCall:
    """Four answers are cut off while they are synthesised, 0.8 to 2.5 s after they begin."""
    return await hold(Setup(answers=LONG_ANSWERS, tokens_per_second=300), _four_interruptions)


@call()
async def barge_in_late() -> HeldCall:
    """Two answers are cut off when all of their speech is there."""

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        await line.ask()
        for _ in range(2):
            await line.wait(8.0)
            await line.barge_in()
        await line.listen()

    return await hold(Setup(), script)


@call(_LLM)
async def barge_in_thinking() -> HeldCall:
    """The caller goes on speaking twice before the agent has said a word."""

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        for _ in range(2):
            await line.ask_only()
            await line.wait(0.6)
            await line.ask_and_listen()

    return await hold(Setup(first_token_seconds=2.0), script)


async def _halting_questions(line: Line) -> None:
    await line.listen_to_greeting()
    for _ in range(3):
        await line.ask_and_listen(seconds=1.8)


_PREEMPTIVE = Setup(lines=HALTING_LINES, tokens_per_second=_SLOW)


@call(_LLM)
async def preemptive() -> HeldCall:
    """Three questions in two halves: the model begins to answer the first half."""
    session = {"vad": ScriptedVAD(), "turn_detection": "vad", "min_endpointing_delay": 0.1}
    return await hold(replace(_PREEMPTIVE, session=session), _halting_questions)


@call()
async def preemptive_off() -> HeldCall:
    """The same, and the model waits for the second half."""
    session = {"vad": ScriptedVAD(), "turn_detection": "vad", "min_endpointing_delay": 0.1}
    session["preemptive_generation"] = False
    return await hold(replace(_PREEMPTIVE, session=session), _halting_questions)


@call(_LLM, _TTS)
async def cached_prompt() -> HeldCall:
    """Of four answers to a long prompt, which the vendor caches, the second and third are cut off."""

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        await line.ask_and_listen()
        await line.ask()
        for _ in range(2):
            await line.wait(0.3)
            await line.barge_in()
        await line.listen()

    return await hold(Setup(instructions=HANDBOOK, tokens_per_second=_SLOW), script)


@call(_LLM, _TTS)
async def german() -> HeldCall:
    """Three answers in German are cut off while the model writes them."""
    setup = Setup(
        lines=GERMAN_LINES,
        answers=GERMAN_ANSWERS,
        instructions=GERMAN_INSTRUCTIONS,
        greeting=GERMAN_GREETING,
        tokens_per_second=_SLOW,
    )
    return await hold(setup, _three_early_interruptions)


@call(_LLM)
async def retries() -> HeldCall:
    """A request is refused, one gets no answer in time, and one breaks half-way."""
    attempts = APIConnectOptions(timeout=1.0, retry_interval=0.1)
    setup = Setup(
        faults={1: Fault.REFUSE, 3: Fault.STALL, 6: Fault.BREAK},
        session={"conn_options": SessionConnectOptions(llm_conn_options=attempts)},
    )

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        for _ in range(4):
            await line.ask_and_listen()

    return await hold(setup, script)


@call(_LLM)
async def fallback() -> HeldCall:
    """The first model gives no answer and the first voice fails; the second ones take over."""

    async def models(vendors: Vendors) -> llm.LLM:
        first = await vendors.openai(faults={1: Fault.STALL})
        return llm.FallbackAdapter([first, await vendors.openai(model="gpt-4.1-nano")], attempt_timeout=1.0)

    async def voices(vendors: Vendors) -> tts.TTS:
        first = await vendors.cartesia(failures={1})
        return tts.FallbackAdapter([first, await vendors.cartesia()], max_retry_per_tts=0)

    return await hold(Setup(llm=models, tts=voices), _three_questions)


@call()
async def tool_long() -> HeldCall:
    """The agent looks for a room for six seconds."""
    answers = [Answer(text=ANSWERS[0], tool="find_room"), *ANSWERS[1:]]
    return await hold(Setup(answers=answers, tool_seconds=6.0), _three_questions)


@call(_TTS)
async def closed_mid_speech() -> HeldCall:
    """The session is closed one second into an answer."""

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        await line.ask_and_listen()
        await line.ask()
        await line.wait(1.0)

    return await hold(Setup(answers=LONG_ANSWERS), script)


@call(_LLM)
async def closed_mid_answer() -> HeldCall:
    """The session is closed while the model writes its only answer: no request was ever complete."""

    async def script(line: Line) -> None:
        await line.listen_to_greeting()
        await line.ask_only()
        await line.wait(0.8)

    return await hold(Setup(tokens_per_second=_SLOW), script)


_ASSEMBLYAI = Setup(stt=Vendors.assemblyai, greeting="", answers=SHORT_ANSWERS, speed=1.0)


@call(_STT)
async def assemblyai_plain() -> HeldCall:
    """One question, and the answer heard to its end."""
    return await hold(_ASSEMBLYAI, Line.ask_and_listen)


@call(_STT)
async def assemblyai_idle() -> HeldCall:
    """The same, and then silence for four seconds."""

    async def script(line: Line) -> None:
        await line.ask_and_listen()
        await line.wait(4.0)

    return await hold(_ASSEMBLYAI, script)


@call()
async def anthropic_plain() -> HeldCall:
    """Three questions to Anthropic's model."""
    return await hold(Setup(llm=Vendors.anthropic), _three_questions)


@call(_LLM, _TTS)
async def anthropic_early() -> HeldCall:
    """Three answers of Anthropic's model are cut off while it writes them."""
    return await hold(Setup(llm=Vendors.anthropic, tokens_per_second=_SLOW), _three_early_interruptions)


@call()
async def elevenlabs_plain() -> HeldCall:
    """Three questions, answered with ElevenLabs' voice."""
    return await hold(Setup(tts=Vendors.elevenlabs), _three_questions)


@call(_LLM, _TTS)
async def elevenlabs_early() -> HeldCall:
    """Three answers are cut off while the model writes them and ElevenLabs speaks."""
    return await hold(Setup(tts=Vendors.elevenlabs, tokens_per_second=_SLOW), _three_early_interruptions)


@call()
async def elevenlabs_interruptions() -> HeldCall:
    """Four answers are cut off while ElevenLabs speaks: its plugin reports them if all of their text was there."""
    setup = Setup(tts=Vendors.elevenlabs, answers=LONG_ANSWERS, tokens_per_second=600)
    return await hold(setup, _four_interruptions)


_REALTIME = Setup(
    stt=None, llm=Vendors.openai_realtime, tts=None, greeting="", session={"turn_detection": "realtime_llm"}
)


@call()
async def realtime_plain() -> HeldCall:
    """Two questions to a realtime model."""

    async def script(line: Line) -> None:
        for _ in range(2):
            await line.ask_and_listen()

    return await hold(_REALTIME, script)


@call()
async def realtime_interruptions() -> HeldCall:
    """Two answers of a realtime model are cut off: it reports what it made of them."""

    async def script(line: Line) -> None:
        await line.ask()
        for seconds in (0.5, 1.5):
            await line.wait(seconds)
            await line.barge_in()
        await line.listen()

    return await hold(_REALTIME, script)


@call()
async def realtime_discarded() -> HeldCall:
    """A response is created after LiveKit has cancelled it: it reports no usage of it."""

    async def script(line: Line) -> None:
        await line.ask_and_listen()
        await line.interrupt_before_response()
        await line.wait(2.0)
        await line.ask_and_listen()

    return await hold(replace(_REALTIME, first_token_seconds=1.0), script)
