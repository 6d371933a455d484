"""Simulated calls: the spans and reports of turns as livekit-agents 1.8.9 makes them, and what they must cost."""

from __future__ import annotations

import gc
import random
import threading
import time
from array import array
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from livekit.agents.metrics import LLMMetrics, STTMetrics, TTSMetrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.testing.components import ScriptedSTT

__all__ = ["Call", "TimedProcessor", "percentile", "resident_megabytes", "use"]

# US dollars for one, of the shipped files; `Call.expected` is worked out with these and not by the package.
LLM = {"input": Decimal("0.4e-6"), "cached": Decimal("0.1e-6"), "output": Decimal("1.6e-6")}
STT, TTS = Decimal("0.0048") / 60, Decimal("50e-6")
QUIET = ("agent_speaking", "user_speaking", "eou_detection", "function_tool")

_ids = count()
_ears = ScriptedSTT([])


class TimedProcessor(VoiceCostSpanProcessor):
    """Ours, with the time of each `on_end` in microseconds: of the clock, and of the thread alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.microseconds, self.longest_own = array("f"), 0.0
        self.cost = Decimal(0)
        self._collecting, self._here = 0, threading.local()
        gc.callbacks.append(self._on_collection)

    def on_end(self, span: ReadableSpan) -> None:
        collected, began, own = self._collecting, time.perf_counter_ns(), time.thread_time_ns()
        super().on_end(span)
        own, ended = time.thread_time_ns() - own, time.perf_counter_ns()
        self.microseconds.append((ended - began) / 1e3)
        if self._collecting == collected:
            self.longest_own = max(self.longest_own, own / 1e3)
        usd = (span.attributes or {}).get("voice_cost.usd")
        if usd is not None:
            self.cost += Decimal(str(usd))

    def _on_collection(self, _phase: str, _info: object) -> None:
        self._collecting += 1


class Call:
    """One simulated call."""

    def __init__(self, provider: TracerProvider, seed: int) -> None:
        self._tracer, self._random = provider.get_tracer("livekit-agents"), random.Random(seed)
        self._session = self._tracer.start_span("agent_session")
        self.expected = Decimal(0)

    def turn(self) -> None:
        """A user is heard, a model thinks, a voice speaks: ten spans."""
        with trace.use_span(self._session, end_on_exit=False):
            self._hear()
            with self._tracer.start_as_current_span("agent_turn"):
                with self._tracer.start_as_current_span("llm_node"):
                    self._think()
                with self._tracer.start_as_current_span("tts_node"):
                    self._speak()
                for name in QUIET:
                    self._tracer.start_span(name).end()

    def end(self) -> None:
        """Hang up."""
        self._session.end()

    def _hear(self) -> None:
        for _ in range(2):
            tenths = self._random.randint(1, 60)
            self.expected += Decimal(tenths) / 10 * STT
            report = STTMetrics(
                label="livekit.plugins.deepgram.stt.STT",
                request_id=f"stt-{next(_ids)}",
                timestamp=time.time(),
                duration=0.0,
                audio_duration=tenths / 10,
                streamed=True,
                metadata=Metadata(model_name="nova-3", model_provider="Deepgram"),
            )
            _ears.emit("metrics_collected", report)
        self._tracer.start_span("user_turn", attributes={"gen_ai.request.model": "nova-3"}).end()

    def _think(self) -> None:
        prompt, cached, output = self._random.randint(200, 4_000), self._random.randint(0, 200), 40
        self.expected += (prompt - cached) * LLM["input"] + cached * LLM["cached"] + output * LLM["output"]
        report = LLMMetrics(
            label="livekit.plugins.openai.llm.LLM",
            request_id=f"chatcmpl-{next(_ids)}",
            timestamp=time.time(),
            duration=0.8,
            ttft=0.3,
            cancelled=False,
            completion_tokens=output,
            prompt_tokens=prompt,
            prompt_cached_tokens=cached,
            total_tokens=prompt + output,
            tokens_per_second=50.0,
            metadata=Metadata(model_name="gpt-4.1-mini", model_provider="api.openai.com"),
        )
        attributes = {"gen_ai.request.model": "gpt-4.1-mini", "lk.llm_metrics": report.model_dump_json()}
        with self._tracer.start_as_current_span("llm_request", attributes=attributes):
            _ears.emit("metrics_collected", report)

    def _speak(self) -> None:
        characters = self._random.randint(10, 300)
        self.expected += characters * TTS
        report = TTSMetrics(
            label="livekit.plugins.cartesia.tts.TTS",
            request_id=f"tts-{next(_ids)}",
            timestamp=time.time(),
            ttfb=0.1,
            duration=0.5,
            audio_duration=4.2,
            cancelled=False,
            characters_count=characters,
            streamed=True,
            metadata=Metadata(model_name="sonic-3", model_provider="Cartesia"),
        )
        attributes = {"gen_ai.request.model": "sonic-3", "lk.tts_metrics": report.model_dump_json()}
        with self._tracer.start_as_current_span("tts_request", attributes=attributes):
            _ears.emit("metrics_collected", report)


def use(provider: TracerProvider) -> TracerProvider:
    """Let LiveKit use a provider."""
    set_tracer_provider(provider)
    return provider


def percentile(values: array[float], part: float) -> float:
    """The value that this part of all do not exceed."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def resident_megabytes() -> float:
    """Memory of this process now, where Linux tells; else 0."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4_096 / 1e6 if statm.exists() else 0.0
