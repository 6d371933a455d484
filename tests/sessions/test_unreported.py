"""Work that a vendor bills and LiveKit does not report: estimated in addition, and never inside the reported cost."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal

import pytest
from livekit import rtc
from livekit.agents import APIConnectionError, APIStatusError, APITimeoutError, llm, stt, tts
from livekit.agents.tokenize.token_stream import BufferedTokenStream
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits

from otel_voice_cost.accounting.session import REGISTRY
from otel_voice_cost.cost import to_text
from otel_voice_cost.sources.livekit import streams
from otel_voice_cost.testing import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from .harness import RELEASE, SPEED, Pipeline, amounts_in, converse, cost_of_amounts, cost_on, new_session
from .test_leftovers import Clerk

LONG = "This is an answer that goes on for quite a while, because the clerk likes to explain everything twice."
WRAPPED = [
    (llm.LLMStream, "__init__"),
    (llm.LLMStream, "__anext__"),
    (tts.SynthesizeStream, "__init__"),
    (tts.SynthesizeStream, "push_text"),
    (tts.SynthesizeStream, "__anext__"),
    (stt.RecognizeStream, "__init__"),
    (stt.RecognizeStream, "push_frame"),
    (stt.RecognizeStream, "aclose"),
    (BufferedTokenStream, "__anext__"),
]


def slow_speech() -> ScriptedTTS:
    """Speaks slowly enough for the caller to cut in."""
    return ScriptedTTS(frame_delay=0.05)


async def interrupted_call(pipeline, tts_model, answers, lines=("tell me", "stop"), listens_for=0.3):
    """Two questions; the second cuts the first answer off."""
    stt_model = ScriptedSTT(list(lines), report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM(answers)
    pipeline.listen(stt_model, llm_model, tts_model)

    async def script(caller):
        await caller.ask()
        await asyncio.sleep(listens_for)
        await caller.interrupt()
        await caller.until("listening", "thinking")
        await caller.until("speaking")
        await caller.until("listening")

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), script)


@pytest.fixture(params=["count", "estimate", "bill"])
def mode(request, monkeypatch):
    monkeypatch.setenv("VOICE_COST_UNREPORTED", request.param)
    return request.param


async def test_a_synthesis_that_is_cut_off_is_estimated_and_the_reported_cost_stays_as_it_is(mode, price_catalog):
    pipeline = Pipeline(price_catalog)
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    record, session = pipeline.record, pipeline.session_spans()[0].attributes
    reported = cost_of_amounts(amounts_in(pipeline.reported))
    pipeline.provider.shutdown()

    (part,) = [part for part in record.unreported if part.component.value == "tts"]
    assert (part.reason, part.request_count) == ("cut off", 1)
    expected = len(LONG.split(" ")) + len(LONG.replace(" ", ""))  # the space after each word, and the last one's
    own = pipeline.named("tts_unreported")
    if mode == "count":
        assert (record.unreported_usd, own) == (0, [])
        assert record.usd == record.usd_with_unreported == reported
        return
    characters = part.quantities["character"]
    assert characters in (expected, expected - 1)
    assert part.usd == part.high_usd == characters * Decimal("0.00005")
    assert 0 <= part.low_usd <= part.usd
    assert own[0].attributes["voice_cost.unreported.usd"] == to_text(part.usd)
    assert session["voice_cost.session.unreported_usd"] == to_text(record.unreported_usd)
    assert sum(turn.unreported_usd for turn in record.turns) == record.unreported_usd
    if mode == "estimate":
        assert record.usd == reported == cost_on(pipeline.spans)
        assert record.usd_with_unreported == reported + record.unreported_usd
        assert not any(key.startswith(("gen_ai.usage", "voice_cost.usd")) for key in own[0].attributes)
    else:
        assert record.usd == record.usd_with_unreported == reported + record.unreported_usd == cost_on(pipeline.spans)
        assert record.estimated_usd == record.unreported_usd
        assert own[0].attributes["voice_cost.estimated"] is True


async def test_the_request_that_was_cut_off_says_so_to_langfuse(pipeline):
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    (cut,) = [span for span in pipeline.named("tts_request") if "voice_cost.unpriced" in span.attributes]

    assert cut.attributes["voice_cost.unreported"] == "cut off"
    assert cut.attributes["langfuse.observation.level"] == "WARNING"
    assert cut.attributes["langfuse.observation.status_message"].startswith("cut off: ")


async def test_a_request_to_a_model_that_is_cut_off_costs_its_prompt_and_what_came_of_it(pipeline):
    answers = [Answer(text=LONG, chunk_seconds=0.05), Answer(text="Of course, it is here.", prompt_tokens=120)]
    await interrupted_call(pipeline, ScriptedTTS(), answers, listens_for=0.05)
    part = next(part for part in pipeline.record.unreported if part.component.value == "llm")

    assert (part.reason, part.request_count, part.method) == ("cut off", 1, "anchor+growth")
    assert 1 <= part.quantities["input_token"] <= 120  # the complete request's, less what the call grew by
    assert part.quantities["output_token"] >= 1
    assert part.low_usd < part.usd <= part.high_usd


@pytest.mark.parametrize(
    ("error", "is_estimated"),
    [
        (APITimeoutError(retryable=True), True),
        (APIConnectionError(retryable=True), False),
        (APIStatusError("overloaded", status_code=500, retryable=True), False),
    ],
)
async def test_a_try_that_failed_is_counted_and_one_that_timed_out_costs_its_prompt(pipeline, error, is_estimated):
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(error=error), Answer(text="Yes."), Answer(text="No.", prompt_tokens=130)])
    pipeline.listen(stt_model, llm_model)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=ScriptedTTS()), Clerk(), script)
    (part,) = pipeline.record.unreported

    assert (part.component.value, part.reason, part.request_count) == ("llm", "failed", 1)
    assert (part.usd is not None) is is_estimated
    assert "output_token" not in part.quantities


async def test_a_call_in_which_nothing_is_cut_off_has_no_estimate(pipeline):
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(text="Yes."), Answer(text="No.")])

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=ScriptedTTS()), Clerk(), script)

    assert pipeline.record.unreported == ()
    assert "voice_cost.session.unreported" not in pipeline.session_spans()[0].attributes


class SilentSTT(ScriptedSTT):
    """Transcribes and reports nothing, as eight plugins do."""

    def event(self, kind, text=""):
        event = super().event(kind, text)
        if kind == stt.SpeechEventType.RECOGNITION_USAGE:
            event.type = stt.SpeechEventType.RECOGNITION_STARTED if RELEASE >= (1, 9) else "nothing"
        return event


async def test_speech_to_text_that_reports_nothing_is_estimated_by_the_audio_pushed(pipeline):
    stt_model = SilentSTT(["one", "two"], speed=SPEED)
    llm_model = ScriptedLLM([Answer(text="Yes."), Answer(text="No.")])

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=ScriptedTTS()), Clerk(), script)
    (part,) = pipeline.record.unreported

    assert (part.component.value, part.reason, part.method) == ("stt", "no report", "audio pushed")
    assert part.usd > 0


class TokenSTT(ScriptedSTT):
    """Reports tokens and no seconds, as OpenAI's plugin does."""

    def event(self, kind, text=""):
        event = super().event(kind, text)
        event.__class__ = TokenEvent
        return event


