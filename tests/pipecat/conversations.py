"""The conversations: scripts of callers, and the agents that they call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from importlib.metadata import version
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from pipecat.pipeline.llm_switcher import LLMSwitcher
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import FunctionCallParams

from otel_voice_cost.sources.framework import Release
from otel_voice_cost.usage import Component, Unit

from ..vendors.anthropic import FakeAnthropic
from ..vendors.completions import Answer, Fault
from ..vendors.meter import MeterEntry
from ..vendors.texts import ANSWERS, GREETING, HANDBOOK, SHORT_ANSWERS
from .agent import ASK_SECONDS, SPEED, Line, Setup, Vendors, hold
from .own_services import EchoLLMService, EchoMeter, HotelEars, HotelVoice, UntracedOpenAILLMService

__all__ = ["CONVERSATIONS", "REPORTS_STT", "Conversation"]

_installed = Release(version("pipecat-ai"))
REPORTS_STT = _installed >= Release("1.7")

_Hold = Callable[[], Awaitable[list[MeterEntry]]]
_Report = Callable[[MeterEntry], MeterEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation that can be held.

    Attributes:
        name: Short name.
        hold: Holds it, and returns what the vendors' meters say.
        unreported: Components of which Pipecat reports only the requests that ended well.
        lost: Components of which it reports nothing.
        traced: Whether it has spans that are exported.
        sampler: Sampler of the provider, if not the default.
        exact_seconds: Whether Pipecat's sums of seconds have no rounding errors.
        guesses_output: Whether Pipecat guesses the output tokens of a request that is cut off.
        exact_since: The first release that reports what the vendors bill.
        reported_before: Returns an entry of the meters as older releases report it.
        happened: Tells from meters and spans whether the conversation went as it is described.
    """

    name: str
    hold: _Hold
    unreported: frozenset[Component]
    lost: frozenset[Component] = frozenset()
    traced: bool = True
    sampler: Sampler | None = None
    exact_seconds: bool = True
    guesses_output: bool = False
    exact_since: Release = Release("1.7")  # noqa: RUF009  # a tuple
    reported_before: _Report = lambda entry: entry
    happened: Callable[[list[MeterEntry], Sequence[ReadableSpan]], bool] = lambda meter, spans: True

    @property
    def is_exact(self) -> bool:
        """Whether the installed release reports what the vendors bill."""
        return _installed >= self.exact_since

    def to_reported(self, entry: MeterEntry) -> MeterEntry:
        """Return an entry of the meters as the installed release reports it."""
        return entry if self.is_exact else self.reported_before(entry)


CONVERSATIONS: list[Conversation] = []


def conversation(*unreported: Component, **fields: Any) -> Callable[[_Hold], _Hold]:
    """Put a conversation into `CONVERSATIONS`."""

    def put(hold_it: _Hold) -> _Hold:
        CONVERSATIONS.append(
            Conversation(name=hold_it.__name__, hold=hold_it, unreported=frozenset(unreported), **fields)
        )
        return hold_it

    return put


def _interrupts(_meter: list[MeterEntry], spans: Sequence[ReadableSpan]) -> bool:
    return any((span.attributes or {}).get("tts.interrupted") for span in spans)


def _cuts_off(meter: list[MeterEntry], _spans: Sequence[ReadableSpan]) -> bool:
    return any(entry.reason == "cut off" for entry in meter if entry.component is Component.LLM)


def _interrupts_and_cuts_off(meter: list[MeterEntry], spans: Sequence[ReadableSpan]) -> bool:
    return _interrupts(meter, spans) and _cuts_off(meter, spans)


def _bills(*units: Unit) -> Callable[[list[MeterEntry], Sequence[ReadableSpan]], bool]:
    return lambda meter, _spans: {unit for entry in meter for unit in entry.quantities} >= set(units)


def _fails(component: Component) -> Callable[[list[MeterEntry], Sequence[ReadableSpan]], bool]:
    return lambda meter, _spans: any(entry.reason == "failed" for entry in meter if entry.component is component)


def _uses(*models: str) -> Callable[[list[MeterEntry], Sequence[ReadableSpan]], bool]:
    return lambda meter, _spans: {entry.model for entry in meter if entry.quantities} >= set(models)


def _has_no_span(name: str) -> Callable[[list[MeterEntry], Sequence[ReadableSpan]], bool]:
    return lambda _meter, spans: all(span.name != name for span in spans)


