"""Fixtures: a fresh tracer provider for every test, and prices that no release changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet

SPEECH = "my card number is 4111"
CONTENT = (SPEECH, "An answer.", "sk-lf-", "pk-lf-")  # what no line of ours may hold, in any test

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)

PRICES = """
source = "https://example.com/pricing"
checked = 2026-11-01

[[rate]]
provider = "openai"
model = "gpt-4.1-mini"
component = "llm"
unit = "input_token"
usd = 0.40
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-4.1-mini"
component = "llm"
unit = "cached_input_token"
usd = 0.10
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-4.1-mini"
component = "llm"
unit = "output_token"
usd = 1.60
per = 1_000_000

[[rate]]
provider = "cartesia"
model = ["sonic-3", "sonic-3-*"]
component = "tts"
unit = "character"
usd = 50
per = 1_000_000

[[rate]]
provider = "deepgram"
model = "nova-3"
component = "stt"
unit = "audio_second"
usd = 0.0048
per = 60
mode = "streaming"

[[rate]]
provider = "deepgram"
model = "nova-3"
component = "stt"
unit = "audio_second"
usd = 0.0043
per = 60
mode = "batch"
increment = 1

[[rate]]
provider = "assemblyai"
model = "universal-streaming"
component = "stt"
unit = "audio_second"
usd = 0.15
per = 3600

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "input_text_token"
usd = 4
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "cached_input_text_token"
usd = 0.40
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "input_audio_token"
usd = 32
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "cached_input_audio_token"
usd = 0.40
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "output_text_token"
usd = 16
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-realtime"
component = "realtime"
unit = "output_audio_token"
usd = 64
per = 1_000_000

[[rate]]
provider = "xai"
model = "grok-voice"
component = "realtime"
unit = "session_second"
usd = 0.08
per = 60
"""


def llm_metrics(**fields: Any) -> dict[str, Any]:
    """LLMMetrics as livekit-agents 1.8.9 writes them."""
    return {
        "type": "llm_metrics",
        "label": "livekit.plugins.openai.llm.LLM",
        "request_id": "chatcmpl-1",
        "timestamp": AT.timestamp(),
        "duration": 0.8,
        "ttft": 0.3,
        "cancelled": False,
        "completion_tokens": 20,
        "prompt_tokens": 300,
        "prompt_cached_tokens": 0,
        "cache_creation_tokens": 0,
        "reasoning_tokens": 0,
        "total_tokens": 320,
        "tokens_per_second": 25.0,
        "speech_id": None,
        "metadata": {"model_name": "gpt-4.1-mini", "model_provider": "api.openai.com"},
        **fields,
    }


def tts_metrics(**fields: Any) -> dict[str, Any]:
    """TTSMetrics as livekit-agents 1.8.9 writes them."""
    return {
        "type": "tts_metrics",
        "label": "livekit.plugins.cartesia.tts.TTS",
        "request_id": "tts-1",
        "timestamp": AT.timestamp(),
        "ttfb": 0.1,
        "duration": 0.5,
        "audio_duration": 4.2,
        "cancelled": False,
        "characters_count": 180,
        "input_tokens": 0,
        "output_tokens": 0,
        "streamed": True,
        "metadata": {"model_name": "sonic-3", "model_provider": "Cartesia"},
        **fields,
    }


def stt_metrics(**fields: Any) -> dict[str, Any]:
    """STTMetrics as livekit-agents 1.8.9 writes them."""
    return {
        "type": "stt_metrics",
        "label": "livekit.plugins.deepgram.stt.STT",
        "request_id": "stt-1",
        "timestamp": AT.timestamp(),
        "duration": 0.0,
        "audio_duration": 5.0,
        "streamed": True,
        "input_tokens": 0,
        "output_tokens": 0,
        "metadata": {"model_name": "nova-3", "model_provider": "Deepgram"},
        **fields,
    }


def realtime_metrics(**fields: Any) -> dict[str, Any]:
    """RealtimeModelMetrics as livekit-agents 1.8.9 writes them: 304 in, of them 160 cached; 100 out."""
    return {
        "type": "realtime_model_metrics",
        "label": "livekit.plugins.openai.realtime.RealtimeModel",
        "request_id": "resp-1",
        "timestamp": AT.timestamp(),
        "session_duration": 0.0,
        "input_tokens": 304,
        "output_tokens": 100,
        "total_tokens": 404,
        "input_token_details": {
            "audio_tokens": 200,
            "text_tokens": 104,
            "image_tokens": 0,
            "cached_tokens": 160,
            "cached_tokens_details": {"audio_tokens": 96, "text_tokens": 64, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 20, "audio_tokens": 80, "image_tokens": 0},
        "metadata": {"model_name": "gpt-realtime", "model_provider": "api.openai.com"},
        **fields,
    }


class _Lines(logging.Handler):
    """Keeps the package's log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("otel_voice_cost"):
            self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def no_content_in_the_log() -> Iterator[None]:
    """Check over the whole suite that no line contains speech, secrets or a traceback, which may quote them."""
    handler = _Lines()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    assert [line for line in handler.lines if "Traceback" in line or any(text in line for text in CONTENT)] == []


@pytest.fixture
def price_catalog() -> PriceCatalog:
    """Prices for tests, independent of vendors' changes."""
    sheet = parse_sheet(PRICES, "prices.toml")
    assert not sheet.problems
    return PriceCatalog([sheet.rates])


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(price_catalog: PriceCatalog, exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """The usual pipeline: this package's processor, then an exporting one."""
    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


EndSpan = Callable[..., ReadableSpan]


@pytest.fixture
def end_span(provider: TracerProvider, exporter: InMemorySpanExporter) -> EndSpan:
    """End a span of LiveKit's scope on the usual pipeline and return what was exported."""

    def end(name: str, attributes: Mapping[str, Any], scope: str = "livekit-agents") -> ReadableSpan:
        with provider.get_tracer(scope).start_as_current_span(name, attributes=dict(attributes)):
            pass
        return exporter.get_finished_spans()[-1]

    return end


@pytest.fixture
def end_llm_span(end_span: EndSpan) -> EndSpan:
    return lambda **fields: end_span("llm_request", {"lk.llm_metrics": json.dumps(llm_metrics(**fields))})


@pytest.fixture
def end_tts_span(end_span: EndSpan) -> EndSpan:
    return lambda **fields: end_span("tts_request", {"lk.tts_metrics": json.dumps(tts_metrics(**fields))})


@pytest.fixture
def end_realtime_span(end_span: EndSpan) -> EndSpan:
    def end(name: str = "realtime_inference", **fields: Any) -> ReadableSpan:
        return end_span(name, {"lk.realtime_model_metrics": json.dumps(realtime_metrics(**fields))})

    return end


def usd(span: ReadableSpan) -> Decimal:
    """The exact cost on a span."""
    return Decimal(str((span.attributes or {})["voice_cost.usd"]))
