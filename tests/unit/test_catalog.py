"""Precedence of rates."""

from __future__ import annotations

import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_voice_cost import Component, Mode, PriceCatalog, PriceError, Rate, Unit, Usage
from otel_voice_cost.prices.overrides import Overrides
from otel_voice_cost.prices.price_sheet import parse_sheet

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


def test_an_exact_id_beats_a_glob_and_a_longer_glob_a_shorter_one():
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
def test_the_date_of_the_usage_selects_the_rate(day, expected):
    """An old price is kept with its days; a price with days beats one without."""
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


def test_a_streaming_price_does_not_apply_to_batch():
    assert price(catalog(('"*"', "1", 'mode = "streaming"')), mode="batch") is None


def test_user_rates_override_shipped_ones(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        '[[rate]]\nprovider = "Deepgram"\nmodel = "nova-3"\ncomponent = "stt"\nunit = "audio_second"\nusd = 1\n'
    )

    found = PriceCatalog.load(path).rate_for(
        provider="deepgram", model="nova-3", component="stt", unit="audio_second", mode="streaming"
    )

    assert (str(found.usd), found.loaded_from) == ("1", str(path))


def test_every_mistake_of_every_file_is_raised_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('colour = 1\n[[rate]]\nmodel = "a"\nusd = -1\n[[rate]]\nprovider = "p"\n')

    with pytest.raises(PriceError) as raised:
        PriceCatalog.load(path)

    problems = [str(problem) for problem in raised.value.problems]
    expected = "provider/model, rate, provider, source, checked or a section of overrides"
    assert f"{path}, colour: got an unknown key, expected {expected}" in problems
    assert f"{path}, rate 1 (a), provider: got nothing, expected a value" in problems
    assert any(line.startswith(f"{path}, rate 1 (a), usd: got -1") for line in problems)
    assert f"{path}, rate 2 (no model), model: got nothing, expected a value" in problems


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(PriceError, match=r"none.toml: got FileNotFoundError, expected a readable file"):
        PriceCatalog.load(tmp_path / "none.toml")


