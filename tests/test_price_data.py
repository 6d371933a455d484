"""The shipped price files: readable, sourced, dated, and the list prices of the vendors."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from otel_voice_cost import PriceCatalog, Rate, Usage
from otel_voice_cost.prices.overrides import Overrides
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.usage import Component, Mode, Unit

from . import price_checks
from .price_checks import title

FILES = sorted(Path(str(files("otel_voice_cost") / "prices" / "data")).glob("*.toml"))
RATES = tuple(PriceCatalog.default().rates())
FREE = {"fishaudio", "livekit", "nvidia"}  # as printed; LiveKit's own detectors; weights one hosts oneself
CHECKS = [
    price_checks.without_page_or_day,
    price_checks.in_another_file,
    price_checks.unsorted,
    price_checks.overlapping,
    price_checks.with_gap,
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_price_file_is_in_order(path, check):
    rates = parse_sheet(path.read_text(), path.name).rates

    assert rates
    assert check(rates) == []


ENTRY = """
[[rate]]
provider = "acme"
model = "{model}"
component = "tts"
unit = "character"
usd = 1
source = "{source}"
checked = 2026-01-01
{more}
"""


def rates(*entries: tuple[str, str], source: str = "https://acme.example/prices") -> tuple[Rate, ...]:
    text = "".join(ENTRY.format(model=model, source=source, more=more) for model, more in entries)
    return parse_sheet(text, "acme.toml").rates


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (price_checks.without_page_or_day, rates(("a", ""), source="")),
        (price_checks.without_page_or_day, rates(("a", ""), source="a colleague")),
        (price_checks.in_another_file, parse_sheet(ENTRY.format(model="a", source="", more=""), "b.toml").rates),
        (price_checks.unsorted, rates(("b", ""), ("a", ""))),
        (price_checks.unsorted, rates(("a", "since = 2026-02-01"), ("a", "until = 2026-01-31"))),
        (price_checks.overlapping, rates(("a", ""), ("a", ""))),
        (price_checks.overlapping, rates(("a", "until = 2026-02-01"), ("a", "since = 2026-02-01"))),
        (price_checks.with_gap, rates(("a", "until = 2026-01-30"), ("a", "since = 2026-02-01"))),
    ],
)
def test_a_check_finds_mistakes(check, bad):
    assert len(check(bad)) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("colour", "1"), ("per", "0"), ("usd", "-1"), ("usd", '"1"'), ("unit", '"word"'), ("until", "2025-12-31")],
)
def test_the_schema_rejects(key, value):
    """An extra key, no count, a negative price, text, an unknown unit, days that end before they begin."""
    good = {
        "provider": '"acme"',
        "model": '"a"',
        "component": '"tts"',
        "unit": '"character"',
        "usd": "1",
        "since": "2026-01-01",
    }

    def sheet(entry):
        return parse_sheet("[[rate]]\n" + "\n".join(f"{name} = {text}" for name, text in entry.items()), "acme.toml")

    assert sheet(good).problems == ()
    assert len(sheet({**good, key: value}).problems) == 1


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate.usd == 0], ids=title)
def test_a_price_of_zero_is_known_to_be_zero(rate):
    assert rate.provider in FREE


@pytest.mark.parametrize("rate", [rate for rate in RATES if not rate.addon], ids=title)
def test_every_rate_is_found(rate):
    """By each of its ids, on its days, on its plan: no closer rate hides it."""
    day = rate.since or rate.until or date(2026, 11, 23)
    catalog = PriceCatalog([RATES], overrides=Overrides(plans={rate.provider: rate.plan} if rate.plan else {}))

    for model in rate.model:
        usage = Usage(
            component=rate.component,
            provider=rate.provider,
            model=model.replace("*", ""),
            mode=rate.mode,
            at=datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc),
        )
        assert rate in catalog.card_for(usage).rates.values()


LIST_PRICES = json.loads((Path(__file__).parent / "data" / "list_prices.json").read_text())
ADDONS = sorted({row["addon"] for row in LIST_PRICES if "addon" in row})


@pytest.fixture(scope="module")
def catalog():
    return PriceCatalog.default().with_prices({"addon": {"*": ADDONS}})


@pytest.mark.parametrize("row", LIST_PRICES, ids=lambda row: f"{row['provider']} {row['models'][0]} {row['unit']}")
def test_the_list_price_of_every_model_is_found(catalog, row):
    """246 list prices of 2026-11-23 (of two that ended, on their last day), by every id they were listed under."""
    day = date.fromisoformat(row.get("until", "2026-11-23"))
    for model in row["models"]:
        usage = Usage(
            component=Component(row["component"]),
            provider=row["provider"],
            model=model,
            mode=Mode(row["mode"]) if row["mode"] else None,
            at=datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc),
        )
        card = catalog.card_for(usage)
        if "addon" in row:
            found = next(rate for rate in card.addons if rate.addon == row["addon"])
        else:
            found = card.rate_for(Unit(row["unit"]))
        if "native" in row:
            assert (found.native.currency, found.native.amount) == (
                row["native"]["currency"],
                Decimal(row["native"]["price"]),
            )
            assert found.per == row["native"]["per"]
        else:
            assert found.usd / found.per == Decimal(row["usd"]) / row["per"]
        assert found.estimated is (found.fallback or row["confidence"] == "low")


def rate_on(
    day: str, provider: str, model: str, component: str, *, mode: str | None = None, plan: str = ""
) -> Rate | None:
    """The rate of a model per second or character at noon of a day."""
    catalog = PriceCatalog.default()
    if plan:
        catalog = catalog.with_prices({"plan": {provider: plan}})
    unit = Unit.AUDIO_SECOND if component == "stt" else Unit.CHARACTER
    at = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return catalog.rate_for(provider=provider, model=model, component=component, unit=unit, mode=mode, at=at)


@pytest.mark.parametrize(
    ("model", "component", "day", "usd", "scale_usd"),
    [
        ("deepgram/nova-3-medical", "stt", "2026-11-23", "0.0077", "0.0065"),
        ("deepgram/nova-3-pharma", "stt", "2026-11-23", "0.0048", "0.0042"),
        ("rime/mist", "tts", "2026-08-31", "30", "20"),
        ("rime/mistv2", "tts", "2026-09-30", "0", "0"),
        ("rime/mistv3", "tts", "2026-09-01", "0", "0"),
        ("rime/mistv3", "tts", "2026-10-01", "30", "20"),
        ("gradium/default", "tts", "2026-09-08", "48", "36"),
        ("gradium/default", "tts", "2026-10-07", "0", "0"),
        ("gradium/default", "tts", "2026-11-23", "48", "36"),
        ("fishaudio/s2.1-pro-free", "tts", "2026-09-24", "0", "0"),
    ],
)
def test_livekit_inference_has_a_price_for_each_day_and_plan(model, component, day, usd, scale_usd):
    """As voice-prices 0.11.0 read them on LiveKit's page: Build and Ship, then Scale."""
    mode = "streaming" if component == "stt" else None

    assert rate_on(day, "livekit", model, component, mode=mode).usd == Decimal(usd)
    assert rate_on(day, "livekit", model, component, mode=mode, plan="scale").usd == Decimal(scale_usd)


