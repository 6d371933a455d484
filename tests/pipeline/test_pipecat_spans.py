"""Spans and reports of Pipecat through a real provider: reports with and without their span, and of other sessions."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal

import pytest

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

from livekit.agents.metrics import STTMetrics
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.services.settings import LLMSettings
from pipecat.utils.tracing.tracing_context import TracingContext

from otel_voice_cost import PriceCatalog, Settings, VoiceCostSpanProcessor
from otel_voice_cost.sources.pipecat import hooks
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import stt_metrics, usd
from ..langfuse_model import content_of, session_of

TTS = {"gen_ai.provider.name": "cartesia", "gen_ai.request.model": "sonic-3", "metrics.character_count": 16}
STT = {"gen_ai.provider.name": "deepgram", "gen_ai.request.model": "nova-3", "metrics.audio_seconds": 6.0}


class Conversation:
    """The spans of one pipeline, made as Pipecat makes them, and the exported ones by name."""

    def __init__(self, provider: TracerProvider, exporter, attributes=None) -> None:
        self._services, self._turns = provider.get_tracer("pipecat"), provider.get_tracer("pipecat.turn")
        self._exporter = exporter
        self.tracing = TracingContext()
        self.span = self._turns.start_span("conversation")
        for key, value in {"conversation.id": "c-1", **(attributes or {})}.items():
            self.span.set_attribute(key, value)
        self.tracing.set_conversation_context(self.span.get_span_context(), "c-1")

    def connect(self, service):
        service._tracing_enabled, service._tracing_context = True, self.tracing
        return service

    @contextmanager
    def turn(self):
        context = self.tracing.get_conversation_context()
        span = self._turns.start_span("turn", context=context)
        self.tracing.set_turn_context(span.get_span_context())
        yield
        self.tracing.set_turn_context(None)
        span.end()

    def start(self, name: str, attributes=None):
        above = self.tracing.get_turn_context() or self.tracing.get_conversation_context()
        return self._services.start_span(name, context=above, attributes=attributes)

    def end(self):
        self.tracing.set_conversation_context(None)
        self.span.end()
        return self.exported()

    def exported(self):
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def conversation(provider, exporter):
    return Conversation(provider, exporter)


def deepgram(model: str = "nova-3") -> DeepgramSTTService:
    return DeepgramSTTService(api_key="none", settings=DeepgramSTTService.Settings(model=model))


def cartesia() -> CartesiaTTSService:
    service = CartesiaTTSService(api_key="none", settings=CartesiaTTSService.Settings(model="sonic-3", voice="v"))
    service._tts_spans, service._tts_texts = {}, {}
    return service


async def hear(service, seconds: float) -> None:
    service._stt_usage_pending_seconds = seconds
    await service.emit_stt_usage_metrics()


async def speak(service, text: str, context_id: str = "a") -> None:
    service._tts_texts.setdefault(context_id, []).append(text)
    await service.start_tts_usage_metrics(text)


async def test_a_conversation_gets_the_total_and_a_turn_its_part(conversation):
    ear = conversation.connect(deepgram())
    await hear(ear, 6.0)
    with conversation.turn():
        conversation.start("stt", STT).end()
    await hear(ear, 3.0)

    spans = conversation.end()

    assert usd(spans["stt"]) == Decimal("0.00048")
    assert spans["turn"].attributes["voice_cost.turn.stt.usd"] == "0.00048"
    assert usd(spans["stt_usage"]) == Decimal("0.00024")
    assert spans["stt_usage"].parent.span_id == spans["conversation"].context.span_id
    assert spans["stt_usage"].attributes["conversation.id"] == "c-1"
    assert spans["conversation"].attributes["voice_cost.session.usd"] == "0.00072"


async def test_usage_spans_take_over_the_ids_of_the_conversation(provider, exporter):
    given = {"conversation.type": "voice", "langfuse.session.id": "s-1", "user.id": "u-1"}
    conversation = Conversation(provider, exporter, given)
    await hear(conversation.connect(deepgram()), 3.0)

    attributes = conversation.end()["stt_usage"].attributes

    assert (attributes["langfuse.session.id"], attributes["user.id"]) == ("s-1", "u-1")
    assert "conversation.type" not in attributes


async def test_a_transcript_gets_the_audio_of_its_model_alone(conversation):
    await hear(conversation.connect(deepgram("other")), 3.0)
    await hear(conversation.connect(deepgram()), 6.0)
    conversation.start("stt", STT).end()

    spans = conversation.end()

    assert spans["stt"].attributes["voice_cost.quantity.audio_second"] == 6.0
    assert spans["stt_usage"].attributes["voice_cost.quantity.audio_second"] == 3.0


async def test_the_texts_of_a_reply_are_on_its_span(conversation):
    voice = conversation.connect(cartesia())
    span = conversation.start("tts", TTS)
    voice._tts_spans["a"] = {"span": span}
    await speak(voice, "Yes, in the ")
    await speak(voice, "morning.")
    span.end()

    spans = conversation.end()

    assert spans["tts"].attributes["voice_cost.quantity.character"] == 20
    assert "tts_usage" not in spans


async def test_speech_of_a_failed_request_has_no_cost(conversation):
    voice = conversation.connect(cartesia())
    voice._tts_spans["a"] = {"span": conversation.start("tts", TTS)}
    voice._tts_spans["a"]["span"].end()

    attributes = conversation.end()["tts"].attributes

    assert "voice_cost.usd" not in attributes
    assert "voice_cost.unpriced" not in attributes
    assert attributes["langfuse.observation.cost_details"] == '{"total": 0}'


async def test_speech_of_a_service_that_reports_none_is_priced_by_its_span(conversation):
    conversation.start("tts", {**TTS, "gen_ai.provider.name": "cartesiaofanotherprocess"}).end()

    assert usd(conversation.end()["tts"]) == Decimal("0.0008")


async def test_speech_after_the_end_of_its_span_gets_a_span_of_its_own(conversation):
    voice = conversation.connect(cartesia())
    await speak(voice, "Bye.")

    assert conversation.end()["tts_usage"].attributes["voice_cost.quantity.character"] == 4


async def test_a_reply_that_never_ends_is_billed_at_the_end_of_the_conversation(conversation):
    voice = conversation.connect(cartesia())
    span = conversation.start("tts", TTS)
    voice._tts_spans["a"] = {"span": span}
    await speak(voice, "Good morning.")
    spans = conversation.end()
    assert spans["tts_usage"].attributes["voice_cost.quantity.character"] == 13

    span.end()

    assert "voice_cost.usd" not in conversation.exported()["tts"].attributes


async def test_a_request_without_usage_says_so(conversation):
    conversation.start("llm", {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1-mini"}).end()

    spans = conversation.end()

    assert spans["llm"].attributes["voice_cost.unpriced"] == "Pipecat reported no usage for this request"
    assert spans["conversation"].attributes["voice_cost.session.unpriced"] == 1


async def test_usage_in_units_that_the_model_is_not_billed_by_has_no_cost_and_says_so(exporter):
    """Amazon bills speech apart from text, of which Pipecat tells only the sum; OpenAI bills this voice by tokens."""
    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=PriceCatalog.default()))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    conversation = Conversation(provider, exporter)
    sonic = type("AWSNovaSonicLLMService", (LLMService,), {"__module__": "pipecat.services.aws.nova_sonic.llm"})
    model = conversation.connect(sonic(settings=LLMSettings(model="amazon.nova-2-sonic-v1:0")))
    await model.start_llm_usage_metrics(LLMTokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120))
    settings = OpenAITTSService.Settings(model="gpt-4o-mini-tts", voice="alloy")
    voice = conversation.connect(OpenAITTSService(api_key="none", settings=settings))
    await voice.start_tts_usage_metrics("Hello.")

    spans = conversation.end()
    provider.shutdown()

    reasons = [spans[name].attributes["voice_cost.unpriced"] for name in ("realtime_usage", "tts_usage")]
    assert reasons == [
        "aws/amazon.nova-2-sonic-v1:0 has no rate per input_token",
        "openai/gpt-4o-mini-tts has no rate for text, only for time and token",
    ]
    assert spans["conversation"].attributes["voice_cost.session.unpriced"] == 2


async def test_a_response_is_billed_once_if_it_is_reported_after_its_span(conversation):
    """As Gemini Live does."""
    model = conversation.connect(
        OpenAIRealtimeLLMService(api_key="none", settings=OpenAIRealtimeLLMService.Settings(model="gpt-realtime"))
    )
    attributes = {
        "gen_ai.provider.name": "openairealtime",
        "gen_ai.request.model": "gpt-realtime",
        "gen_ai.usage.input_tokens": 250,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.usage.audio.input_tokens": 200,
        "gen_ai.usage.audio.output_tokens": 60,
    }
    conversation.start("llm_response", attributes).end()
    usage = LLMTokenUsage(
        prompt_tokens=250, completion_tokens=80, total_tokens=330, input_audio_tokens=200, output_audio_tokens=60
    )
    await model.start_llm_usage_metrics(usage)
    await model.start_llm_usage_metrics(usage.model_copy(update={"prompt_tokens": 260}))

    spans = conversation.end()

    assert spans["llm_response"].attributes["voice_cost.quantity.input_audio_token"] == 200
    assert spans["llm_response"].attributes["voice_cost.quantity.input_text_token"] == 50
    assert spans["realtime_usage"].attributes["voice_cost.quantity.input_text_token"] == 60


@pytest.mark.parametrize("name", ["llm_setup", "llm_request", "llm_tool_call", "llm_tool_result", "stt"])
async def test_a_span_that_names_a_realtime_model_bills_nothing(name, conversation):
    attributes = {"gen_ai.provider.name": "openairealtimellmservice", "gen_ai.request.model": "gpt-realtime"}
    conversation.start(name, attributes).end()

    attributes = conversation.end()[name].attributes

    assert attributes["langfuse.observation.cost_details"] == '{"total": 0}'
    assert attributes["langfuse.observation.type"] == "span"
    assert "voice_cost.usd" not in attributes


async def test_without_reports_a_span_is_priced_by_its_own_numbers(price_catalog, exporter, monkeypatch):
    """As those of another process."""
    monkeypatch.setattr(hooks._hook, "subscriptions", ())  # processors of other tests may listen
    provider, processor = TracerProvider(), VoiceCostSpanProcessor(catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    processor.uninstall()
    conversation = Conversation(provider, exporter)
    conversation.start("stt", STT).end()
    conversation.start("tts", TTS).end()
    conversation.start("stt", {**STT, "metrics.audio_seconds": 0.0}).end()

    conversation.end()
    provider.shutdown()

    spans = [span for span in exporter.get_finished_spans() if span.name in ("stt", "tts")]
    assert [span.attributes.get("voice_cost.usd") for span in spans] == ["0.00048", "0.0008", None]
    assert spans[-1].attributes["voice_cost.unpriced"] == "Pipecat reported no usage for this request"
    assert spans[-1].attributes["voice_cost.unreported"] == "no report"


async def test_a_report_of_livekit_outside_of_sessions_is_not_of_a_conversation(conversation):
    fields = {key: value for key, value in stt_metrics().items() if key != "type"}
    ScriptedSTT([]).emit("metrics_collected", STTMetrics(**fields))

    assert conversation.end()["conversation"].attributes["voice_cost.session.usd"] == "0"


async def test_a_report_of_another_provider_is_not_of_the_only_conversation(conversation, exporter):
    other = Conversation(TracerProvider(), exporter)
    await hear(other.connect(deepgram()), 3.0)

    assert conversation.end()["conversation"].attributes["voice_cost.session.usd"] == "0"


async def test_tokens_reported_inside_a_request_are_on_its_span_even_if_the_span_lost_them(conversation):
    model = conversation.connect(
        OpenAILLMService(api_key="none", settings=OpenAILLMService.Settings(model="gpt-4.1-mini"))
    )
    span = conversation.start("llm", {"gen_ai.provider.name": "openai"})
    with trace.use_span(span, end_on_exit=True):
        await model.start_llm_usage_metrics(LLMTokenUsage(prompt_tokens=100, completion_tokens=4, total_tokens=104))

    assert usd(conversation.end()["llm"]) == Decimal("0.0000464")


@pytest.mark.parametrize(
    ("attributes", "session"),
    [({}, "c-1"), ({"langfuse.session.id": "theirs"}, "theirs"), ({"session.id": "theirs"}, "theirs")],
)
def test_langfuse_gets_the_conversation_of_each_span(provider, exporter, attributes, session):
    """Pipecat writes ids on the conversation alone; Langfuse 4 reads them from each span."""
    conversation = Conversation(provider, exporter, {"langfuse.user.id": "u-1", **attributes})
    with conversation.turn():
        conversation.start("tts", TTS).end()
        conversation.start("llm", {"input": "asked", "output": "answered"}).end()
    spans = conversation.end()

    assert {session_of(span.attributes) for span in spans.values()} == {session}
    assert {span.attributes["langfuse.user.id"] for span in spans.values()} == {"u-1"}
    assert not any("langfuse.trace.name" in span.attributes for span in spans.values())


def test_the_words_of_a_pipecat_llm_stay_as_langfuse_reads_them(price_catalog, exporter):
    """With one of langfuse.observation.input and output, Langfuse ignores Pipecat's input and output."""
    provider = TracerProvider()
    settings = Settings(langfuse_content=True)
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, settings=settings))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    conversation = Conversation(provider, exporter)
    usage = {"gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 20}
    model = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1-mini"}
    with conversation.turn():
        conversation.start("llm", {"input": "asked", "output": "answered", **model, **usage}).end()
        conversation.start("tts", {**TTS, "gen_ai.provider.name": "own", "text": "spoken"}).end()
    spans = conversation.end()

    assert spans["llm"].attributes["langfuse.observation.type"] == "generation"
    assert content_of(spans["llm"].attributes) == ("asked", "answered")
    assert content_of(spans["tts"].attributes) == ("spoken", None)
