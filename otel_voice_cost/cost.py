"""Step 4: usage × rate → cost lines, in US dollars, as `decimal.Decimal`.

Money is computed in a decimal context of our own, whatever context the application set, and a
line is rounded once, half to even, at 18 decimal places. Prices per minute of odd seconds have no
end otherwise (0.0043 / 60). So parts add up to their total digit for digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NamedTuple

from .errors import UnitMismatchError
from .prices.rates import EXACT, Rate, RateCard
from .usage import Component, Measure, Mode, Unit, Usage

__all__ = ["EXACT", "Cost", "CostLine", "cost_in_usd", "cost_of", "in_words", "summed", "total_of"]

_PLACES = Decimal(1).scaleb(-18)
_ZERO = Decimal(0)


class CostLine(NamedTuple):
    """One unit of one usage, priced.

    Attributes:
        unit: What was billed.
        amount: How much the vendor bills: as used, after the rate's minimum and increment.
        rate: The rate that won.
        usd: What it cost after your discount, US dollars.
        list_usd: ``amount × rate``, US dollars, before the discount.
    """

    unit: Unit
    amount: Decimal
    rate: Rate
    usd: Decimal
    list_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one usage cost, and why.

    Attributes:
        usage: What was priced, or could not be. Its quantities are the billed units alone.
        usd: US dollars, or None where there is no rate. Never zero for unknown.
        lines: The parts, which add up to ``usd``. Empty where the cost was given on the span.
        unpriced: Why there is no cost; None where there is one.
        rate_source: Page, file or variable that states the rates; ``"span"`` where the cost
            came with the span.
        name: Name of the model to show, where a price entry gives one.
        list_usd: US dollars before your discount; the same as ``usd`` where there is none.
        markup_usd: What you charge beside the cost; None where no markup is set.
        estimated: Whether any rate in it is of low confidence or a stand-in for the billed unit.
    """

    usage: Usage
    usd: Decimal | None
    lines: tuple[CostLine, ...] = ()
    unpriced: str | None = None
    rate_source: str | None = None
    name: str | None = None
    list_usd: Decimal | None = None
    markup_usd: Decimal | None = None
    estimated: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimated", any(line.rate.estimated for line in self.lines))
        if self.list_usd is None:
            object.__setattr__(self, "list_usd", self.usd)

    @property
    def input_usd(self) -> Decimal | None:
        """The part of ``usd`` that input cost, seconds and characters included; None where there are no lines."""
        return self._usd(is_output=False)

    @property
    def output_usd(self) -> Decimal | None:
        """The part of ``usd`` that output cost; None where there are no lines."""
        return self._usd(is_output=True)

    def _usd(self, *, is_output: bool) -> Decimal | None:
        return total_of([line.usd for line in self.lines if line.unit.is_output is is_output]) if self.lines else None


def in_words(cost: Cost) -> str:
    """What was used, by which rates it was priced, and what it cost, on one line."""
    usage = cost.usage
    amounts = ", ".join(f"{amount} {unit.value}" for unit, amount in usage.quantities.items()) or "no amount"
    rates = "; ".join(dict.fromkeys(f"{line.rate.text}, {line.rate.stated}" for line in cost.lines))
    result = f"no cost, {cost.unpriced}" if cost.usd is None else f"{cost.usd:f} USD"
    how = f" at {rates}" if rates else ""
    return f"{usage.component.value} of {usage.provider}/{usage.model}, {amounts}{how}: {result}"


def cost_in_usd(amount: Decimal, unit: Unit, rate: Rate, *, total_input_tokens: Decimal = _ZERO) -> Decimal:
    """Return the cost of an amount in US dollars, exact to 18 decimal places.

    Args:
        amount: How much, in ``unit``.
        unit: Must be the unit of the rate or one that the rate stands in for.
        rate: The rate.
        total_input_tokens: All input of the request, cached and written included: chooses the tier.

    Raises:
        UnitMismatchError: The rate prices another measure.
    """
    if unit.measure is not rate.unit.measure:
        raise UnitMismatchError(f"{unit.value} has no price per {rate.unit.value}")
    return _rounded(EXACT.divide(EXACT.multiply(amount, rate.usd_at(total_input_tokens)), Decimal(rate.per)))


def cost_of(usage: Usage, card: RateCard | None) -> Cost:
    """Price a usage with the rates of its model.

    `RateCard.billing` says what is billed. Minimums and increments hold for a whole request: streaming
    speech-to-text reports parts of a connection, so they are not applied there.
    """
    if card is None:
        return _unpriced(usage, f"no {usage.component.value} rate for {usage.provider}/{usage.model}")
    quantities = usage.quantities
    billing = card.billing(tuple(quantities))
    if billing.lacking is not None:
        return _unpriced(usage, f"{usage.provider}/{usage.model} has no rate {billing.lacking}")
    total_input = _ZERO
    if billing.tiered:
        total_input = total_of(
            n for unit, n in quantities.items() if unit.measure is Measure.TOKEN and not unit.is_output
        )
    lines = [_line(unit, quantities[unit], rate, card, usage.mode, total_input) for unit, rate in billing.rates]
    if billing.units is not None:
        usage = _of_units(usage, billing.units)
    usd = total_of([line.usd for line in lines])
    return Cost(
        usage=usage,
        usd=usd,
        lines=tuple(lines),
        rate_source=lines[0].rate.source,
        name=card.name,
        list_usd=total_of([line.list_usd for line in lines]) if card.discount else usd,
        markup_usd=_rounded(EXACT.multiply(usd, card.markup)) if card.markup else None,
    )