@pytest.mark.parametrize(
    ("model", "day"),
    [("rime/mist", "2026-10-02"), ("rime/mistv2", "2026-11-23"), ("fishaudio/s2.1-pro-free", "2026-09-26")],
)
def test_a_retired_model_has_no_price(model, day):
    assert rate_on(day, "livekit", model, "tts") is None


@pytest.mark.parametrize(
    ("provider", "model", "component", "mode", "usd"),
    [
        ("deepgram", "nova-3", "stt", "batch", "0.0043"),
        ("deepgram", "nova-3-medical", "stt", "streaming", "0.0077"),
        ("inworld", "inworld-tts-1.5-max", "tts", None, "25"),
    ],
)
def test_a_price_that_two_sources_state_differently_makes_an_estimate(provider, model, component, mode, usd):
    found = rate_on("2026-11-23", provider, model, component, mode=mode)

    assert (found.usd, found.confidence, found.estimated) == (Decimal(usd), "unsettled", True)


def test_openais_own_page_settles_gpt_4o_transcribe():
    """2.50 per million audio tokens and 10 per million of text."""
    usage = Usage(
        component=Component.STT,
        provider="openai",
        model="gpt-4o-transcribe",
        at=datetime(2026, 11, 26, 12, tzinfo=timezone.utc),
        mode=Mode.BATCH,
    )
    rates = PriceCatalog.default().card_for(usage).rates

    heard, written = rates[Unit.INPUT_AUDIO_TOKEN], rates[Unit.OUTPUT_TEXT_TOKEN]
    assert [(rate.usd, rate.confidence) for rate in (heard, written)] == [(Decimal("2.50"), "high"), (10, "high")]
