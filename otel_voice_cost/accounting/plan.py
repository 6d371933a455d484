"""The short way to a cost: what requests to one model have in common is worked out with the first of them.

The first usage of a model takes the long way: rates are chosen, its cost is calculated line by line, each dialect
works out its attributes. If that cost is amount × price, a plan of it prices the usages that follow with the same units
on the same day: the same multiplications, and the same text around other numbers. All others take the long way.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cost import EXACT, Cost, CostNumbers, exact_sum, to_text, with_numbers
from ..prices.calculate import cost_in_usd
from ..usage import Component, Dimension, Mode, Reading, Unit, Usage, to_decimal

if TYPE_CHECKING:
    from ..export.dialects import Dialect, Writer
    from ..prices.catalog import PriceCatalog
    from ..prices.rates import Rate, RateCard

__all__ = ["Plan", "PlannedCost", "PlannedCosts", "Plans"]

_MAX_PLANS = 4_096  # then all are made again
_MAX_PLANS_OF_SESSION = 64
_MAX_PLACES = 18  # of a cost
_SECONDS_PER_DAY = 86_400
_add, _multiply = EXACT.add, EXACT.multiply

_Key = tuple[Component, str, str, "Mode | None", float, tuple[Unit, ...]]


class Plan:
    """The way to price and write the usages of one model with the same units on one day.

    Attributes:
        example: The cost it was made of: the others differ in numbers and time only.
        has_seconds: True if amounts may have fractions; all others are ints.
        write: Adds the attributes of a cost.
    """

    __slots__ = ("_inputs", "_most_input", "_prices", "_rates", "_units", "example", "has_seconds", "write")

    def __init__(self, example: Cost, write: Writer) -> None:
        """Work out the prices.

        Args:
            example: A cost for which `can_plan` is true.
            write: Of the dialects, for this example.
        """
        self.example = example
        self.write = write
        self._units = tuple(example.usage.quantities)
        self.has_seconds = any(unit.is_seconds for unit in self._units)
        self._rates = tuple(line.rate for line in example.lines)
        self._prices = [price for rate in self._rates if (price := _price_of_one(rate)) is not None]
        self._most_input = min([tier.above for rate in self._rates for tier in rate.tiers], default=0)
        self._inputs = [u for u in self._units if u.dimension is Dimension.TOKEN and not u.is_output]

    def price(self, reading: Reading) -> PlannedCost | None:
        """Return the cost of a usage, or None if it is beyond the first tier."""
        quantities = reading.quantities
        if self._most_input and sum([quantities[unit] for unit in self._inputs]) > self._most_input:
            return None
        amounts: list[Any] = [*map(quantities.__getitem__, self._units)]
        if self.has_seconds:
            amounts = [*map(to_decimal, amounts)]
        if len(self._prices) == len(amounts):
            usds = [*map(_multiply, amounts, self._prices)]
        else:
            usds = [*map(cost_in_usd, amounts, self._units, self._rates)]
        usd = reduce(_add, usds)
        return PlannedCost(self, reading, CostNumbers(amounts, usds, usd, to_text(usd)), usd, self.example.estimated)


class PlannedCost(NamedTuple):
    """A cost that a plan has priced. It has the attributes of `Cost` that are read for every usage."""

    plan: Plan
    reading: Reading
    numbers: CostNumbers
    usd: Decimal
    estimated: bool

    @property
    def usage(self) -> Usage:
        """The billed usage. Making it takes time."""
        return self.to_cost().usage

    def to_cost(self) -> Cost:
        """Return it in full."""
        return with_numbers(self.plan.example, self.numbers, self.reading.at)

    def billed_reading(self) -> Reading:
        """Return the usage with its billed units only."""
        billed = dict(zip(self.plan.example.usage.quantities, self.numbers.amounts, strict=True))
        return self.reading._replace(quantities=billed)

    def plus(self, other: PlannedCost) -> PlannedCost:
        """Return the sum with another cost of the same plan."""
        total = _Sum(self)
        total.add(other.numbers)
        return total.to_planned()


class _Sum:
    """Costs of one plan, added up."""

    __slots__ = ("amounts", "count", "first", "line_usds")

    def __init__(self, first: PlannedCost) -> None:
        self.first, self.count = first, 1
        self.amounts, self.line_usds = first.numbers.amounts, first.numbers.line_usds

    def add(self, numbers: CostNumbers) -> None:
        self.count += 1
        self.amounts = [*map(_add if self.first.plan.has_seconds else add, self.amounts, numbers.amounts)]
        self.line_usds = [*map(_add, self.line_usds, numbers.line_usds)]

    def to_planned(self) -> PlannedCost:
        usd = exact_sum(self.line_usds)
        numbers = CostNumbers(self.amounts, self.line_usds, usd, to_text(usd))
        return self.first._replace(numbers=numbers, usd=usd)


class PlannedCosts:
    """Planned costs added up by plan. Limited in plans."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[Plan, _Sum] = {}

    def add(self, cost: PlannedCost) -> bool:
        """Add a cost; return False if there are too many plans."""
        known = self._sums.get(cost.plan)
        if known is not None:
            known.add(cost.numbers)
        elif len(self._sums) < _MAX_PLANS_OF_SESSION:
            self._sums[cost.plan] = _Sum(cost)
        else:
            return False
        return True

    @property
    def usd(self) -> Decimal:
        """US dollars of all."""
        return exact_sum([usd for known in self._sums.values() for usd in known.line_usds])

    def __iter__(self) -> Iterator[tuple[int, Cost]]:
        """Yield each sum with the number of its usages."""
        for known in self._sums.values():
            yield known.count, known.to_planned().to_cost()

    def __bool__(self) -> bool:
        return bool(self._sums)