class TokenEvent(stt.SpeechEvent):
    @property
    def recognition_usage(self):
        return stt.RecognitionUsage(audio_duration=0.0, input_tokens=100, output_tokens=10)

    @recognition_usage.setter
    def recognition_usage(self, _usage):
        """The seconds are not reported."""


@pytest.mark.skipif(RELEASE < (1, 5), reason="speech-to-text reports no tokens")
async def test_speech_to_text_that_reports_tokens_has_no_estimate_in_seconds(pipeline):
    stt_model = TokenSTT(["one"], speed=SPEED)

    async def script(caller):
        await caller.ask_and_listen()

    await converse(
        new_session(stt=stt_model, llm=ScriptedLLM([Answer(text="Yes.")]), tts=ScriptedTTS()), Clerk(), script
    )

    assert pipeline.record.unreported == ()


async def test_a_stream_of_an_unsampled_session_is_not_of_another(price_catalog):
    """The only session with spans is another, in the same process."""
    sampled = Pipeline(price_catalog)
    tracer = sampled.provider.get_tracer("livekit-agents")
    session = tracer.start_span("agent_session")
    unsampled = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
    with trace.use_span(unsampled):
        stream = SilentSTT([], speed=SPEED).stream()
        stream.push_frame(rtc.AudioFrame.create(24_000, 1, 48_000))
        await stream.aclose()
    session.end()
    record = sampled.record
    sampled.provider.shutdown()

    assert record.unreported == ()


