"""Whether a span costs more where more sessions live or more rates are known."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table
from shapes import exporting, provider_of, span_maker
from spans import medians

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet

RATES = """
[[rate]]
provider = "openai"
model = "{model}"
component = "llm"
unit = "{unit}"
usd = 0.40
per = 1_000_000
"""
UNITS = ("input_token", "output_token")


def catalog_of(rates: int) -> PriceCatalog:
    """A catalogue with so many rates of one vendor, those of the benchmark's model in their midst."""
    models = [f"model-{number}" for number in range(rates // 2)]
    models[len(models) // 2] = "gpt-4.1-mini"
    text = "".join(RATES.format(model=model, unit=unit) for model in models for unit in UNITS)
    return PriceCatalog([parse_sheet(text, "rates.toml").rates])


def main() -> None:
    contestants: dict[str, Callable[[], object]] = {}
    for sessions in (1, 10, 100, 1_000):
        provider = provider_of(VoiceCostSpanProcessor(), exporting())
        for _ in range(sessions - 1):
            provider.get_tracer("livekit-agents").start_span("agent_session")
        contestants[f"{sessions:,} live sessions"] = span_maker(provider, "llm_request")
    for rates in (10, 100, 1_000, 10_000):
        provider = provider_of(VoiceCostSpanProcessor(catalog=catalog_of(rates)), exporting())
        contestants[f"{rates:,} rates"] = span_maker(provider, "llm_request")
    rows = Table("growth", "one llm_request, µs", box=box.SIMPLE)
    for name, microseconds in medians(contestants).items():
        rows.add_row(name, f"{microseconds:.1f}")
    Console(width=None if sys.stdout.isatty() else 120).print(rows)


if __name__ == "__main__":
    main()
