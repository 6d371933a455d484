"""Calculate the cost of usage from rates.

Each line is rounded once, half to even, to 18 decimal places: some prices have no finite decimal form
(0.0043 / 60).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

from ..cost import EXACT, Cost, CostLine, exact_sum, unpriced_cost
from ..errors import UnitMismatchError
from ..usage import Dimension, Mode, Unit, Usage, with_amounts
from .rates import Rate, RateCard

__all__ = ["calculate_cost", "calculate_line", "cost_in_usd"]

_PLACES = Decimal(1).scaleb(-18)
_ZERO = Decimal(0)


def calculate_cost(usage: Usage, card: RateCard | None) -> Cost:
    """Price a usage with the rates of its model.

    `RateCard.billing` selects the billed units. Minimums and increments apply to a whole request, so not to
    streaming speech-to-text, which reports parts of a connection.
    """
    if card is None:
        return unpriced_cost(usage, f"no {usage.component.value} rate for {usage.provider}/{usage.model}")
    quantities = usage.quantities
    billing = card.billing(tuple(quantities))
    if billing.missing is not None:
        return unpriced_cost(usage, f"{usage.provider}/{usage.model} has no rate {billing.missing}")
    total_input = _ZERO
    if billing.tiered:
        total_input = exact_sum(
            n for unit, n in quantities.items() if unit.dimension is Dimension.TOKEN and not unit.is_output
        )
    lines = [
        calculate_line(unit, quantities[unit], rate, card, usage.mode, total_input) for unit, rate in billing.rates
    ]
    if billing.units is not None:
        usage = _of_units(usage, billing.units)
    usd = exact_sum([line.usd for line in lines])
    return Cost(
        usage=usage,
        usd=usd,
        lines=tuple(lines),
        rate_source=lines[0].rate.source,
        display_name=card.display_name,
        list_usd=exact_sum([line.list_usd for line in lines]) if card.discount else usd,
        markup_usd=_rounded(EXACT.multiply(usd, card.markup)) if card.markup else None,
    )


def cost_in_usd(amount: Decimal | int, unit: Unit, rate: Rate, *, total_input_tokens: Decimal = _ZERO) -> Decimal:
    """Return the cost of an amount in US dollars, exact to 18 decimal places.

    Args:
        amount: Amount in ``unit``.
        unit: Must be the unit of the rate or one that the rate stands in for.
        rate: The rate.
        total_input_tokens: All input of the request, including cached and written tokens; selects the tier.

    Raises:
        UnitMismatchError: The rate has another dimension.
    """
    if unit.dimension is not rate.unit.dimension:
        raise UnitMismatchError(f"{unit.value} has no price per {rate.unit.value}")
    return _rounded(EXACT.divide(EXACT.multiply(amount, rate.usd_at(total_input_tokens)), Decimal(rate.per)))


def _of_units(usage: Usage, units: frozenset[Unit]) -> Usage:
    return with_amounts(usage, {unit: n for unit, n in usage.quantities.items() if unit in units})


def calculate_line(
    unit: Unit, used: Decimal, rate: Rate, card: RateCard, mode: Mode | None, total_input: Decimal
) -> CostLine:
    """Price one unit of a usage. The cost of the usage is the sum of its lines.

    Args:
        unit: The unit.
        used: The amount of it.
        rate: The rate that `RateCard.billing` gives for it.
        card: The rates of the model.
        mode: Streaming or batch, for speech-to-text.
        total_input: All input tokens of the usage; selects the tier.
    """
    amount = _billed_amount(used, rate, mode) if rate.minimum or rate.increment or rate.free else used
    usd = list_usd = cost_in_usd(amount, unit, rate, total_input_tokens=total_input)
    if card.discount:
        usd = _rounded(EXACT.multiply(list_usd, EXACT.subtract(Decimal(1), card.discount)))
    return CostLine(unit=unit, amount=amount, rate=rate, usd=usd, list_usd=list_usd)


def _billed_amount(used: Decimal, rate: Rate, mode: Mode | None) -> Decimal:
    if mode is Mode.STREAMING:
        return used
    amount = EXACT.subtract(used, rate.free) if rate.free else used
    if amount <= 0:  # within the free amount
        return _ZERO
    amount = max(amount, rate.minimum)
    if rate.increment:
        steps = EXACT.divide(amount, rate.increment).to_integral_value(rounding=ROUND_CEILING, context=EXACT)
        amount = EXACT.multiply(steps, rate.increment)
    return amount


def _rounded(usd: Decimal) -> Decimal:
    try:
        rounded = usd.quantize(_PLACES, context=EXACT)
        return usd if rounded == usd else rounded
    except InvalidOperation:  # more than 42 digits before the point
        return usd
