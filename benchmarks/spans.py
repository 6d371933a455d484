"""What the processor adds to a span, beside the SDK's own work and one price calculation, in the same run.

Each figure is the median of rounds that take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from time import perf_counter

from genai_prices import Usage, calc_price
from opentelemetry.sdk.trace import SpanProcessor
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, provider_of, span_maker

from otel_voice_cost import VoiceCostSpanProcessor

ROUNDS, SPANS = 60, 50


def price_calculations() -> None:
    usage = Usage(input_tokens=300, cache_read_tokens=128, output_tokens=20)
    calc_price(usage, model_ref="gpt-4.1-mini", provider_id="openai")


def medians(contestants: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Microseconds for one, by name."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = perf_counter()
            for _ in range(SPANS):
                run()
            times[name].append((perf_counter() - start) / SPANS * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    bare, idle, ours = provider_of(), provider_of(SpanProcessor()), provider_of(VoiceCostSpanProcessor())
    contestants: dict[str, Callable[[], None]] = {"one genai_prices.calc_price": price_calculations}
    for shape in SHAPES:
        for who, of in (("SDK", bare), ("idle", idle), ("ours", ours)):
            contestants[f"{shape}, {who}"] = span_maker(of, shape)
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