def _of_units(usage: Usage, units: frozenset[Unit]) -> Usage:
    """A usage with some of its quantities. `dataclasses.replace` takes three times as long."""
    return Usage(
        component=usage.component,
        provider=usage.provider,
        model=usage.model,
        quantities={unit: n for unit, n in usage.quantities.items() if unit in units},
        at=usage.at,
        mode=usage.mode,
    )


def _line(unit: Unit, used: Decimal, rate: Rate, card: RateCard, mode: Mode | None, total_input: Decimal) -> CostLine:
    amount = _billed_amount(used, rate, mode) if rate.minimum or rate.increment or rate.free else used
    usd = list_usd = cost_in_usd(amount, unit, rate, total_input_tokens=total_input)
    if card.discount:
        usd = _rounded(EXACT.multiply(list_usd, EXACT.subtract(Decimal(1), card.discount)))
    return CostLine(unit=unit, amount=amount, rate=rate, usd=usd, list_usd=list_usd)


def _rounded(usd: Decimal) -> Decimal:
    try:
        rounded = usd.quantize(_PLACES, context=EXACT)
        return usd if rounded == usd else rounded
    except InvalidOperation:  # beyond 42 digits before the point
        return usd


def total_of(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts without rounding, whatever the application's decimal context."""
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def summed(costs: list[Cost]) -> Cost:
    """Return several costs of one component and model as one.

    Lines of the same unit and rate become one line; ``usd`` stays the exact sum. Where one part is
    unpriced, so is the whole: a partial sum would look complete.
    """
    first = costs[0]
    if len(costs) == 1:
        return first
    quantities: dict[Unit, Decimal] = {}
    lines: dict[tuple[Unit, Rate], CostLine] = {}
    for cost in costs:
        for unit, amount in cost.usage.quantities.items():
            quantities[unit] = EXACT.add(quantities.get(unit, _ZERO), amount)
        for line in cost.lines:
            seen = lines.get((line.unit, line.rate))
            lines[line.unit, line.rate] = line if seen is None else _line_sum(seen, line)
    usage = replace(first.usage, quantities=quantities)
    reason = next((cost.unpriced for cost in costs if cost.unpriced), None)
    if reason:
        return _unpriced(usage, reason)
    return Cost(
        usage=usage,
        usd=total_of(cost.usd for cost in costs if cost.usd is not None),
        lines=tuple(lines.values()),
        rate_source=first.rate_source,
        name=first.name,
        list_usd=total_of(cost.list_usd for cost in costs if cost.list_usd is not None),
        markup_usd=total_of(charged)
        if (charged := [c.markup_usd for c in costs if c.markup_usd is not None])
        else None,
    )


def _billed_amount(used: Decimal, rate: Rate, mode: Mode | None) -> Decimal:
    if mode is Mode.STREAMING:
        return used
    amount = EXACT.subtract(used, rate.free) if rate.free else used
    if amount <= 0:  # within what is free
        return _ZERO
    amount = max(amount, rate.minimum)
    if rate.increment:
        steps = EXACT.divide(amount, rate.increment).to_integral_value(rounding=ROUND_CEILING, context=EXACT)
        amount = EXACT.multiply(steps, rate.increment)
    return amount


def _line_sum(left: CostLine, right: CostLine) -> CostLine:
    return CostLine(
        unit=left.unit,
        amount=EXACT.add(left.amount, right.amount),
        rate=left.rate,
        usd=EXACT.add(left.usd, right.usd),
        list_usd=EXACT.add(left.list_usd, right.list_usd),
    )


_BEST_KNOWN = {
    Component.LLM: (Measure.TOKEN,),
    Component.REALTIME: (Measure.TOKEN, Measure.SESSION),
    Component.STT: (Measure.TIME, Measure.TOKEN),
    Component.TTS: (Measure.TEXT, Measure.TOKEN),
}


def _unpriced(usage: Usage, reason: str) -> Cost:
    """A cost that is not known, of the measure that people know best of what was reported."""
    known = usage.measures()
    measure = next((m for m in _BEST_KNOWN.get(usage.component, ()) if m in known), None)
    quantities = {unit: n for unit, n in usage.quantities.items() if measure is None or unit.measure is measure}
    return Cost(usage=replace(usage, quantities=quantities), usd=None, unpriced=reason)