def _adds_up_counts(entry: MeterEntry) -> MeterEntry:
    """Both the first and the last event of an answer of Anthropic's count its tokens: before 1.13 Pipecat adds them up.

    The first one counts one token of output. What is read from and written to the cache is taken from it alone.
    """
    if entry.provider != FakeAnthropic.provider or entry.reason != "complete":
        return entry
    quantities = dict(entry.quantities)
    quantities[Unit.INPUT_TOKEN] *= 2
    quantities[Unit.OUTPUT_TOKEN] += 1
    return replace(entry, quantities=quantities)


def _reports_unsent_audio(entry: MeterEntry) -> MeterEntry:
    """What is said before Deepgram's connection is open is not sent to it: before 1.8 Pipecat reports it."""
    if entry.component is not Component.STT:
        return entry
    return replace(entry, quantities={Unit.AUDIO_SECOND: Decimal(ASK_SECONDS)})


_anthropic = partial(conversation, exact_since=Release("1.13"), reported_before=_adds_up_counts)

_HEARD_AT_ONCE = Setup()
_HEARD_IN_TIME = Setup(  # in more than a second: an interruption is in time on a busy machine too
    answers=(ANSWERS[0], "You are very welcome."), audio_speed=SPEED, played_speed=SPEED
)
_WRITTEN_IN_TIME = replace(_HEARD_IN_TIME, tokens_per_second=10.0, played_speed=SPEED / 4)
_BY_TOKENS = replace(_HEARD_IN_TIME, tts=Vendors.cartesia_by_tokens)


async def _two_turns(line: Line) -> None:
    for _ in range(2):
        await line.ask_and_listen()


async def _cut_off_speech(line: Line) -> None:
    """Interrupt the first answer while it is heard and after it is written, and listen to the second."""
    await line.ask()
    await line.until_speaking()
    await line.until_written()
    await _interrupt(line)


async def _cut_off_answer(line: Line) -> None:
    """Interrupt the first answer while it is heard and written, and listen to the second."""
    await line.ask()
    await line.until_speaking()
    await line.be_silent(1.0)
    await _interrupt(line)


async def _interrupt(line: Line) -> None:
    await line.ask()
    await line.until_speaking()
    await line.listen()  # of what is interrupted
    await line.listen()


@conversation()
async def one_turn() -> list[MeterEntry]:
    """One question, and the answer heard to its end."""
    return await hold(_HEARD_AT_ONCE, Line.ask_and_listen)


@conversation(exact_since=Release("1.8"), reported_before=_reports_unsent_audio)
async def spoken_at_once() -> list[MeterEntry]:
    """One question before speech-to-text is connected."""
    return await hold(Setup(speaks_at_once=True), Line.ask_and_listen)


@conversation()
async def two_turns() -> list[MeterEntry]:
    """Two questions: the second request has the model's name from the first answer."""
    return await hold(_HEARD_AT_ONCE, _two_turns)


@conversation()
async def silence_only() -> list[MeterEntry]:
    """Nobody speaks."""
    return await hold(_HEARD_AT_ONCE, lambda line: line.be_silent(2.0))


@conversation()
async def whisper_and_openai_speech() -> list[MeterEntry]:
    """Two questions to vendors that are asked by HTTP."""
    return await hold(Setup(stt=Vendors.whisper, tts=Vendors.openai_speech), _two_turns)


@conversation()
async def finalized_transcripts() -> list[MeterEntry]:
    """Two questions, whose transcripts Deepgram finalizes when it is asked to."""
    return await hold(Setup(stt=lambda vendors: vendors.deepgram(finalizes=True)), _two_turns)


@conversation()
async def late_transcripts() -> list[MeterEntry]:
    """Two halves of a question are uploaded before the first transcript is there: each is billed by whole seconds.

    There is no model, which would answer the first half.
    """

    async def script(line: Line) -> None:
        await line.ask_haltingly()
        await line.pause(1.0)

    return await hold(Setup(stt=lambda vendors: vendors.whisper(seconds=0.3), llm=None, tts=None), script)


@conversation()
async def elevenlabs() -> list[MeterEntry]:
    """Two questions, answered with ElevenLabs' voice."""
    return await hold(Setup(tts=Vendors.elevenlabs), _two_turns)


@conversation(happened=_interrupts)
async def speech_cut_off() -> list[MeterEntry]:
    """An answer is cut off while it is heard; it is synthesised by sentences."""
    return await hold(_HEARD_IN_TIME, _cut_off_speech)


@conversation(happened=_interrupts)
async def speech_by_tokens_cut_off() -> list[MeterEntry]:
    """The same, and it is synthesised by tokens."""
    return await hold(_BY_TOKENS, _cut_off_speech)


@conversation(happened=_interrupts)
async def elevenlabs_by_tokens_cut_off() -> list[MeterEntry]:
    """The same with ElevenLabs' voice."""
    return await hold(replace(_BY_TOKENS, tts=Vendors.elevenlabs_by_tokens), _cut_off_speech)


