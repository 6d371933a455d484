"""The hooks on Pipecat's base classes: reversible, once, nothing raised into the pipeline, nothing lost."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from functools import wraps

import pytest

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.utils.tracing.tracing_context import TracingContext

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.sources.pipecat import PipecatSource
from otel_voice_cost.sources.pipecat.hooks import is_stt_hooked, subscribe
from otel_voice_cost.usage import Component, Unit

HOOKED = (
    (STTService, "emit_stt_usage_metrics"),
    (TTSService, "start_tts_usage_metrics"),
    (FrameProcessor, "start_llm_usage_metrics"),
)
SOURCE = PipecatSource()


@pytest.fixture(autouse=True)
def alone():
    """Processors that other tests left on their providers would keep the hooks."""
    for thing in gc.get_objects():
        if issubclass(type(thing), VoiceCostSpanProcessor):  # a dead weak proxy raises if it is asked for its class
            thing.shutdown()


class Listener:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def hear(self, _source: object, read) -> None:
        self.heard.append(read())

    def usages(self):
        return [report.read({}) for report in self.heard if report is not None]


class Ear(STTService):
    async def run_stt(self, audio: bytes):
        yield None


class Voice(TTSService):
    async def run_tts(self, text: str, context_id: str):
        yield None


@contextmanager
def listening():
    listener = Listener()
    subscription = subscribe(SOURCE, listener.hear)
    try:
        yield listener
    finally:
        subscription.cancel()


@pytest.fixture
def tracing():
    """The tracing of a pipeline, with a conversation that another processor's spans would be below."""
    context, provider = TracingContext(), TracerProvider()
    context.tracer, context.span = provider.get_tracer("pipecat"), provider.get_tracer("pipecat.turn").start_span("c")
    context.set_conversation_context(context.span.get_span_context(), "c-1")
    return context


def traced(service, tracing):
    service._tracing_enabled, service._tracing_context = True, tracing
    return service


def originals():
    return [vars(holder)[name] for holder, name in HOOKED]


async def test_the_hooks_are_removed_with_the_last_listener():
    before = originals()
    first, second = Listener(), Listener()
    subscriptions = [subscribe(SOURCE, first.hear), subscribe(SOURCE, second.hear)]
    assert is_stt_hooked()

    subscriptions[0].cancel()
    assert is_stt_hooked()
    subscriptions[1].cancel()

    assert not is_stt_hooked()
    assert originals() == before


async def test_a_processor_removes_its_hooks_at_shutdown(price_catalog):
    before = originals()
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    assert originals() != before

    processor.shutdown()

    assert originals() == before


async def test_audio_is_read_before_the_service_clears_it(tracing):
    service = traced(Ear(sample_rate=16_000), tracing)
    service._stt_usage_pending_seconds = 1.5

    with listening() as listener:
        await service.emit_stt_usage_metrics()
        await service.emit_stt_usage_metrics()

    (usage,) = listener.usages()
    assert usage.quantities == {Unit.AUDIO_SECOND: 1.5}
    assert listener.heard[0].span_key == tracing.span.get_span_context()[:2]
    assert service._stt_usage_pending_seconds == 0


async def test_all_texts_of_a_reply_are_one_report(tracing):
    service = traced(Voice(), tracing)
    service._tts_spans, service._tts_texts = {"a": {"span": tracing.tracer.start_span("tts")}}, {"a": []}

    with listening() as listener:
        for text in ("Grüße. ", "Bye."):
            service._tts_texts["a"].append(text)
            await service.start_tts_usage_metrics(text)

    (usage,) = listener.usages()
    assert usage.quantities[Unit.CHARACTER] == 11
    assert usage.quantities[Unit.UTF8_BYTE] == 13
    assert listener.heard[0].match_key == f"{service._tts_spans['a']['span'].get_span_context().span_id:016x}"


async def test_a_text_belongs_to_the_reply_that_it_was_added_to(tracing):
    service = traced(Voice(), tracing)
    spans = {name: tracing.tracer.start_span("tts") for name in "ab"}
    service._tts_spans = {name: {"span": span} for name, span in spans.items()}
    text = "Yes, in the morning."
    service._tts_texts = {"a": [text], "b": ["No."]}

    with listening() as listener:
        await service.start_tts_usage_metrics(text)

    assert listener.heard[0].match_key == f"{spans['a'].get_span_context().span_id:016x}"


async def test_text_after_its_span_has_ended_is_on_no_span(tracing):
    service = traced(Voice(), tracing)
    service._tts_spans, service._tts_texts = {}, {}

    with listening() as listener:
        await service.start_tts_usage_metrics("Bye.")

    assert (listener.heard[0].match_key, listener.heard[0].has_span) == ("", False)


