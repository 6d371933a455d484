"""The shipped list of Pipecat's service classes equals the installed release."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from contextlib import suppress

import pytest

from otel_voice_cost.sources.pipecat import TESTED
from otel_voice_cost.sources.pipecat.classes import load_service_classes
from otel_voice_cost.sources.pipecat.framework import PIPECAT
from otel_voice_cost.sources.pipecat.services import describe, is_speech_reported, read_service_model
from otel_voice_cost.usage import Component, Mode, Unit

CLASSES = load_service_classes()
BY_NAME = {each.name: each for each in CLASSES}


def test_every_class_is_listed_once():
    assert len(BY_NAME) == len(CLASSES)
    assert Counter(each.component.value for each in CLASSES) == {"llm": 30, "stt": 37, "tts": 54, "realtime": 10}


def test_tokens_of_a_realtime_model_are_told_apart_only_by_services_that_do():
    apart = {each.name for each in CLASSES if Unit.INPUT_AUDIO_TOKEN in each.units}

    assert apart == {
        "AzureRealtimeLLMService",
        "GeminiLiveLLMService",
        "GeminiLiveVertexLLMService",
        "OpenAIRealtimeLLMService",
    }
    assert {each.name for each in CLASSES if not each.units} == {"OpenAILiveLLMService", "UltravoxRealtimeLLMService"}


def test_speech_to_text_by_utterance_is_batch():
    assert BY_NAME["GroqSTTService"].mode is Mode.BATCH
    assert BY_NAME["DeepgramSTTService"].mode is Mode.STREAMING


@pytest.fixture(scope="module")
def reader():
    pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")
    if PIPECAT.installed() != TESTED[-1]:
        pytest.skip(f"the list is of {TESTED[-1]}")
    return importlib.import_module("tests.pipecat_classes")


def test_the_list_is_up_to_date(reader):
    """Make it again with `make pipecat-classes`."""
    assert json.loads(reader.PATH.read_text(encoding="utf-8")) == reader.read_classes()


def import_classes():
    """Yield the classes that can be imported here, as listed and in truth: the others need the SDK of a vendor."""
    for listed in CLASSES:
        module, _, name = listed.label.rpartition(".")
        with suppress(Exception):  # Pipecat raises one of its own, and an SDK may raise anything
            yield listed, getattr(importlib.import_module(module), name)


def test_real_classes_are_described_like_the_parsed_ones(reader):
    imported = list(import_classes())

    assert len(imported) > 80
    for listed, service in imported:
        facts = describe(service)
        assert facts.provider == listed.provider, listed.name
        if listed.component is Component.STT:
            assert facts.is_batch == (listed.mode is Mode.BATCH), listed.name
        if listed.component is Component.TTS:
            assert is_speech_reported(service) == ("spans" not in listed.remark), listed.name


async def test_real_services_have_the_default_models_of_the_parsed_ones(reader, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("FAL_KEY", "none")
    made = 0
    for listed, service_class in import_classes():
        service = make(service_class)
        if service is not None:
            made += 1
            assert listed.models == (read_service_model(service, listed.component, listed.provider),), listed.name

    assert made > 75


def make(service_class):
    """Return a service without settings, None if it needs some: text for each argument that it must have."""
    init = next(vars(each)["__init__"] for each in service_class.__mro__ if "__init__" in vars(each))
    required = [
        each.name
        for each in inspect.signature(init).parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    with suppress(ValueError):
        return service_class(**dict.fromkeys(required, "none"))
    return None
