"""Compares the price files with other price tables and prints differences, for a person to judge.

``make prices`` fetches litellm and voice-prices beside the environment and runs this. A difference is
no mistake: public tables often quote batch prices, round, or carry an old day. The vendor's page decides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from otel_voice_cost import Component, Mode, PriceCatalog, Unit, Usage
from otel_voice_cost.sources.livekit.providers import canonical_provider

CLOSE = Decimal("0.01")  # tables round prices per second
PROVIDERS = {"aws_polly": "aws", "fireworks": "fireworksai", "gemini": "google", "vertex_ai": "google", "x-ai": "xai"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of one unit of a model in another table."""

    table: str
    provider: str
    model: str
    component: Component
    unit: Unit
    usd: Decimal


def genai_prices(name: str) -> Iterator[Quote]:
    """Voice models of genai-prices, or of voice-prices, which has its shape."""
    keys = {
        "input_mchars": (Component.TTS, Unit.CHARACTER, 1_000_000),
        "input_audio_kseconds": (Component.STT, Unit.AUDIO_SECOND, 1_000),
        "input_audio_hours": (Component.STT, Unit.AUDIO_SECOND, 3_600),
    }
    for provider in import_module(f"{name}.data_snapshot").get_snapshot().providers:
        for model in provider.models:
            prices = model.prices[-1].prices if isinstance(model.prices, list) else model.prices
            for key, (component, unit, per) in keys.items():
                value = vars(prices).get(key)
                if isinstance(value, Decimal):
                    yield Quote(
                        table=name,
                        provider=PROVIDERS.get(provider.id, provider.id),
                        model=model.id.lower(),
                        component=component,
                        unit=unit,
                        usd=value / per,
                    )


def litellm() -> Iterator[Quote]:
    """Speech models of litellm's table; its zero means unknown."""
    keys = {
        "audio_speech": ("input_cost_per_character", Component.TTS, Unit.CHARACTER),
        "audio_transcription": ("input_cost_per_second", Component.STT, Unit.AUDIO_SECOND),
    }
    file = next(Path(entry) / "litellm" for entry in sys.path if (Path(entry) / "litellm").is_dir())
    entries: dict[str, Any] = json.loads((file / "model_prices_and_context_window_backup.json").read_text())
    for name, entry in entries.items():
        if entry.get("mode") not in keys:
            continue
        key, component, unit = keys[entry["mode"]]
        if entry.get(key):
            provider = entry["litellm_provider"]
            yield Quote(
                table="litellm",
                provider=canonical_provider(PROVIDERS.get(provider, provider)),
                model=name.removeprefix(f"{provider}/").lower(),
                component=component,
                unit=unit,
                usd=Decimal(str(entry[key])),
            )


def ours(catalog: PriceCatalog, quote: Quote) -> list[Decimal]:
    """Prices of that unit in the shipped files, streaming and batch."""
    found = []
    for mode in [Mode.STREAMING, Mode.BATCH] if quote.component is Component.STT else [None]:
        usage = Usage(
            component=quote.component,
            provider=quote.provider,
            model=quote.model,
            at=datetime.now(timezone.utc),
            mode=mode,
        )
        card = catalog.card_for(usage)
        rate = card.rate_for(quote.unit) if card else None
        if rate is not None:
            found.append(rate.usd / rate.per)
    return found


def main() -> None:
    catalog = PriceCatalog.default()
    known = {rate.provider for rate in catalog.rates()}
    rows = Table("table", "model", "unit", "there", "here", "ratio", box=box.SIMPLE)
    compared, differ = 0, 0
    for quote in [*genai_prices("genai_prices"), *genai_prices("voice_prices"), *litellm()]:
        if quote.provider not in known:
            continue
        prices = ours(catalog, quote)
        compared += 1
        if any(abs(price - quote.usd) <= CLOSE * quote.usd for price in prices):
            continue
        differ += 1
        here = ", ".join(f"{price:.3g}" for price in dict.fromkeys(prices)) or "nothing"
        ratio = ", ".join(f"{price / quote.usd:.2f}" for price in dict.fromkeys(prices))
        rows.add_row(quote.table, f"{quote.provider}/{quote.model}", quote.unit.value, f"{quote.usd:.3g}", here, ratio)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(rows)
    console.print(f"{compared} prices of our vendors in other tables, {differ} differ by more than 1 %.")


if __name__ == "__main__":
    main()
