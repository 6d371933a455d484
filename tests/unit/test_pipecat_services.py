"""Vendor and model of Pipecat's services, from classes, settings and spans."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

from pipecat.services.anthropic.llm import AnthropicLLMService
from pipecat.services.cartesia.tts import CartesiaHttpTTSService, CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.tts_service import TTSService

from otel_voice_cost.sources.pipecat.services import (
    describe,
    describe_span,
    find_class,
    is_speech_reported,
    read_service_model,
    read_service_provider,
    read_span_model,
)
from otel_voice_cost.usage import Component

LLM, STT, TTS = Component.LLM, Component.STT, Component.TTS


class MyTTS(CartesiaTTSService):
    pass


class OwnTTSService(TTSService):
    async def run_tts(self, text: str, context_id: str):
        yield None


@pytest.mark.parametrize(
    ("service", "provider"),
    [
        (CartesiaHttpTTSService, "cartesia"),
        (MyTTS, "cartesia"),
        (OpenAILLMService, "openai"),
        (OwnTTSService, "own"),
    ],
)
def test_the_vendor_is_in_the_module_of_the_first_class_of_a_vendor(service, provider):
    assert describe(service).provider == provider


def test_modules_that_the_catalog_calls_otherwise():
    service = type("FishAudioTTSService", (), {"__module__": "pipecat.services.fish.tts"})

    assert describe(service).provider == "fishaudio"


def test_how_a_class_reports():
    assert describe(AnthropicLLMService).is_net
    assert not describe(OpenAILLMService).is_net
    assert describe(OpenAISTTService).is_batch
    assert not describe(DeepgramSTTService).is_batch
    assert describe(OpenAIRealtimeLLMService)[2:4] == (True, True)


def test_nova_sonic_reports_gross_tokens_of_unknown_modality():
    service = type("AWSNovaSonicLLMService", (), {"__module__": "pipecat.services.aws.nova_sonic.llm"})

    assert describe(service) == ("aws", False, True, False, False)


def test_a_span_names_a_class_that_is_imported_here():
    assert find_class(TTS, "my" + "tts") is MyTTS
    assert describe_span(TTS, "mytts").provider == "cartesia"


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("aws.bedrock", "aws"),
        ("awspolly", "aws"),
        ("azure.ai.openai", "azure"),
        ("deepgramsagemaker", "deepgram"),
        ("fishaudio", "fishaudio"),
        ("gcp.vertex_ai", "google"),
        ("somebody", "somebody"),
        ("x_ai", "xai"),
        ("", "unknown"),
    ],
)
def test_a_span_of_another_process_names_the_vendor_by_the_beginning_of_a_class(name, provider):
    assert describe_span(TTS, name).provider == provider


def test_a_class_that_never_reports_speech_is_known():
    """So that speech without a report is priced by its span, and not taken for a failure."""
    assert is_speech_reported(CartesiaTTSService)
    assert is_speech_reported(MyTTS)
    assert not is_speech_reported(OwnTTSService)


def service(**fields):
    return SimpleNamespace(_settings=SimpleNamespace(**fields), _full_model_name="gpt-4.1-mini-2025-04-14")


def test_the_model_is_the_setting_but_for_azure_whose_setting_is_a_deployment():
    assert read_service_model(service(model="GPT-4.1-mini"), LLM, "openai") == "gpt-4.1-mini"
    assert read_service_model(service(model="my-deployment"), LLM, "azure") == "gpt-4.1-mini-2025-04-14"
    assert read_service_model(SimpleNamespace(), LLM, "openai") == "unknown"


@pytest.mark.parametrize(
    ("provider", "attributes", "model"),
    [
        ("aws", {"settings.engine": "neural"}, "neural"),
        ("aws", {}, "standard"),
        ("azure", {"voice_id": "en-US-JennyNeural"}, "en-us-jennyneural"),
        ("cartesia", {"voice_id": "voice-1"}, "unknown"),
    ],
)
def test_speech_without_a_model_is_priced_by_engine_or_voice(provider, attributes, model):
    assert read_span_model({"gen_ai.request.model": "unknown", **attributes}, TTS, provider) == model


def test_deepgram_prices_many_languages_apart_under_the_same_model():
    attributes = {"gen_ai.request.model": "nova-3-general", "settings.language": "multi"}

    assert read_span_model(attributes, STT, "deepgram") == "nova-3-multi"
    assert read_service_model(service(model="nova-3-general", language="multi"), STT, "deepgram") == "nova-3-multi"
    assert read_service_model(service(model="nova-3-general", language="en"), STT, "deepgram") == "nova-3-general"


@pytest.mark.parametrize(
    ("host", "provider"), [("api.groq.com", "groq"), ("api.openai.com", "openai"), ("gateway.example", "openai")]
)
def test_openais_client_calls_the_vendor_with_its_host(host, provider):
    called = SimpleNamespace(_client=SimpleNamespace(base_url=SimpleNamespace(host=host)))

    assert read_service_provider(called, "openai") == provider
    assert read_service_provider(called, "nebius") == "nebius"
