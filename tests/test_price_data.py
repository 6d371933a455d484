"""Every shipped price file: readable, sourced, dated, and no two prices for one thing."""

from __future__ import annotations

from datetime import date, datetime, timezone
from itertools import combinations

import pytest

from otel_voice_cost import PriceCatalog
from otel_voice_cost.prices.loading import load_shipped_rates

RATES = load_shipped_rates()
FREE = {("fishaudio", "s2.1-pro-free"), ("nvidia", "personaplex*")}  # as printed, or weights one hosts oneself


def title(rate):
    return f"{rate.origin} {rate.model[0]} {rate.unit.value} {rate.mode and rate.mode.value} {rate.until or ''}"


@pytest.mark.parametrize("rate", RATES, ids=title)
def test_a_rate_has_its_page_and_day(rate):
    assert rate.source.startswith("https://")
    assert date(2024, 1, 1) < rate.checked <= date(2026, 11, 23)
    assert rate.usd > 0 or (rate.provider, rate.model[0]) in FREE
    assert rate.origin == f"{rate.provider}.toml"


def test_no_two_rates_hold_for_the_same_thing_at_the_same_time():
    """One must be closer, or end before the other begins, or be a stand-in."""
    clashes = [
        (title(a), title(b))
        for a, b in combinations(RATES, 2)
        if (a.provider, a.component, a.unit, a.mode) == (b.provider, b.component, b.unit, b.mode)
        and set(a.model) & set(b.model)
        and (a.since, a.until) == (b.since, b.until)
    ]

    assert clashes == []


def test_providers_of_the_readme_are_there():
    assert {"assemblyai", "cartesia", "deepgram", "elevenlabs", "livekit", "openai"} <= {r.provider for r in RATES}


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate.since or rate.until], ids=title)
def test_a_rate_with_days_is_found_on_them(rate):
    """Old calls keep their price: nothing closer hides it."""
    day = rate.since or rate.until
    catalog = PriceCatalog([RATES])

    for model in rate.model:
        found = catalog.rate_for(
            provider=rate.provider,
            model=model.replace("*", ""),
            component=rate.component,
            unit=rate.unit,
            mode=rate.mode,
            at=datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc),
        )
        assert found == rate