def test_a_file_that_is_not_toml_is_reported(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[[rate")

    with pytest.raises(PriceError, match=r"x.toml: got no TOML, expected TOML: "):
        PriceCatalog.load(path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"#" * 4_000_001)

    with pytest.raises(PriceError, match="expected 4 MB at most"):
        PriceCatalog.load(path)


def test_an_unknown_unit_raises():
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
    assert found.loaded_from.startswith("genai-prices ")


def test_a_gateways_price_is_an_estimate():
    """LiveKit Inference prints prices for few models; the vendor's stand in."""
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
def test_a_model_unknown_to_genai_prices(model):
    assert PriceCatalog.default().rate_for(provider="openai", model=model, component="llm", unit="input_token") is None


NAMES = ["voice", "voice-1", "voice-*", "*", "v*", "*-1", "*o*c*", "voice-?", "voice-[12]*", "voice-**", "vox"]
FEATURES, PLANS, DAYS = ["effects", "cloning"], ["pro", "team"], [date(2026, 11, day) for day in (22, 23, 24)]
rate_lists = st.lists(
    st.builds(
        Rate,
        provider=st.just("acme"),
        model=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple),
        component=st.just(Component.TTS),
        unit=st.sampled_from([Unit.CHARACTER, Unit.AUDIO_SECOND]),
        usd=st.integers(0, 9).map(Decimal),
        loaded_from=st.just("test"),
        mode=st.sampled_from([None, None, *Mode]),
        since=st.sampled_from([None, None, *DAYS]),
        until=st.sampled_from([None, None, *DAYS]),
        plan=st.sampled_from([None, None, *PLANS]),
        addon=st.sampled_from([None, None, None, *FEATURES]),
    ),
    max_size=12,
)


def specificity(rate: Rate, model: str) -> int:
    if model in rate.model:
        return 1_000_000
    globs = (name for name in rate.model if "*" in name and fnmatchcase(model, name))
    return max((len(glob.replace("*", "")) + 1 for glob in globs), default=0)


def holds(rate: Rate, mode, plan) -> bool:
    is_of_mode = None in (rate.mode, mode) or rate.mode is mode
    return is_of_mode and rate.holds_on(AT.date()) and rate.plan in (None, plan)


def chosen_one_by_one(rates, model, mode, plan) -> dict[Unit, Rate]:
    """The rule: the exact id, else most literal characters; then plan, days and mode; the first of equals."""
    best = {}
    for rate in rates:
        near = specificity(rate, model)
        if not near or rate.addon or not holds(rate, mode, plan):
            continue
        order = (
            near,
            rate.plan is not None,
            sum(day is not None for day in (rate.since, rate.until)),
            rate.mode is not None,
        )
        if rate.unit not in best or order > best[rate.unit][0]:
            best[rate.unit] = (order, rate)
    closest = max((order[:2] for order, _ in best.values()), default=None)
    return {unit: rate for unit, (order, rate) in best.items() if order[:2] == closest}


def addons_one_by_one(layers, model, mode, plan, declared) -> list[Rate]:
    best = {}
    for rate in (rate for rates in layers for rate in rates):
        near = specificity(rate, model)
        may = near and rate.addon in declared and holds(rate, mode, plan)
        if may and (rate.addon not in best or near > best[rate.addon][0]):
            best[rate.addon] = (near, rate)
    return [rate for _, rate in best.values()]


@given(
    layers=st.lists(rate_lists, min_size=1, max_size=3),
    model=st.sampled_from(["voice", "voice-1", "voice-2", "voice-*", "vox", "1", "other", ""]),
    mode=st.sampled_from([None, *Mode]),
    plan=st.sampled_from([None, *PLANS]),
    declared=st.sets(st.sampled_from(FEATURES)).map(frozenset),
    crowd=st.booleans(),
)
def test_the_choice_equals_that_of_trying_each_rate(layers, model, mode, plan, declared, crowd):
    """Also with 300 further globs, so that they are looked up by index."""
    terms = Overrides(plans={"acme": plan} if plan else {}, addons={"acme": declared} if declared else {})
    others = parse_sheet(
        "".join(ENTRY.format(model=f'"crowd-{n}-*"', usd=1, more="") for n in range(300 if crowd else 0)), "test.toml"
    ).rates
    usage = Usage(component=Component.TTS, provider="acme", model=model, quantities={}, at=AT, mode=mode)
    card = PriceCatalog([[*rates, *others] for rates in layers], overrides=terms).card_for(usage)
    answers = (chosen_one_by_one(rates, model, mode, plan) for rates in layers)
    expected = next((answer for answer in answers if answer), None)

    assert (card.rates if card else None) == expected
    if card:
        assert list(map(id, card.rates.values())) == list(map(id, expected.values()))
        assert list(card.addons) == addons_one_by_one(layers, model, mode, plan, declared)


def calls_of_first_look_up(catalog: PriceCatalog, model: str) -> int:
    """Count function calls: a measure of work that does not depend on other processes."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        price(catalog, model)
    finally:
        sys.setprofile(None)
    return calls


def globs_each_alone(number: int) -> dict:
    return {f"acme/model-{n}-*": {"tts": "1/character"} for n in range(number)}


def globs_of_one_rate(number: int) -> dict:
    globs = [f"*-model-{n}" for n in range(number)]
    return {"rate": [{"provider": "acme", "model": globs, "component": "tts", "unit": "character", "usd": 1}]}


def globs_of_discounts(number: int) -> dict:
    return {"discount": {f"acme/*model-{n}*": "20%" for n in range(number)}, "acme/*": {"tts": "1/character"}}


@pytest.mark.parametrize("prices", [globs_each_alone, globs_of_one_rate, globs_of_discounts])
def test_the_first_look_up_of_a_model_takes_no_more_work_with_40_000_globs(prices):
    """It happens on the event loop."""
    few, many = (PriceCatalog([]).with_prices(prices(number)) for number in (1_000, 40_000))

    for model in ("model-777-x", "x-model-777", "unknown"):
        assert calls_of_first_look_up(many, model) <= calls_of_first_look_up(few, model) + 100
        assert price(many, model) == price(few, model)


@pytest.mark.parametrize("prices", ["deepgram/nova-3", {1: {("a", "b"): 1}}, {"discount": "20%"}])
def test_invalid_prices_in_code_raise(prices):
    with pytest.raises(PriceError, match=r"with_prices\(\)"):
        PriceCatalog([]).with_prices(prices)
