"""The result of a comparison, and its explanations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal

from ...cost import EXACT, to_text
from .own_usage import PRICE, Unreported
from .sides import Side, Sum, Theirs
from .values import Finding

__all__ = ["Both", "explain", "find_result"]

_ZERO = Decimal(0)
_SHORT = Context(prec=6)  # of a price that is derived from an invoice


@dataclass(frozen=True, slots=True)
class Both:
    """Both sides of one unit of a model in one period.

    Attributes:
        unit: The unit, or None.
        theirs: Lines of the invoice, or None.
        ours: Usage of the calls, or None.
        quantity: The quantities, or None if they are not compared.
        usd: The money, or None if it is not compared.
    """

    unit: str | None
    theirs: Theirs | None
    ours: Sum | None
    quantity: Side | None
    usd: Side | None

    @property
    def sides(self) -> list[Side]:
        """The quantities and the money, as far as they are compared."""
        return [side for side in (self.quantity, self.usd) if side is not None]

    @property
    def is_more(self) -> bool:
        """True if they have more."""
        return any(side.difference > side.tolerance for side in self.sides)


def find_result(both: Both) -> Finding:
    """Return the result of a comparison."""
    theirs, ours, quantity, usd = both.theirs, both.ours, both.quantity, both.usd
    if all(side.agrees for side in both.sides):
        return Finding.MATCHED
    if theirs is None:
        return Finding.MISSING_WITH_THEM
    if ours is None or ours.is_empty:
        return Finding.MISSING_WITH_US
    if quantity is None or quantity.agrees:
        if ours.usd is None and ours.reasons:
            return Finding.UNPRICED
        return Finding.COST if quantity is None or theirs.usd is None else Finding.PRICE
    if theirs.quantity is None:
        return Finding.QUANTITY if usd is None or usd.agrees else Finding.COST
    if usd is None or theirs.usd is None or ours.usd is None or _has_same_price(quantity, usd):
        return Finding.QUANTITY
    return Finding.QUANTITY_AND_PRICE


def _has_same_price(quantity: Side, usd: Side) -> bool:
    """Return True if their cost is their quantity at our price."""
    own_quantity, own_usd = EXACT.add(quantity.ours, quantity.moved), EXACT.add(usd.ours, usd.moved)
    if not own_quantity:
        return True
    price = EXACT.divide(own_usd, own_quantity)
    slack = EXACT.add(usd.tolerance, EXACT.multiply(price, quantity.tolerance))
    expected = EXACT.multiply(price, quantity.theirs or _ZERO)
    return abs(EXACT.subtract(usd.theirs or _ZERO, expected)) <= slack


def explain(finding: Finding, both: Both, unreported: Unreported | None) -> Iterator[str]:
    """Yield explanations, the most likely first.

    Args:
        finding: The result.
        both: Both sides.
        unreported: Unreported work of the model in this period, if they have more.
    """
    if unreported is not None:
        reasons = ", ".join(sorted(unreported.reasons))
        yield f"likely {to_text(unreported.usd)} USD of unreported work ({reasons})"
    if any(side.moved for side in both.sides):
        yield "calls in progress at midnight"
    if finding is Finding.MATCHED:
        return
    if finding in (Finding.PRICE, Finding.QUANTITY_AND_PRICE) and both.theirs and both.ours:
        yield from _explain_price(both.unit, both.theirs, both.ours)
    if both.ours is not None:
        yield from sorted(both.ours.reasons)
        if both.ours.estimated and both.usd is not None and not both.usd.agrees:
            yield "our price is an estimate"
    if both.theirs is not None and both.quantity is not None and both.theirs.quantity is None:
        yield "the invoice has the cost and no quantity"
    if both.theirs is not None and both.usd is not None and both.theirs.usd is None:
        yield "the invoice has the quantity and no cost"


def _explain_price(unit: str | None, theirs: Theirs, ours: Sum) -> Iterator[str]:
    prices = {(usd, per) for rate in ours.rates for usd, per, priced in PRICE.findall(rate) if priced == unit}
    if theirs.quantity and theirs.usd is not None and len(prices) == 1:
        ((price, per),) = prices
        their_price = _SHORT.plus(EXACT.divide(EXACT.multiply(theirs.usd, Decimal(per)), theirs.quantity))
        yield f"{their_price.normalize():f} USD per {per} with them, {price} with us"