@conversation(happened=_interrupts)
async def speech_over_http_cut_off() -> list[MeterEntry]:
    """The same with a vendor that is asked by HTTP, one sentence after the other."""
    return await hold(replace(_HEARD_IN_TIME, tts=Vendors.openai_speech), _cut_off_speech)


@conversation(Component.LLM, happened=_cuts_off)
async def answer_cut_off() -> list[MeterEntry]:
    """The caller goes on speaking while the model writes: OpenAI bills what Pipecat is never told."""

    async def script(line: Line) -> None:
        await line.ask()
        await line.until_answering()
        await line.ask()
        await line.until_speaking()
        await line.listen()

    return await hold(Setup(first_token_seconds=1.5), script)


@conversation(Component.LLM, happened=_interrupts_and_cuts_off)
async def answer_and_speech_cut_off() -> list[MeterEntry]:
    """An answer is cut off while it is written and its first sentence is heard."""
    return await hold(_WRITTEN_IN_TIME, _cut_off_answer)


@conversation(Component.LLM, happened=_cuts_off)
async def answer_by_tokens_cut_off() -> list[MeterEntry]:
    """The same, and it is synthesised by tokens: all that is written is spoken."""
    return await hold(replace(_WRITTEN_IN_TIME, tts=Vendors.cartesia_by_tokens), _cut_off_answer)


@_anthropic(guesses_output=True, happened=_interrupts_and_cuts_off)
async def anthropic_answer_cut_off() -> list[MeterEntry]:
    """An answer of Anthropic's model is cut off: Pipecat reports its input, and a guess of its output."""
    return await hold(replace(_WRITTEN_IN_TIME, llm=Vendors.anthropic), _cut_off_answer)


@conversation(happened=_interrupts)
async def greeting_by_tokens_cut_off() -> list[MeterEntry]:
    """A greeting without the model is cut off, and the answer heard; both are synthesised by tokens."""

    async def script(line: Line) -> None:
        await line.greet(GREETING)
        await line.until_speaking()
        await _interrupt(line)

    return await hold(replace(_BY_TOKENS, answers=SHORT_ANSWERS), script)


async def _ask_in_vain(line: Line) -> None:
    await line.ask()
    await line.pause(0.5)


@conversation(happened=_fails(Component.TTS))
async def speech_not_found() -> list[MeterEntry]:
    """Text-to-speech answers 404 and bills nothing."""
    return await hold(Setup(tts=lambda vendors: vendors.openai_speech(status=404)), _ask_in_vain)


@conversation()
async def speech_refused() -> list[MeterEntry]:
    """Nobody listens where text-to-speech should be."""
    return await hold(Setup(tts=Vendors.closed_cartesia), _ask_in_vain)


@conversation()
async def no_metrics() -> list[MeterEntry]:
    """Pipecat's own metrics are off."""
    return await hold(Setup(params={}), Line.ask_and_listen)


@conversation(traced=False)
async def no_tracing() -> list[MeterEntry]:
    """Pipecat's tracing is off: there are no spans, and the metrics have the cost."""
    return await hold(Setup(worker={}), Line.ask_and_listen)


@conversation(traced=False, sampler=ALWAYS_OFF)
async def not_sampled() -> list[MeterEntry]:
    """No trace is sampled: there are no spans, and the metrics have the cost."""
    return await hold(_HEARD_AT_ONCE, Line.ask_and_listen)


@conversation()
async def cancelled() -> list[MeterEntry]:
    """The pipeline is cancelled after an answer."""
    return await hold(_HEARD_AT_ONCE, Line.ask_and_listen, end=Line.cancel)


@conversation()
async def function_call() -> list[MeterEntry]:
    """The model calls a function, and is asked again."""

    async def find_room(params: FunctionCallParams) -> None:
        """Find a free room."""
        await params.result_callback("Room 12 is free at 90 euros, with a balcony.")

    answers = [Answer(text=SHORT_ANSWERS[0], tool="find_room")]
    return await hold(Setup(answers=answers), Line.ask_and_listen, context=LLMContext(tools=[find_room]))


@_anthropic(happened=_bills(Unit.CACHED_INPUT_TOKEN, Unit.CACHE_WRITE_TOKEN))
async def anthropic_cache() -> list[MeterEntry]:
    """Two questions to Anthropic's model, whose long prompt is written to the cache and read from it."""
    return await hold(Setup(llm=Vendors.anthropic, instructions=HANDBOOK), _two_turns)


@conversation(happened=_bills(Unit.CACHED_INPUT_TOKEN))
async def openai_cache() -> list[MeterEntry]:
    """Two questions to OpenAI's model, whose long prompt is cached unasked."""
    return await hold(Setup(instructions=HANDBOOK), _two_turns)