class Plans:
    """The plans of one catalog and its dialects. Safe to use with the lock held only."""

    def __init__(self, catalog: PriceCatalog, dialects: Dialect) -> None:
        """Begin without plans."""
        self._catalog = catalog
        self._dialects = dialects
        self._plans: dict[_Key, Plan | None] = {}  # None: the long way
        self._edition_now = catalog.edition
        self._edition = catalog.edition()

    def price(self, reading: Reading) -> PlannedCost | None:
        """Return the cost of a usage, or None if it must take the long way."""
        component, provider, model, quantities, seconds, mode = reading
        plan = self._plans.get((component, provider, model, mode, seconds // _SECONDS_PER_DAY, tuple(quantities)))
        return plan.price(reading) if plan is not None and self._edition_now() is self._edition else None

    def learn(self, reading: Reading, cost: Cost, card: RateCard | None) -> None:
        """Make a plan of a usage that took the long way, if its like can take the short one."""
        edition = self._edition_now()
        if edition is not self._edition or len(self._plans) >= _MAX_PLANS:
            self._plans, self._edition = {}, edition
        component, provider, model, quantities, seconds, mode = reading
        key = (component, provider, model, mode, seconds // _SECONDS_PER_DAY, tuple(quantities))
        if card is None or key in self._plans:
            return
        is_plannable = can_plan(cost, card) and self._catalog.holds_all_day(cost.usage)
        self._plans[key] = Plan(cost, self._dialects.writer(cost)) if is_plannable else None


def can_plan(cost: Cost, card: RateCard) -> bool:
    """Return True if a cost is amount × price for each unit, in the first tier, whatever the amounts."""
    units = [line.unit for line in cost.lines]
    is_streaming = cost.usage.mode is Mode.STREAMING
    return (
        bool(units)
        and units == list(cost.usage.quantities)  # no add-ons
        and not (card.discount or card.markup or card.needs_text)
        and all(line.rate.is_plain or is_streaming for line in cost.lines)
        and all(line.usd == cost_in_usd(line.amount, line.unit, line.rate) for line in cost.lines)
    )


def _price_of_one(rate: Rate) -> Decimal | None:
    """Return the price of one unit if it is exact, so that costs need no rounding; None for seconds."""
    if rate.unit.is_seconds:
        return None
    price = EXACT.divide(rate.usd, Decimal(rate.per))
    is_exact = _multiply(price, Decimal(rate.per)) == rate.usd and int(price.as_tuple().exponent) >= -_MAX_PLACES
    return price if is_exact else None
