"""Properties of every price and amount."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from otel_voice_cost import Mode, PriceCatalog, Usage
from otel_voice_cost.cost import merge_costs
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.prices.rates import RateCard

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
RATES = [rate for rate in PriceCatalog.default().rates() if not rate.addon]

rates = st.sampled_from(RATES)
amounts = st.decimals(min_value="0.001", max_value=10**9, places=3)
discounts = st.decimals(min_value=0, max_value=1, places=3)


def usage(rate, amount) -> Usage:
    return Usage(
        component=rate.component,
        provider=rate.provider,
        model=rate.model[0],
        quantities={rate.unit: amount},
        at=AT,
        mode=rate.mode,
    )


def cost(rate, amount, **terms):
    return calculate_cost(usage(rate, amount), RateCard(rates={rate.unit: rate}, **terms))


def slow_usd(rate, amount) -> Fraction:
    """The same cost in fractions, without rounding."""
    billed = Fraction(amount)
    if rate.mode is not Mode.STREAMING:
        billed = max(billed, Fraction(rate.minimum))
        if rate.increment:
            billed = -(-billed // Fraction(rate.increment)) * Fraction(rate.increment)
    price = Fraction(rate.native.amount) / Fraction(rate.native.per_usd) if rate.native else Fraction(rate.usd)
    return billed * price / rate.per


@given(rates, amounts)
def test_a_cost_is_exact_to_eighteen_places(rate, amount):
    found = cost(rate, amount)

    assert found.usd.is_finite()
    assert found.usd >= 0
    assert abs(Fraction(found.usd) - slow_usd(rate, amount)) <= Fraction(1, 2 * 10**18)


@given(rates, amounts, amounts)
def test_more_costs_no_less(rate, one, other):
    assert (cost(rate, min(one, other)).usd or 0) <= (cost(rate, max(one, other)).usd or 0)


@given(
    st.sampled_from([r for r in RATES if not (r.minimum or r.increment) or r.mode is Mode.STREAMING]), amounts, amounts
)
def test_parts_cost_the_same_as_the_whole(rate, one, other):
    """Except for half a unit of the eighteenth place each."""
    whole, parts = cost(rate, one + other).usd, cost(rate, one).usd + cost(rate, other).usd

    assert abs(whole - parts) <= Decimal("1.5e-18")


@given(rates, amounts, discounts, discounts)
def test_a_discount_and_a_markup_stay_within_their_bounds(rate, amount, discount, markup):
    found = cost(rate, amount, discount=discount, markup=markup)

    assert 0 <= found.usd <= found.list_usd
    assert abs(found.usd - found.list_usd * (1 - discount)) <= Decimal("1e-8")
    assert (found.markup_usd or 0) <= found.usd


@given(rates, amounts, st.integers(min_value=1, max_value=20))
def test_costs_add_up_digit_for_digit(rate, amount, count):
    one = cost(rate, amount)

    assert merge_costs([one] * count).usd == one.usd * count


@given(rates, amounts)
def test_an_applications_decimal_context_changes_nothing(rate, amount):
    expected = cost(rate, amount).usd
    with localcontext() as context:
        context.prec = 3
        assert cost(rate, amount).usd == expected


@given(rates, amounts)
def test_a_unit_without_a_rate_is_unknown_and_not_free(rate, amount):
    found = calculate_cost(usage(rate, amount), RateCard(rates={}))

    assert (found.usd, bool(found.unpriced_reason)) == (None, True)
