"""Which rate wins."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from otel_voice_cost import PriceCatalog, PriceError
from otel_voice_cost.prices.sheet import parse_sheet

from ..conftest import AT

ENTRY = """
[[rate]]
provider = "acme"
model = {model}
component = "tts"
unit = "character"
usd = {usd}
{more}
"""


def catalog(*entries: tuple[str, str, str]) -> PriceCatalog:
    text = "".join(ENTRY.format(model=model, usd=usd, more=more) for model, usd, more in entries)
    sheet = parse_sheet(text, "test.toml")
    assert sheet.problems == ()
    return PriceCatalog([sheet.rates])


def price(catalog: PriceCatalog, model: str = "voice-1", **more) -> str | None:
    found = catalog.rate_for(
        **{"provider": "acme", "model": model, "component": "tts", "unit": "character", "at": AT, **more}
    )
    return str(found.usd) if found else None


def test_exact_beats_glob_and_the_longer_glob_the_shorter():
    prices = catalog(('"*"', "1", ""), ('"voice-*"', "2", ""), ('["voice-1", "other"]', "3", ""), ('"v*"', "4", ""))

    assert [price(prices, model) for model in ("voice-1", "voice-2", "vx", "else", "VOICE-1")] == [
        "3",
        "2",
        "4",
        "1",
        "3",
    ]


def test_an_unknown_provider_has_no_rate():
    assert price(catalog(('"*"', "1", "")), provider="nobody") is None


@pytest.mark.parametrize(
    ("day", "expected"), [(30, "1"), (1, "2"), (5, "2"), (6, "3")], ids=["before", "first day", "last day", "after"]
)
def test_the_date_of_the_usage_chooses_the_rate(day, expected):
    """An old price stays, with its days; a window beats a price without days."""
    prices = catalog(
        ('"voice-1"', "1", "until = 2026-10-31"),
        ('"voice-1"', "2", "since = 2026-11-01\nuntil = 2026-11-05"),
        ('"voice-1"', "3", ""),
    )
    month = 10 if day == 30 else 11

    assert price(prices, at=datetime(2026, month, day, 23, 59, tzinfo=timezone.utc)) == expected


def test_streaming_and_batch_have_their_own_rates():
    prices = catalog(('"*"', "1", 'mode = "streaming"'), ('"*"', "2", 'mode = "batch"'))

    assert (price(prices, mode="streaming"), price(prices, mode="batch")) == ("1", "2")


def test_a_price_for_streaming_is_none_for_batch():
    assert price(catalog(('"*"', "1", 'mode = "streaming"')), mode="batch") is None


def test_the_users_rates_win_over_shipped_ones(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        '[[rate]]\nprovider = "Deepgram"\nmodel = "nova-3"\ncomponent = "stt"\nunit = "audio_second"\nusd = 1\n'
    )

    found = PriceCatalog.load(path).rate_for(
        provider="deepgram", model="nova-3", component="stt", unit="audio_second", mode="streaming"
    )

    assert (str(found.usd), found.origin) == ("1", str(path))


def test_every_mistake_of_every_file_is_raised_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('colour = 1\n[[rate]]\nmodel = "a"\nusd = -1\n[[rate]]\nprovider = "p"\n')

    with pytest.raises(PriceError) as raised:
        PriceCatalog.load(path)

    problems = [str(problem) for problem in raised.value.problems]
    expected = "provider/model, rate, provider, source, checked or a section of terms"
    assert f"{path}, colour: got an unknown key, expected {expected}" in problems
    assert f"{path}, rate 1 (a), provider: got nothing, expected Field required" in problems
    assert any(line.startswith(f"{path}, rate 1 (a), usd: got -1") for line in problems)
    assert f"{path}, rate 2 (no model), model: got nothing, expected Field required" in problems


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PriceError, match=r"none.toml: got FileNotFoundError, expected a readable file"):
        PriceCatalog.load(tmp_path / "none.toml")


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[[rate")

    with pytest.raises(PriceError, match=r"x.toml: got no TOML, expected TOML: "):
        PriceCatalog.load(path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"#" * 4_000_001)

    with pytest.raises(PriceError, match="expected 4 MB at most"):
        PriceCatalog.load(path)


def test_an_unknown_unit_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="'words' is not a valid Unit"):
        price(catalog(), unit="words")


GENAI = [
    ("openai", "gpt-4.1-mini", "llm", "input_token", "0.4", 1_000_000),
    ("openai", "gpt-4.1-mini", "llm", "reasoning_token", "1.6", 1_000_000),
    ("api.together.xyz", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "llm", "input_token", "0.88", 1_000_000),
    ("azure", "gpt-4o", "llm", "output_token", "10", 1_000_000),
    ("openai", "gpt-realtime", "realtime", "cached_input_audio_token", "0.4", 1_000_000),
    ("openai", "gpt-live-1", "realtime", "session_second", "3", 3_600),
    ("livekit", "openai/gpt-4.1-mini", "llm", "input_token", "0.4", 1_000_000),
]


@pytest.mark.parametrize(("provider", "model", "component", "unit", "usd", "per"), GENAI)
def test_token_prices_come_from_genai_prices(provider, model, component, unit, usd, per):
    found = PriceCatalog.default().rate_for(provider=provider, model=model, component=component, unit=unit, at=AT)

    assert (str(found.usd), found.per) == (usd, per)
    assert found.origin.startswith("genai-prices ")


def test_a_gateways_price_is_an_estimate():
    """LiveKit Inference prints prices of its own for few models; the vendor's stand in."""
    prices = PriceCatalog.default()

    assert prices.rate_for(
        provider="livekit", model="openai/gpt-4.1-mini", component="llm", unit="input_token"
    ).estimated
    assert not prices.rate_for(provider="openai", model="gpt-4.1", component="llm", unit="input_token").estimated


def test_a_price_that_starts_later_is_chosen_by_its_day():
    """gpt-5.6-luna: $1 before 2026-07-30, $0.20 from then on; in genai-prices 0.2.3."""
    before, after = (
        PriceCatalog.default().rate_for(
            provider="openai",
            model="gpt-5.6-luna",
            component="llm",
            unit="input_token",
            at=datetime(2026, 7, day, 12, tzinfo=timezone.utc),
        )
        for day in (29, 30)
    )

    assert (str(before.usd), str(after.usd)) == ("1", "0.2")


@pytest.mark.parametrize("model", ["no-such-model", ""])
def test_genai_prices_knows_no_such_model(model):
    assert PriceCatalog.default().rate_for(provider="openai", model=model, component="llm", unit="input_token") is None
