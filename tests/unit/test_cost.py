"""Usage × rate, by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_voice_cost import Component, Cost, Mode, Rate, Unit, Usage
from otel_voice_cost.cost import merge_costs
from otel_voice_cost.errors import UnitMismatchError
from otel_voice_cost.prices.calculate import calculate_cost, cost_in_usd
from otel_voice_cost.prices.rates import RateCard, Tier

from ..conftest import AT


def rate(unit: Unit, usd: str, per: int = 1, **fields) -> Rate:
    component = fields.pop("component", Component.STT)
    return Rate(
        provider="p",
        model=("m",),
        component=component,
        unit=unit,
        usd=Decimal(usd),
        per=per,
        loaded_from="test",
        **fields,
    )


def usage(component: Component = Component.STT, mode: Mode | None = None, **quantities: str) -> Usage:
    amounts = {Unit(unit): Decimal(n) for unit, n in quantities.items()}
    return Usage(component=component, provider="p", model="m", quantities=amounts, at=AT, mode=mode)


def card(*rates: Rate) -> RateCard:
    return RateCard(rates={one.unit: one for one in rates})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ("60", "0.0077"),
        ("30", "0.00385"),
        ("1", "0.000128333333333333"),  # 0.0077 / 60 has no end; cut at 18 places
        ("0.30000000000000004", "0.0000385"),
    ],
)
def test_seconds_at_a_price_per_minute(seconds, expected):
    assert cost_in_usd(Decimal(seconds), Unit.AUDIO_SECOND, rate(Unit.AUDIO_SECOND, "0.0077", 60)) == Decimal(expected)


def test_a_rate_of_another_dimension_raises():
    with pytest.raises(UnitMismatchError, match="character has no price per audio_second"):
        cost_in_usd(Decimal(1), Unit.CHARACTER, rate(Unit.AUDIO_SECOND, "1"))


def test_there_is_no_cost_without_rates():
    cost = calculate_cost(usage(audio_second="5"), None)

    assert (cost.usd, cost.unpriced_reason) == (None, "no stt rate for p/m")


def test_one_unit_without_a_rate_leaves_the_whole_unpriced():
    """A partial sum would look complete."""
    priced = card(rate(Unit.INPUT_TOKEN, "1", component=Component.LLM))

    cost = calculate_cost(usage(Component.LLM, input_token="1", output_token="1"), priced)

    assert (cost.usd, cost.unpriced_reason) == (None, "p/m has no rate per output_token")


def test_usage_of_another_dimension_than_the_rates_says_so():
    priced = card(rate(Unit.INPUT_TEXT_TOKEN, "1"), rate(Unit.OUTPUT_AUDIO_TOKEN, "1"), rate(Unit.AUDIO_SECOND, "1"))

    cost = calculate_cost(usage(Component.TTS, character="1", utf8_byte="2"), priced)

    assert (cost.usd, cost.unpriced_reason) == (None, "p/m has no rate for text, only for time and token")


def test_tokens_or_minutes_never_both():
    """$2.50 a million tokens is the price; $0.006 a minute stands in where no tokens are reported."""
    both = card(
        rate(Unit.INPUT_AUDIO_TOKEN, "2.50", 1_000_000),
        rate(Unit.AUDIO_SECOND, "0.006", 60, fallback=True),
    )

    by_tokens = calculate_cost(usage(audio_second="60", input_audio_token="1000"), both)
    by_minutes = calculate_cost(usage(audio_second="60"), both)

    assert (str(by_tokens.usd), by_tokens.estimated) == ("0.0025", False)
    assert (str(by_minutes.usd), by_minutes.estimated) == ("0.006", True)


def test_characters_are_billed_although_seconds_were_spoken():
    cost = calculate_cost(
        usage(Component.TTS, character="1000", audio_second="60"),
        card(rate(Unit.CHARACTER, "50", 1_000_000, component=Component.TTS)),
    )

    assert str(cost.usd) == "0.05"
    assert set(cost.usage.quantities) == {Unit.CHARACTER}


@pytest.mark.parametrize(
    ("seconds", "mode", "expected"),
    [
        ("3", Mode.BATCH, "0.010"),  # ten seconds at least
        ("10.2", Mode.BATCH, "0.011"),  # whole seconds
        ("11", Mode.BATCH, "0.011"),
        ("3", Mode.STREAMING, "0.003"),  # a report is a part of a connection
    ],
)
def test_minimum_and_increment_hold_for_whole_requests(seconds, mode, expected):
    per_second = rate(Unit.AUDIO_SECOND, "0.001", minimum=Decimal(10), increment=Decimal(1))

    assert calculate_cost(usage(audio_second=seconds, mode=mode), card(per_second)).usd == Decimal(expected)


def test_a_large_request_pays_the_price_of_its_tier_for_every_token():
    tiered = rate(
        Unit.INPUT_TOKEN,
        "1",
        1_000_000,
        component=Component.LLM,
        tiers=(Tier(above=200_000, usd=Decimal(2)), Tier(above=500_000, usd=Decimal(4))),
    )
    cached = rate(Unit.CACHED_INPUT_TOKEN, "0", component=Component.LLM)

    at = {
        n: calculate_cost(usage(Component.LLM, input_token=str(n), cached_input_token="1"), card(tiered, cached)).usd
        for n in (199_999, 200_000, 500_000)
    }

    assert at == {199_999: Decimal("0.199999"), 200_000: Decimal("0.4"), 500_000: Decimal(2)}


def test_tokens_written_to_the_cache_count_towards_the_tier():
    """A prompt of 250,000 tokens is large, whatever part of it is written to the cache."""
    tiered = rate(
        Unit.INPUT_TOKEN, "1", 1_000_000, component=Component.LLM, tiers=(Tier(above=200_000, usd=Decimal(2)),)
    )

    cost = calculate_cost(usage(Component.LLM, input_token="50000", cache_write_token="200000"), card(tiered))

    assert cost.usd == Decimal("0.5")


def test_low_confidence_makes_an_estimate():
    assert calculate_cost(usage(audio_second="1"), card(rate(Unit.AUDIO_SECOND, "1", confidence="low"))).estimated


def test_a_sum_adds_lines_of_the_same_rate():
    price = card(rate(Unit.AUDIO_SECOND, "0.0048", 60))
    parts = [calculate_cost(usage(audio_second=n), price) for n in ("5", "5", "1.25")]

    total = merge_costs(parts)

    assert total.usd == Decimal("0.0009")
    assert [line.amount for line in total.lines] == [Decimal("11.25")]
    assert total.usage.quantities == {Unit.AUDIO_SECOND: Decimal("11.25")}


def test_a_sum_with_an_unpriced_part_is_unpriced():
    price = card(rate(Unit.AUDIO_SECOND, "1"))

    total = merge_costs([calculate_cost(usage(audio_second="5"), price), calculate_cost(usage(audio_second="5"), None)])

    assert (total.usd, total.usage.quantities) == (None, {Unit.AUDIO_SECOND: Decimal(10)})


amounts = st.decimals(min_value="0.001", max_value=100_000, places=3)
prices = st.decimals(min_value=0, max_value=1_000, places=4)


@given(parts=st.lists(amounts, min_size=1, max_size=20), usd=prices, per=st.sampled_from([1, 60, 1_000, 3_600]))
def test_a_total_is_the_sum_of_its_parts_to_the_last_digit(parts, usd, per):
    """Rounding happens once, on the line."""
    price = card(rate(Unit.AUDIO_SECOND, str(usd), per))
    costs: list[Cost] = [calculate_cost(usage(audio_second=str(n)), price) for n in parts]

    total = merge_costs(costs)

    assert total.usd == sum(cost.usd for cost in costs)
    assert total.usd == sum(line.usd for line in total.lines)
    assert abs(total.usd - sum(parts) * usd / per) <= Decimal("1e-15")


@given(less=amounts, more=amounts, usd=prices)
def test_more_usage_never_costs_less(less, more, usd):
    price = card(rate(Unit.AUDIO_SECOND, str(usd), 60))
    less, more = sorted((less, more))

    assert (
        0
        <= calculate_cost(usage(audio_second=str(less)), price).usd
        <= calculate_cost(usage(audio_second=str(more)), price).usd
    )
