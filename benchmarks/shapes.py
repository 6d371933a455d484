"""Spans as livekit-agents 1.8.9 makes them, with the attributes of its ``telemetry/trace_types.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

__all__ = ["SHAPES", "exporting", "provider_of", "span_maker"]

_LLM = {
    "type": "llm_metrics",
    "label": "livekit.plugins.openai.llm.LLM",
    "request_id": "chatcmpl-1",
    "timestamp": 1_795_000_000.2503,
    "duration": 0.8151,
    "ttft": 0.3142,
    "cancelled": False,
    "completion_tokens": 20,
    "prompt_tokens": 300,
    "prompt_cached_tokens": 128,
    "cache_creation_tokens": 0,
    "cache_read_tokens": 0,
    "reasoning_tokens": 0,
    "total_tokens": 320,
    "tokens_per_second": 24.5,
    "speech_id": "speech_1",
    "metadata": {"model_name": "gpt-4.1-mini", "model_provider": "openai"},
}
_TTS = {
    "type": "tts_metrics",
    "label": "livekit.plugins.cartesia.tts.TTS",
    "request_id": "tts-1",
    "timestamp": 1_795_000_000.2503,
    "ttfb": 0.1203,
    "duration": 0.9182,
    "audio_duration": 2.3,
    "cancelled": False,
    "characters_count": 46,
    "input_tokens": 0,
    "output_tokens": 0,
    "streamed": True,
    "acquire_time": 0.0,
    "connection_reused": True,
    "segment_id": "segment-1",
    "speech_id": "speech_1",
    "metadata": {"model_name": "sonic-3", "model_provider": "Cartesia"},
}
_MESSAGES = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Where is my order?"}]}])

# Name → instrumentation scope, span name, attributes.
SHAPES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "not LiveKit's": ("my-app", "work", {}),
    "LiveKit's, bills nothing": ("livekit-agents", "user_speaking", {}),
    "llm_request": (
        "livekit-agents",
        "llm_request",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4.1-mini",
            "gen_ai.request.stream": True,
            "gen_ai.output.type": "text",
            "gen_ai.system_instructions": '[{"type": "text", "content": "You are a clerk who finds orders."}]',
            "gen_ai.input.messages": _MESSAGES,
            "gen_ai.tool.definitions": '[{"type": "function", "name": "find_order"}]',
            "lk.llm_metrics": json.dumps(_LLM),
            "gen_ai.usage.input_tokens": 300,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "gpt-4.1-mini",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.response.time_to_first_chunk": 0.3142,
            "gen_ai.output.messages": _MESSAGES,
            "langfuse.observation.completion_start_time": '"2026-11-24T00:22:50.176223+00:00"',
        },
    ),
    "tts_request": (
        "livekit-agents",
        "tts_request",
        {
            "lk.tts.streaming": True,
            "lk.tts.label": "livekit.plugins.cartesia.tts.TTS",
            "gen_ai.provider.name": "Cartesia",
            "gen_ai.request.model": "sonic-3",
            "lk.pii.input_text": "Hello, this is the order desk. How can I help?",
            "lk.tts_metrics": json.dumps(_TTS),
        },
    ),
    "user_turn": (
        "livekit-agents",
        "user_turn",
        {
            "gen_ai.provider.name": "Deepgram",
            "gen_ai.request.model": "nova-3",
            "lk.pii.user_transcript": "Hi, I would like to know where my order is.",
            "lk.transcript_confidence": 1.0,
            "lk.transcription_delay": 0.2,
            "lk.end_of_turn_delay": 0.5,
            "lk.provider_request_ids": ("stt-3", "stt-4"),
            "lk.stt.events": '[{"received_at": 1795479769.9108438, "type": "final_transcript"}]',
        },
    ),
}


class _Nowhere(SpanExporter):
    """An exporter that drops everything."""

    def export(self, spans: Any) -> SpanExportResult:
        """Say that all is well."""
        return SpanExportResult.SUCCESS


def exporting(every_seconds: int = 5) -> SpanProcessor:
    """A batch processor whose spans go nowhere."""
    return BatchSpanProcessor(_Nowhere(), max_queue_size=100_000, schedule_delay_millis=every_seconds * 1_000)


def provider_of(*processors: SpanProcessor) -> TracerProvider:
    """A provider with these processors."""
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def span_maker(provider: TracerProvider, shape: str) -> Callable[[], None]:
    """Return what makes one span of that shape in a running session, attribute by attribute as LiveKit does.

    Args:
        provider: Of the span.
        shape: A key of `SHAPES`.
    """
    scope, name, attributes = SHAPES[shape]
    livekit = provider.get_tracer("livekit-agents")
    session = livekit.start_span("agent_session")
    turn = livekit.start_span("agent_turn", context=trace.set_span_in_context(session))
    inside = trace.set_span_in_context(turn if scope == "livekit-agents" else trace.INVALID_SPAN)
    tracer, whole = provider.get_tracer(scope), {**attributes, "one": 1}

    def make() -> None:
        span = tracer.start_span(name, context=inside)
        for key, value in whole.items():
            span.set_attribute(key, value)
        span.end()

    return make
