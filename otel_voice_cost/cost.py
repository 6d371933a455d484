"""A cost and its lines, in US dollars, as `decimal.Decimal`.

Money is computed in a separate decimal context, independent of the application's, so that parts add up to
their total digit for digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .usage import Amount, Component, Dimension, Unit, Usage, to_decimal

if TYPE_CHECKING:
    from .prices.rates import Rate

__all__ = [
    "EXACT",
    "Cost",
    "CostLine",
    "CostNumbers",
    "add_up",
    "describe",
    "exact_sum",
    "merge_costs",
    "numbers_of",
    "to_text",
    "unpriced_cost",
    "with_numbers",
]

# Context of all money calculations, independent of the application's.
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, InvalidOperation, Overflow])
_Key = TypeVar("_Key", Component, Unit)
_ZERO = Decimal(0)


class CostLine(NamedTuple):
    """One unit of one usage, priced.

    Attributes:
        unit: The billed unit.
        amount: The billed amount: the usage after the rate's minimum and increment.
        rate: The rate.
        usd: Cost after the discount, US dollars.
        list_usd: ``amount × rate``, US dollars, before the discount.
    """

    unit: Unit
    amount: Decimal
    rate: Rate
    usd: Decimal
    list_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one usage, with its explanation.

    Attributes:
        usage: The usage, priced or unpriced. Its quantities are the billed units only.
        usd: US dollars, or None if there is no rate. Never zero for unknown.
        lines: The parts, which add up to ``usd``. Empty if the span carried its cost.
        unpriced_reason: Reason for a missing cost; None if there is a cost.
        rate_source: Page, file or variable that states the rates; ``"span"`` if the span
            carried its cost.
        display_name: Name of the model to show, if a price entry has one.
        list_usd: US dollars before the discount; the same as ``usd`` if there is none.
        markup_usd: The markup on the cost; None if no markup is set.
        estimated: True if a rate has low confidence or stands in for the billed unit.
    """

    usage: Usage
    usd: Decimal | None
    lines: tuple[CostLine, ...] = ()
    unpriced_reason: str | None = None
    rate_source: str | None = None
    display_name: str | None = None
    list_usd: Decimal | None = None
    markup_usd: Decimal | None = None
    is_estimate: bool = False
    estimated: bool = field(init=False)

    def __post_init__(self) -> None:
        estimated = self.is_estimate
        for line in self.lines:  # `any` would add two calls to every request
            estimated = estimated or line.rate.estimated
        object.__setattr__(self, "estimated", estimated)
        if self.list_usd is None:
            object.__setattr__(self, "list_usd", self.usd)

    @property
    def input_usd(self) -> Decimal | None:
        """The part of ``usd`` for input, including seconds and characters; None if there are no lines."""
        return self._usd(is_output=False)

    @property
    def output_usd(self) -> Decimal | None:
        """The part of ``usd`` for output; None if there are no lines."""
        return self._usd(is_output=True)

    def _usd(self, *, is_output: bool) -> Decimal | None:
        return exact_sum([line.usd for line in self.lines if line.unit.is_output is is_output]) if self.lines else None


class CostNumbers(NamedTuple):
    """The numbers of a cost, apart from what they are the numbers of.

    Attributes:
        amounts: The billed amount of each unit, in the order of the usage's quantities.
        line_usds: US dollars of each line.
        usd: US dollars; None if there is no rate.
        usd_text: The same with all digits and no exponent, empty without a rate.
    """

    amounts: Sequence[Decimal | int]
    line_usds: Sequence[Decimal]
    usd: Decimal | None
    usd_text: str


def numbers_of(cost: Cost) -> CostNumbers:
    """Return the numbers of a cost."""
    usd_text = "" if cost.usd is None else to_text(cost.usd)
    return CostNumbers([*cost.usage.quantities.values()], [line.usd for line in cost.lines], cost.usd, usd_text)


