"""What the processor adds to a span, beside the SDK's own work and what others do with it, in the same run.

Each figure is the median of rounds that take turns, in processor time of the thread, so that a busy machine slows all
of them alike.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from importlib.util import find_spec
from time import thread_time

from genai_prices import Usage, calc_price
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, exporting, provider_of, span_maker

from otel_voice_cost import VoiceCostSpanProcessor

ROUNDS, SPANS = 60, 50
MODEL = "gpt-4.1-mini"
OPENINFERENCE = {
    "gen_ai.request.model": "llm.model_name",
    "gen_ai.provider.name": "llm.provider",
    "gen_ai.usage.input_tokens": "llm.token_count.prompt",
    "gen_ai.usage.output_tokens": "llm.token_count.completion",
}


class Renaming(SpanProcessor):
    """The least that a rewriting processor does: four attributes under OpenInference's names."""

    def on_end(self, span: ReadableSpan) -> None:
        attributes = dict(span.attributes or {})
        attributes |= {new: attributes[old] for old, new in OPENINFERENCE.items() if old in attributes}
        span._attributes = BoundedAttributes(attributes=attributes, immutable=True)


def genai_prices_cost() -> None:
    calc_price(Usage(input_tokens=300, cache_read_tokens=128, output_tokens=20), model_ref=MODEL, provider_id="openai")


def calculations() -> dict[str, Callable[[], object]]:
    """One price, by libraries that price."""
    found: dict[str, Callable[[], object]] = {"genai_prices.calc_price": genai_prices_cost}
    if find_spec("litellm"):
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        from litellm import cost_per_token  # noqa: PLC0415  # not in every environment

        found["litellm.cost_per_token"] = lambda: cost_per_token(model=MODEL, prompt_tokens=300, completion_tokens=20)
    return found


def processors() -> dict[str, list[SpanProcessor]]:
    """What else may stand before, or in place of, the exporting processor."""
    found = {
        "no processor": [exporting()],
        "one that does nothing": [SpanProcessor(), exporting()],
        "ours": [VoiceCostSpanProcessor(), exporting()],
        "ours, with an SDK meter provider": [
            VoiceCostSpanProcessor(meter_provider=MeterProvider([InMemoryMetricReader()])),
            exporting(),
        ],
        "renaming, as OpenInference": [Renaming(), exporting()],
    }
    if find_spec("langsmith"):
        from langsmith.integrations.livekit import LiveKitLangSmithSpanProcessor  # noqa: PLC0415  # as above

        found["langsmith's for LiveKit"] = [LiveKitLangSmithSpanProcessor(exporting(), recording_mode="none")]
    return found


def medians(contestants: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds for one, by name."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = thread_time()
            for _ in range(SPANS):
                run()
            times[name].append((thread_time() - start) / SPANS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    chains, prices = processors(), calculations()
    contestants: dict[str, Callable[[], object]] = dict(prices)
    for name, chain in chains.items():
        provider = provider_of(*chain)
        shapes = SHAPES if name in ("no processor", "one that does nothing", "ours") else ["llm_request"]
        contestants |= {f"{shape}, {name}": span_maker(provider, shape) for shape in shapes}
    found = medians(contestants)
    console = Console(width=None if sys.stdout.isatty() else 120)
    rows = Table("span", "SDK alone, µs", "idle processor, µs", "ours, µs", "ours adds", box=box.SIMPLE)
    for shape in SHAPES:
        sdk, idle, ours = (found[f"{shape}, {name}"] for name in ("no processor", "one that does nothing", "ours"))
        rows.add_row(
            shape, f"{sdk:.1f}", f"{idle:.1f}", f"{ours:.1f}", f"{ours - sdk:.1f} µs, {(ours - sdk) / sdk:.0%}"
        )
    console.print(rows)
    sdk = found["llm_request, no processor"]
    others = Table("one llm_request", "µs more than the SDK's own", box=box.SIMPLE)
    for name in chains:
        others.add_row(name, f"{found[f'llm_request, {name}'] - sdk:.1f}")
    for name in prices:
        others.add_row(f"{name} alone", f"{found[name]:.1f}")
    console.print(others)
    console.print(f"Python {sys.version.split()[0]}; medians of {ROUNDS} rounds of {SPANS} spans, in turns.")


if __name__ == "__main__":
    main()
