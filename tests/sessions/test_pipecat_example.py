"""The example of a Pipecat bot, with scripted services and a scripted transport: its spans reach Langfuse's address."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest
from opentelemetry import trace

from otel_voice_cost.demo.receiver import OtlpReceiver

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

BOT = Path(__file__).parents[2] / "examples" / "pipecat" / "bot.py"
KEYS = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY")


class ScriptedService:
    """Stands for a class of Pipecat's services: returns a scripted one with the model of its settings."""

    def __init__(self, make):
        self.make = make

    def Settings(self, *, model, **_):
        return model

    def __call__(self, *, api_key, settings):
        assert api_key == "key"
        return self.make(settings)


class ScriptedTransport:
    """Connects a caller. The bot's event handlers are kept by name."""

    def __init__(self, caller):
        self.caller, self.handlers = caller, {}

    def input(self):
        return self.caller.microphone

    def output(self):
        return self.caller.speaker

    def event_handler(self, name):
        return lambda handler: self.handlers.setdefault(name, handler)


@pytest.fixture
def example(monkeypatch):
    """The module of the bot, and the receiver that has Langfuse's address."""
    from otel_voice_cost.testing import pipecat  # noqa: PLC0415

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)  # the API lets an application set it once
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", trace.Once())
    with OtlpReceiver() as receiver:
        for key in KEYS:
            monkeypatch.setenv(key, "key")
        monkeypatch.setenv("LANGFUSE_BASE_URL", receiver.endpoint.removesuffix("/v1/traces"))
        spec = importlib.util.spec_from_file_location("bot", BOT)
        bot = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(bot)
        answers = [pipecat.Answer(text="Order desk, hello."), pipecat.Answer(text="Goodbye.")]
        bot.DeepgramSTTService = ScriptedService(lambda model: pipecat.ScriptedSTT(["Thank you."], model=model))
        bot.OpenAILLMService = ScriptedService(lambda model: pipecat.ScriptedLLM(answers, model=model))
        bot.CartesiaTTSService = ScriptedService(lambda model: pipecat.ScriptedTTS(model=model))
        bot.SileroVADAnalyzer = pipecat.LoudnessVAD
        yield bot, receiver
        bot.provider.shutdown()


async def test_a_call_with_the_example_is_priced(example):
    from otel_voice_cost.testing.pipecat import Caller  # noqa: PLC0415

    bot, receiver = example
    caller = Caller()
    transport = ScriptedTransport(caller)

    answering = asyncio.create_task(bot.answer(transport, "call-1"))
    await caller.microphone.is_ready.wait()
    await transport.handlers["on_client_connected"](transport, None)
    await caller.hear_answer()
    await caller.ask_and_listen()
    await transport.handlers["on_client_disconnected"](transport, None)
    await answering
    bot.provider.shutdown()

    spans = {span.name: span for span in receiver.spans}
    priced = {span.attributes["voice_cost.component"] for span in receiver.spans if "voice_cost.usd" in span.attributes}
    assert priced == {"llm", "stt", "tts"}
    assert not [span for span in receiver.spans if "voice_cost.unpriced" in span.attributes]
    assert spans["conversation"].attributes["langfuse.session.id"] == "call-1"
    assert spans["conversation"].attributes["conversation.id"] == "call-1"
    assert float(spans["conversation"].attributes["voice_cost.session.usd"]) > 0
