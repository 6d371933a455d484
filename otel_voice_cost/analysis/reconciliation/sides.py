"""Both sides of one unit of a model over all periods, and what has to move over midnight for them to agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ...cost import EXACT, exact_sum
from ..invoices import InvoiceLine
from .own_usage import Row, add_known

__all__ = ["Series", "Side", "Sum", "Theirs", "Tolerance"]

_ZERO = Decimal(0)
_HUNDRED = Decimal(100)
_DOUBLES = Decimal(1).scaleb(-9)  # of a vendor's sum in binary floating point, relative


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest rounding of the invoice's lines, for lines that it does not have, and a share of their amount."""

    steps: Mapping[str | None, Decimal]
    usd_step: Decimal
    share: Decimal

    @classmethod
    def of(cls, lines: Iterable[InvoiceLine], percent: Decimal) -> Tolerance:
        """Return the tolerance for the lines of an invoice, and a share of each amount in percent."""
        steps: dict[str | None, Decimal] = {}
        usd_step = _ZERO
        for line in lines:
            steps[line.unit] = max(steps.get(line.unit, _ZERO), line.quantity_step)
            usd_step = max(usd_step, line.usd_step)
        return cls(steps, usd_step, EXACT.add(EXACT.divide(percent, _HUNDRED), _DOUBLES))

    def quantity(self, unit: str | None, theirs: Theirs | None) -> Decimal:
        """Return the largest difference of quantities that is none."""
        step = theirs.quantity_step if theirs and theirs.quantity is not None else self.steps.get(unit, _ZERO)
        return EXACT.add(step, EXACT.multiply(abs((theirs and theirs.quantity) or _ZERO), self.share))

    def usd(self, theirs: Theirs | None) -> Decimal:
        """Return the largest difference in US dollars that is none."""
        step = theirs.usd_step if theirs and theirs.usd is not None else self.usd_step
        return EXACT.add(step, EXACT.multiply(abs((theirs and theirs.usd) or _ZERO), self.share))


@dataclass(slots=True)
class Theirs:
    """Lines of one unit in one period."""

    quantity: Decimal | None = None
    quantity_step: Decimal = _ZERO
    usd: Decimal | None = None
    usd_step: Decimal = _ZERO
    places: list[str] = field(default_factory=list)

    def add_quantity(self, line: InvoiceLine) -> None:
        """Add the quantity of a line."""
        self.quantity = add_known(self.quantity, line.quantity)
        self.quantity_step = EXACT.add(self.quantity_step, line.quantity_step)
        self._add_place(line)

    def add_usd(self, line: InvoiceLine) -> None:
        """Add the money of a line."""
        self.usd = add_known(self.usd, line.usd)
        self.usd_step = EXACT.add(self.usd_step, line.usd_step)
        self._add_place(line)

    def _add_place(self, line: InvoiceLine) -> None:
        if line.place not in self.places[-1:]:
            self.places.append(line.place)


@dataclass(slots=True)
class Sum:
    """Usage of one unit in one period."""

    used: Decimal = _ZERO
    billed: Decimal = _ZERO
    usd: Decimal | None = None
    reasons: set[str] = field(default_factory=set)
    rates: set[str] = field(default_factory=set)
    estimated: bool = False

    def add(self, row: Row) -> None:
        """Add usage."""
        self.used, self.billed = EXACT.add(self.used, row.used), EXACT.add(self.billed, row.billed)
        self.usd = add_known(self.usd, row.usd)
        self.estimated |= row.estimated
        self.reasons |= {row.reason} if row.reason else set()
        self.rates |= {row.rate} if row.rate else set()

    @property
    def is_empty(self) -> bool:
        """True if nothing was used."""
        return not (self.used or self.billed or self.usd or self.reasons)