async def test_the_cost_so_far_has_the_estimate_so_far(pipeline):
    stt_model = ScriptedSTT(["tell me", "stop"], report_seconds=0.5, speed=SPEED)
    llm_model = ScriptedLLM([Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    costs = []

    async def script(caller):
        await caller.ask()
        await caller.interrupt()
        await caller.until("listening", "thinking")
        await caller.until("speaking")
        await caller.until("listening")
        costs.append(pipeline.processor.current_cost())

    await converse(new_session(stt=stt_model, llm=llm_model, tts=slow_speech()), Clerk(), script)

    assert costs[0].unreported_usd == pipeline.record.unreported_usd > 0


def test_leaving_restores_every_method(price_catalog):
    before = [vars(holder).get(name) for holder, name in WRAPPED]
    pipeline = Pipeline(price_catalog)
    during = [vars(holder)[name] for holder, name in WRAPPED]
    pipeline.processor.uninstall()

    assert all(hasattr(method, "__wrapped__") for method in during)
    assert [vars(holder).get(name) for holder, name in WRAPPED] == before
    pipeline.provider.shutdown()


def test_counting_alone_wraps_no_stream(price_catalog, monkeypatch):
    monkeypatch.setenv("VOICE_COST_UNREPORTED", "count")
    before = [vars(holder).get(name) for holder, name in WRAPPED]
    pipeline = Pipeline(price_catalog)

    assert [vars(holder).get(name) for holder, name in WRAPPED] == before
    pipeline.provider.shutdown()


async def test_nothing_spoken_or_prompted_is_reachable(pipeline):
    """From any object of this package: lengths are kept, and no text."""
    marker = "rhododendron"
    answers = [Answer(text=f"{marker} {LONG}"), Answer(text=f"{marker}.")]
    await interrupted_call(pipeline, slow_speech(), answers, lines=[f"{marker} one", f"{marker} two"])
    pipeline.exporter.clear()

    found, seen, waiting = [], set(), [pipeline.processor, REGISTRY, streams._measured, streams._current]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str) and marker in thing:
            found.append(thing)
        is_own = type(thing).__module__.startswith(("otel_voice_cost", "builtins", "collections"))
        if is_own and not isinstance(thing, type) and not callable(thing):
            waiting += gc.get_referents(thing)
    assert len(seen) > 1_000
    assert found == []


@pytest.mark.parametrize(
    "name",
    [
        "accounting.estimates._growth_rate",
        "accounting.unreported.UnreportedWork.add",
        "accounting.unreported.UnreportedWork.add_complete",
        "accounting.unreported.UnreportedWork.add_stream",
        "accounting.unreported.UnreportedWork.parts",
        "accounting.unreported.estimate_speech",
        "sources.livekit.streams._measure",
        "sources.livekit.streams._text",
        "sources.livekit.streams.note_report",
    ],
)
async def test_a_fault_in_an_estimate_changes_neither_the_call_nor_the_reported_cost(pipeline, name, monkeypatch):
    def fails(*_args, **_kwargs):
        raise RuntimeError("of an estimate")

    monkeypatch.setattr(f"otel_voice_cost.{name}", fails)
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])

    assert len(pipeline.named("agent_turn") + pipeline.named("assistant_turn")) == 2  # the latter in 1.2
    assert pipeline.record.usd == cost_on(pipeline.spans) == cost_of_amounts(amounts_in(pipeline.reported))


async def test_a_call_after_another_with_many_spans_has_estimates(pipeline):
    """The spans of the other are removed while the call runs."""
    tracer = pipeline.provider.get_tracer("livekit-agents")
    other = tracer.start_span("agent_session")
    for _ in range(5_000):
        tracer.start_span("on_enter", context=trace.set_span_in_context(other)).end()
    other.end()
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    pipeline.provider.force_flush()

    assert [record.unreported_usd > 0 for record in pipeline.records] == [False, True]


async def test_requests_whose_spans_lost_their_metrics_are_not_estimated(price_catalog):
    """By a limit of the SDK. Their reports have the usage."""
    pipeline = Pipeline(price_catalog, limits=SpanLimits(max_span_attributes=3))
    stt_model = ScriptedSTT(["one", "two"], report_seconds=0.5, speed=SPEED)
    llm_model, tts_model = ScriptedLLM([Answer(text="Yes."), Answer(text="No, never.")]), ScriptedTTS()
    pipeline.listen(stt_model, llm_model, tts_model)

    async def script(caller):
        await caller.ask_and_listen()
        await caller.ask_and_listen()

    await converse(new_session(stt=stt_model, llm=llm_model, tts=tts_model), Clerk(), script)
    record = pipeline.record
    pipeline.provider.shutdown()

    assert record.usd == cost_of_amounts(amounts_in(pipeline.reported))
    assert record.unreported_usd == 0


@pytest.mark.parametrize("items", [1, 2, 3, 20])
def test_a_prompt_that_grew_is_measured_as_from_the_start(items):
    context = llm.ChatContext.empty()
    for number in range(items):
        context.add_message(role="user", content="x" * (number + 1))
        streams._measure(context.items)
    grown = streams._measure(context.items)
    streams._measured.clear()

    assert grown == streams._measure(context.items) == (sum(range(1, items + 1)), items, False)


def test_calls_images_and_items_that_are_not_sent():
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=["four", llm.ImageContent(image="data:image/png;base64,AA==")])
    context.insert(llm.FunctionCall(name="find", arguments="{}", call_id="1"))
    context.insert(llm.FunctionCallOutput(name="find", output="found", is_error=False, call_id="1"))

    assert streams._measure(context.items) == (4 + 6 + 5, 3, True)