async def test_tokens_are_of_the_current_span_of_a_request(tracing):
    service = traced(OpenAILLMService(api_key="none", settings=OpenAILLMService.Settings(model="m")), tracing)

    with listening() as listener:
        with tracing.tracer.start_as_current_span("llm") as span:
            for completion in (1, 5):  # snapshots
                await service.start_llm_usage_metrics(
                    LLMTokenUsage(prompt_tokens=10, completion_tokens=completion, total_tokens=15)
                )

    (usage,) = listener.usages()
    assert usage.quantities == {Unit.INPUT_TOKEN: 10, Unit.OUTPUT_TOKEN: 5}
    assert listener.heard[0].match_key == f"{span.get_span_context().span_id:016x}"


async def test_tokens_of_a_service_without_spans_are_on_no_span(tracing):
    service = traced(LLMService(), tracing)

    with listening() as listener:
        await service.start_llm_usage_metrics(LLMTokenUsage(prompt_tokens=10, completion_tokens=5, total_tokens=15))

    assert (listener.heard[0].match_key, listener.heard[0].component) == ("", Component.LLM)


async def test_without_tracing_usage_is_reported_with_a_hint():
    service = Ear(sample_rate=16_000)
    service._stt_usage_pending_seconds = 1.0

    with listening() as listener:
        await service.emit_stt_usage_metrics()

    (report,) = listener.heard
    assert not report.sampled
    assert "enable_tracing=True" in report.hint


async def test_a_conversation_that_has_ended_keeps_its_late_reports(tracing):
    service = traced(Ear(sample_rate=16_000), tracing)

    with listening() as listener:
        for seconds in (1.0, 2.0):
            service._stt_usage_pending_seconds = seconds
            await service.emit_stt_usage_metrics()
            tracing.set_conversation_context(None)

    assert [report.span_key for report in listener.heard] == [tracing.span.get_span_context()[:2]] * 2


async def test_a_report_that_cannot_be_read_does_not_reach_the_pipeline(tracing, price_catalog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    service = traced(Ear(sample_rate=16_000), tracing)
    service._stt_usage_pending_seconds = "much"

    try:
        with pytest.raises(Exception, match="audio_seconds"):  # Pipecat's own validation, after the hook
            await service.emit_stt_usage_metrics()
        assert processor.stats().failed == 1
    finally:
        processor.shutdown()


async def test_a_wrapper_of_others_on_top_is_left_and_nothing_is_heard_twice(tracing):
    service, name = traced(Ear(sample_rate=16_000), tracing), "emit_stt_usage_metrics"
    before = vars(STTService)[name]

    with listening() as listener:
        own = vars(STTService)[name]

        async def foreign(self):  # hides what it wraps
            await own(self)

        STTService.emit_stt_usage_metrics = foreign
        subscribe(SOURCE, Listener().hear).renew()  # puts another one on top
        service._stt_usage_pending_seconds = 1.0
        await service.emit_stt_usage_metrics()

    STTService.emit_stt_usage_metrics = before
    assert len(listener.usages()) == 1


async def test_a_transparent_wrapper_of_others_keeps_the_hook(tracing):
    service, name = traced(Ear(sample_rate=16_000), tracing), "emit_stt_usage_metrics"
    before = vars(STTService)[name]

    with listening() as listener:
        own = vars(STTService)[name]

        @wraps(own)
        async def foreign(self):
            await own(self)

        STTService.emit_stt_usage_metrics = foreign
        assert is_stt_hooked()
        service._stt_usage_pending_seconds = 1.0
        await service.emit_stt_usage_metrics()

    STTService.emit_stt_usage_metrics = before
    assert len(listener.usages()) == 1


def test_a_processor_built_before_pipecat_is_imported_receives_reports():
    script = """
        import asyncio, sys
        from otel_voice_cost import VoiceCostSpanProcessor
        processor = VoiceCostSpanProcessor()
        assert "pipecat" not in sys.modules
        from pipecat.services.stt_service import STTService

        class DeepgramSTTService(STTService):
            async def run_stt(self, audio):
                yield None

        async def report():
            service = DeepgramSTTService(sample_rate=16_000)
            service._stt_usage_pending_seconds = 1.0
            await service.emit_stt_usage_metrics()

        asyncio.run(report())
        stats = processor.stats()
        assert stats.priced + stats.unpriced == 1, stats
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr


def test_overrides_of_a_service_are_heard_where_they_call_the_base_class():
    """Classes keep no copy of the hooked methods."""
    assert "emit_stt_usage_metrics" not in vars(Ear)
    assert "start_tts_usage_metrics" not in vars(CartesiaTTSService)
    assert trace.get_tracer_provider() is SOURCE.provider()
