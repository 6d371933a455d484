"""The results of a reconciliation (values only). All money is in US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum

from ...cost import EXACT, exact_sum

__all__ = ["Comparison", "Finding", "Reconciliation"]

_ZERO = Decimal(0)


class Finding(str, Enum):
    """The result of one comparison."""

    MATCHED = "matched"
    MISSING_WITH_THEM = "missing with them"
    MISSING_WITH_US = "missing with us"
    QUANTITY = "quantity differs"
    PRICE = "price differs"
    QUANTITY_AND_PRICE = "quantity and price differ"
    COST = "cost differs"
    UNPRICED = "no price with us"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One unit of one model in one period.

    Attributes:
        first: First day, as the vendor counts days.
        last: Last day.
        model: Model; of a sum over several, a pattern.
        unit: Unit; None if only the money of the whole model can be compared.
        finding: The result.
        their_quantity: Quantity on the invoice; None if it has none.
        our_quantity: Quantity of the calls: billed or used, whichever is nearer to theirs.
        moved_quantity: Part of ours that belongs to this period because of calls at midnight; negative if to another.
        their_usd: US dollars on the invoice; None if it has none.
        our_usd: US dollars of the calls; None if nothing has a price.
        moved_usd: As ``moved_quantity``.
        unreported_usd: Likely US dollars of the model that nobody reported, if theirs is more; not in ``our_usd``.
        explanations: Explanations, the most likely first.
        places: Files and entries of the lines.
    """

    first: date
    last: date
    model: str
    unit: str | None
    finding: Finding
    their_quantity: Decimal | None
    our_quantity: Decimal | None
    moved_quantity: Decimal
    their_usd: Decimal | None
    our_usd: Decimal | None
    moved_usd: Decimal
    unreported_usd: Decimal | None
    explanations: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def quantity_difference(self) -> Decimal | None:
        """Theirs minus ours; None if the invoice has no quantity."""
        return _difference(self.their_quantity, self.our_quantity, self.moved_quantity)

    @property
    def usd_difference(self) -> Decimal | None:
        """Theirs minus ours, US dollars; None if the invoice has no money."""
        return _difference(self.their_usd, self.our_usd, self.moved_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A vendor's invoice and the calls.

    Attributes:
        first: First day that was compared; None if there was nothing to compare.
        last: Last day.
        comparisons: All comparisons, by day and model.
        unreported_usd: Likely US dollars that nobody reported, in these days.
        notes: Remarks on what was left out, as sentences.
    """

    first: date | None
    last: date | None
    comparisons: tuple[Comparison, ...]
    unreported_usd: Decimal
    notes: tuple[str, ...]

    @property
    def differences(self) -> tuple[Comparison, ...]:
        """The comparisons that did not match."""
        return tuple(each for each in self.comparisons if each.finding is not Finding.MATCHED)

    def total(self, name: str) -> Decimal | None:
        """Return the sum of ``their_usd`` or ``our_usd`` over all comparisons; None if none has it."""
        found = [usd for each in self.comparisons if (usd := getattr(each, name)) is not None]
        return exact_sum(found) if found else None


def _difference(theirs: Decimal | None, ours: Decimal | None, moved: Decimal) -> Decimal | None:
    if theirs is None:
        return None
    return EXACT.subtract(theirs, EXACT.add(ours or _ZERO, moved))