@dataclass(frozen=True, slots=True)
class Side:
    """Both sides of one number in one period."""

    theirs: Decimal | None
    ours: Decimal
    moved: Decimal
    tolerance: Decimal

    @property
    def difference(self) -> Decimal:
        """Theirs minus ours."""
        return EXACT.subtract(self.theirs or _ZERO, EXACT.add(self.ours, self.moved))

    @property
    def agrees(self) -> bool:
        """True if they differ by the tolerance at most."""
        return abs(self.difference) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Settled:
    """One number in all periods, after usage of calls at midnight has moved to the day on which it was billed."""

    theirs: Sequence[Decimal | None]
    ours: Sequence[Decimal]
    moved: Sequence[Decimal]
    tolerances: Sequence[Decimal]

    def side(self, number: int) -> Side:
        """Return both sides in one period."""
        return Side(self.theirs[number], self.ours[number], self.moved[number], self.tolerances[number])

    @property
    def distance(self) -> tuple[int, Decimal]:
        """The number of periods that do not agree, and the sum of their differences."""
        rest = [side for side in map(self.side, range(len(self.ours))) if not side.agrees]
        return len(rest), exact_sum(abs(side.difference) for side in rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One unit of one model in all periods.

    Attributes:
        theirs: Lines by period.
        ours: Usage by period.
        before: Usage in the period before a start, of calls in progress at that start.
        after: The same in the period that begins.
        count: Number of periods.
    """

    theirs: Mapping[int, Theirs]
    ours: Mapping[int, Sum]
    before: Mapping[int, Sum]
    after: Mapping[int, Sum]
    count: int

    def settle_quantity(self, unit: str | None, tolerance: Tolerance) -> Settled:
        """Return the quantities: as used or as billed, whichever agrees in more periods or else is nearer to theirs."""
        theirs = [self.theirs[n].quantity if n in self.theirs else None for n in range(self.count)]
        tolerances = [tolerance.quantity(unit, self.theirs.get(n)) for n in range(self.count)]
        used = self._settle(theirs, tolerances, "used")
        return min(used, self._settle(theirs, tolerances, "billed"), key=lambda settled: settled.distance)

    def settle_usd(self, tolerance: Tolerance) -> Settled:
        """Return the US dollars."""
        theirs = [self.theirs[n].usd if n in self.theirs else None for n in range(self.count)]
        return self._settle(theirs, [tolerance.usd(self.theirs.get(n)) for n in range(self.count)], "usd")

    def _settle(self, theirs: Sequence[Decimal | None], tolerances: Sequence[Decimal], name: str) -> Settled:
        def number(cells: Mapping[int, Sum], key: int) -> Decimal:
            return (getattr(cells[key], name) or _ZERO) if key in cells else _ZERO

        ours = [number(self.ours, n) for n in range(self.count)]
        rest = [EXACT.subtract(billed or _ZERO, own) for billed, own in zip(theirs, ours, strict=True)]
        moved = [_ZERO] * self.count
        for start in range(self.count + 1):
            left, right = start - 1, start
            ahead = _to_move(rest, tolerances, left, right, number(self.before, start))
            back = _to_move(rest, tolerances, right, left, number(self.after, start))
            for source, target, amount in ((left, right, ahead), (right, left, back)):
                if amount:
                    _move(moved, rest, source, EXACT.minus(amount))
                    _move(moved, rest, target, amount)
        return Settled(theirs, ours, moved, tolerances)


def _move(moved: list[Decimal], rest: list[Decimal], number: int, amount: Decimal) -> None:
    if 0 <= number < len(moved):
        moved[number] = EXACT.add(moved[number], amount)
        rest[number] = EXACT.subtract(rest[number], amount)


def _to_move(
    rest: Sequence[Decimal], tolerances: Sequence[Decimal], source: int, target: int, available: Decimal
) -> Decimal:
    """Return the amount that has to move for one of two neighboring periods to agree, or zero.

    A period outside of the invoice agrees with anything.

    Args:
        rest: Theirs minus ours of each period.
        tolerances: The largest difference that is none.
        source: Period in which we have too much.
        target: Period in which they have more.
        available: Amount of calls that were in progress between the two.
    """
    inside = range(len(rest))
    excess = EXACT.minus(rest[source]) if source in inside else None
    lack = rest[target] if target in inside else None
    if excess is not None and excess <= tolerances[source]:
        return _ZERO
    if lack is not None and lack <= tolerances[target]:
        return _ZERO
    amount = min(each for each in (excess, lack, available) if each is not None)
    settles = [
        amount >= EXACT.subtract(each, tolerances[number])
        for each, number in ((excess, source), (lack, target))
        if each is not None
    ]
    return amount if amount > 0 and any(settles) else _ZERO
