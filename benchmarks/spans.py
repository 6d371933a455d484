"""What the processor adds to a span, beside the SDK's own work and one price calculation, in the same run.

Each figure is the median of rounds that take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from time import perf_counter

from genai_prices import Usage, calc_price
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from rich import box
from rich.console import Console
from rich.table import Table

from otel_voice_cost import VoiceCostSpanProcessor

ROUNDS, SPANS = 15, 400

LLM = {
    "label": "livekit.plugins.openai.llm.LLM",
    "request_id": "chatcmpl-1",
    "timestamp": 1_795_000_000.25,
    "prompt_tokens": 300,
    "prompt_cached_tokens": 128,
    "completion_tokens": 20,
    "total_tokens": 320,
    "metadata": {"model_name": "gpt-4.1-mini", "model_provider": "api.openai.com"},
}
TTS = {
    "label": "livekit.plugins.cartesia.tts.TTS",
    "request_id": "tts-1",
    "timestamp": 1_795_000_000.25,
    "characters_count": 180,
    "audio_duration": 12.4,
    "metadata": {"model_name": "sonic-3", "model_provider": "Cartesia"},
}
SHAPES = {
    "a span that is not LiveKit's": ("my-app", "work", {"step": 1}),
    "a LiveKit span that bills nothing": ("livekit-agents", "user_speaking", {"step": 1}),
    "a priced llm_request": ("livekit-agents", "llm_request", {"lk.llm_metrics": json.dumps(LLM)}),
    "a priced tts_request": ("livekit-agents", "tts_request", {"lk.tts_metrics": json.dumps(TTS)}),
}


class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS


def provider(*processors: SpanProcessor) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    for processor in (*processors, BatchSpanProcessor(Nowhere(), max_queue_size=100_000)):
        made.add_span_processor(processor)
    return made


def spans(of: TracerProvider, scope: str, name: str, attributes: dict) -> Callable[[], None]:
    tracer = of.get_tracer(scope)

    def make() -> None:
        for _ in range(SPANS):
            span = tracer.start_span(name, attributes=attributes)
            span.set_attribute("one", 1)
            span.end()

    return make


def price_calculations() -> None:
    usage = Usage(input_tokens=300, cache_read_tokens=128, output_tokens=20)
    for _ in range(SPANS):
        calc_price(usage, model_ref="gpt-4.1-mini", provider_id="openai")


def medians(contestants: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Microseconds for one, by name."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = perf_counter()
            run()
            times[name].append((perf_counter() - start) / SPANS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    bare, idle, ours = provider(), provider(SpanProcessor()), provider(VoiceCostSpanProcessor())
    contestants: dict[str, Callable[[], None]] = {"one genai_prices.calc_price": price_calculations}
    for shape, (scope, name, attributes) in SHAPES.items():
        for who, of in (("SDK", bare), ("idle", idle), ("ours", ours)):
            contestants[f"{shape}, {who}"] = spans(of, scope, name, attributes)
    found = medians(contestants)
    rows = Table("span", "SDK alone, µs", "with an idle processor, µs", "with ours, µs", "ours adds", box=box.SIMPLE)
    for shape in SHAPES:
        sdk, nothing, whole = (found[f"{shape}, {who}"] for who in ("SDK", "idle", "ours"))
        rows.add_row(shape, f"{sdk:.1f}", f"{nothing:.1f}", f"{whole:.1f}", f"{(whole - sdk) / sdk:.0%} of the SDK's")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(rows)
    console.print(f"One genai_prices.calc_price: {found['one genai_prices.calc_price']:.1f} µs")
    console.print(f"Python {sys.version.split()[0]}; medians of {ROUNDS} rounds of {SPANS} spans, in turns.")


if __name__ == "__main__":
    main()