_REALTIME = Setup(stt=None, llm=Vendors.openai_realtime, tts=None, detects_turns=False)


async def _realtime_turns(line: Line) -> None:
    await line.start()
    await line.listen()
    await _two_turns(line)


@conversation(happened=_bills(Unit.CACHED_INPUT_AUDIO_TOKEN, Unit.CACHED_INPUT_TEXT_TOKEN))
async def realtime() -> list[MeterEntry]:
    """A realtime model greets and answers twice: text and audio, also from its cache."""
    return await hold(_REALTIME, _realtime_turns)


@conversation(lost=frozenset({Component.STT}), happened=_uses("gpt-4o-mini-transcribe"))
async def realtime_with_transcripts() -> list[MeterEntry]:
    """The same, and OpenAI transcribes the caller: Pipecat drops the usage of that model."""
    setup = replace(_REALTIME, llm=lambda vendors: vendors.openai_realtime("gpt-4o-mini-transcribe"))
    return await hold(setup, _realtime_turns)


@conversation(happened=_uses("sonic-3", "eleven_flash_v2_5"))
async def two_voices() -> list[MeterEntry]:
    """Two services in parallel pipelines speak each answer."""

    async def voices(vendors: Vendors) -> FrameProcessor:
        return ParallelPipeline([await vendors.cartesia()], [await vendors.elevenlabs()])

    return await hold(Setup(tts=voices), Line.ask_and_listen)


@conversation(happened=_uses("nova-3-general", "whisper-1"))
async def switched_transcription() -> list[MeterEntry]:
    """The second question is transcribed by another service."""

    async def ears(vendors: Vendors) -> FrameProcessor:
        return vendors.switcher(await vendors.deepgram(), await vendors.whisper())

    return await hold(Setup(stt=ears), _switched)


@_anthropic(happened=_uses("gpt-4.1-mini", "claude-haiku-4-5"))
async def switched_model() -> list[MeterEntry]:
    """The second question is answered by another model."""

    async def models(vendors: Vendors) -> FrameProcessor:
        return vendors.switcher(await vendors.openai(), await vendors.anthropic(), LLMSwitcher)

    return await hold(Setup(llm=models), _switched)


@conversation(happened=_uses("sonic-3", "tts-1"))
async def switched_voice() -> list[MeterEntry]:
    """The second question is answered by another voice."""

    async def voices(vendors: Vendors) -> FrameProcessor:
        return vendors.switcher(await vendors.cartesia(), await vendors.openai_speech())

    return await hold(Setup(tts=voices), _switched)


async def _switched(line: Line) -> None:
    await line.ask_and_listen()
    await line.switch()
    await line.ask_and_listen()


@_anthropic()
async def two_calls_at_once() -> list[MeterEntry]:
    """Two calls in one event loop, with other vendors each."""
    other = Setup(llm=Vendors.anthropic, tts=Vendors.elevenlabs)
    meters = await asyncio.gather(hold(_HEARD_AT_ONCE, _two_turns), hold(other, _two_turns))
    return [entry for meter in meters for entry in meter]


@conversation()
async def own_subclasses() -> list[MeterEntry]:
    """The services are classes of the application, whose spans name these."""
    setup = Setup(
        stt=lambda vendors: vendors.deepgram(HotelEars),
        tts=lambda vendors: vendors.cartesia(HotelVoice),
    )
    return await hold(setup, Line.ask_and_listen)


@conversation(happened=_has_no_span("llm"))
async def untraced_model() -> list[MeterEntry]:
    """The model is a class of the application, which makes no spans."""
    return await hold(Setup(llm=lambda vendors: vendors.openai(UntracedOpenAILLMService)), _two_turns)


@conversation(happened=_has_no_span("llm"))
async def own_model() -> list[MeterEntry]:
    """The model is of a vendor that Pipecat does not know, and makes no spans."""

    async def model(vendors: Vendors) -> FrameProcessor:
        return EchoLLMService(await vendors.open(EchoMeter()))

    return await hold(Setup(llm=model), _two_turns)


@conversation(happened=_fails(Component.LLM))
async def model_retried() -> list[MeterEntry]:
    """The first request to the model fails with status 500, and is sent again."""
    return await hold(Setup(faults={1: Fault.REFUSE}), Line.ask_and_listen)


@conversation(exact_seconds=False)
async def frames_of_twenty_milliseconds() -> list[MeterEntry]:
    """The caller's audio comes in frames of the usual length, whose seconds Pipecat adds up with rounding errors."""
    return await hold(Setup(frame_seconds=0.02), Line.ask_and_listen)