def with_numbers(example: Cost, numbers: CostNumbers, at: datetime) -> Cost:
    """Return a cost without discount or markup that differs from an example in numbers and time only."""
    amounts = [Decimal(n) for n in numbers.amounts]
    return replace(
        example,
        usage=replace(example.usage, quantities=dict(zip(example.usage.quantities, amounts, strict=True)), at=at),
        usd=numbers.usd,
        list_usd=numbers.usd,
        lines=tuple(
            CostLine(line.unit, amount, line.rate, usd, usd)
            for line, amount, usd in zip(example.lines, amounts, numbers.line_usds, strict=True)
        ),
    )


def to_text(usd: Decimal) -> str:
    """Format dollars with all digits and no exponent."""
    text = str(usd)
    if "E" in text or "e" in text:  # the case depends on the application's decimal context
        text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if text[-1] == "0" and "." in text else text


def describe(cost: Cost) -> str:
    """Return usage, rates and cost as one line of text."""
    usage = cost.usage
    amounts = ", ".join(f"{amount} {unit.value}" for unit, amount in usage.quantities.items()) or "no amount"
    rates = "; ".join(dict.fromkeys(f"{line.rate.text}, {line.rate.citation}" for line in cost.lines))
    result = f"no cost, {cost.unpriced_reason}" if cost.usd is None else f"{cost.usd:f} USD"
    how = f" at {rates}" if rates else ""
    return f"{usage.component.value} of {usage.provider}/{usage.model}, {amounts}{how}: {result}"


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts without rounding, independent of the application's decimal context."""
    total = _ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def add_up(sums: dict[_Key, Decimal], amounts: Mapping[_Key, Amount]) -> None:
    """Add amounts to sums by key, without rounding."""
    for key, amount in amounts.items():
        sums[key] = EXACT.add(sums.get(key, _ZERO), to_decimal(amount))


def merge_costs(costs: list[Cost]) -> Cost:
    """Merge several costs of one component and model.

    Lines of the same unit and rate become one line; ``usd`` is the exact sum. If one cost is
    unpriced, so is the result: a partial sum would look complete.
    """
    first = costs[0]
    if len(costs) == 1:
        return first
    quantities: dict[Unit, Decimal] = {}
    lines: dict[tuple[Unit, Rate], CostLine] = {}
    for cost in costs:
        add_up(quantities, cost.usage.quantities)
        for line in cost.lines:
            seen = lines.get((line.unit, line.rate))
            lines[line.unit, line.rate] = line if seen is None else _line_sum(seen, line)
    usage = replace(first.usage, quantities=quantities)
    reason = next((cost.unpriced_reason for cost in costs if cost.unpriced_reason), None)
    if reason:
        return unpriced_cost(usage, reason)
    return Cost(
        usage=usage,
        usd=exact_sum(cost.usd for cost in costs if cost.usd is not None),
        lines=tuple(lines.values()),
        rate_source=first.rate_source,
        display_name=first.display_name,
        list_usd=exact_sum(cost.list_usd for cost in costs if cost.list_usd is not None),
        markup_usd=exact_sum(charged)
        if (charged := [c.markup_usd for c in costs if c.markup_usd is not None])
        else None,
    )


def _line_sum(left: CostLine, right: CostLine) -> CostLine:
    return CostLine(
        unit=left.unit,
        amount=EXACT.add(left.amount, right.amount),
        rate=left.rate,
        usd=EXACT.add(left.usd, right.usd),
        list_usd=EXACT.add(left.list_usd, right.list_usd),
    )


_BEST_KNOWN = {
    Component.LLM: (Dimension.TOKEN,),
    Component.REALTIME: (Dimension.TOKEN, Dimension.SESSION),
    Component.STT: (Dimension.TIME, Dimension.TOKEN),
    Component.TTS: (Dimension.TEXT, Dimension.TOKEN),
}


def unpriced_cost(usage: Usage, reason: str) -> Cost:
    """Return an unpriced cost, with the amounts of the most familiar dimension that was reported."""
    known = usage.dimensions()
    measure = next((m for m in _BEST_KNOWN.get(usage.component, ()) if m in known), None)
    quantities = {unit: n for unit, n in usage.quantities.items() if measure is None or unit.dimension is measure}
    return Cost(usage=replace(usage, quantities=quantities), usd=None, unpriced_reason=reason)
