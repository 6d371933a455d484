"""The comparison of one model, at the level of units that both sides have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ...usage import Unit
from ..invoices import InvoiceLine
from .explanations import Both, explain, find_result
from .own_usage import Movable, Row, Unreported
from .periods import Names, Periods
from .sides import Series, Sum, Theirs, Tolerance
from .values import Comparison, Finding

__all__ = ["Terms", "compare_models"]

_ZERO = Decimal(0)
_COARSER = {
    Unit.INPUT_TEXT_TOKEN: Unit.INPUT_TOKEN,
    Unit.INPUT_AUDIO_TOKEN: Unit.INPUT_TOKEN,
    Unit.INPUT_IMAGE_TOKEN: Unit.INPUT_TOKEN,
    Unit.CACHED_INPUT_TEXT_TOKEN: Unit.CACHED_INPUT_TOKEN,
    Unit.CACHED_INPUT_AUDIO_TOKEN: Unit.CACHED_INPUT_TOKEN,
    Unit.CACHED_INPUT_IMAGE_TOKEN: Unit.CACHED_INPUT_TOKEN,
    Unit.OUTPUT_TEXT_TOKEN: Unit.OUTPUT_TOKEN,
    Unit.OUTPUT_AUDIO_TOKEN: Unit.OUTPUT_TOKEN,
    Unit.REASONING_TOKEN: Unit.OUTPUT_TOKEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of all comparisons.

    Attributes:
        periods: Periods of the invoice.
        names: Names of models.
        units: Units whose quantities the invoice has for all models; what is not on it is missing.
        has_usd: True if the invoice has money.
        tolerance: The largest difference that is none.
        unreported: Unreported work by name of the model and number of the period.
    """

    periods: Periods
    names: Names
    units: frozenset[str]
    has_usd: bool
    tolerance: Tolerance
    unreported: Mapping[tuple[str, int], Unreported]


def compare_models(
    lines: Iterable[InvoiceLine], rows: Iterable[Row], movable: Iterable[Movable], terms: Terms
) -> Iterator[Comparison]:
    """Yield the comparisons of all models.

    Args:
        lines: Lines of the invoice.
        rows: Usage of the calls.
        movable: Usage of calls that were in progress when a period began.
        terms: The terms.
    """
    by_name: dict[str, tuple[list[InvoiceLine], list[Row], list[Movable]]] = defaultdict(lambda: ([], [], []))
    for line in lines:
        by_name[terms.names.theirs(line.model)][0].append(line)
    for row in rows:
        by_name[terms.names.ours(row.model)][1].append(row)
    for each in movable:
        by_name[terms.names.ours(each.row.model)][2].append(each)
    for name, both in sorted(by_name.items()):
        yield from _Model(name, *both, terms).compare()


class _Model:
    """Both sides of one model, at the level of units that both have."""

    def __init__(
        self, name: str, lines: Sequence[InvoiceLine], rows: Sequence[Row], movable: Sequence[Movable], terms: Terms
    ) -> None:
        self._name = name
        self._terms = terms
        self._theirs: dict[str | None, dict[int, Theirs]] = defaultdict(dict)
        self._ours: dict[str | None, dict[int, Sum]] = defaultdict(dict)
        self._before: dict[str | None, dict[int, Sum]] = defaultdict(dict)  # of calls at midnight, by start of period
        self._after: dict[str | None, dict[int, Sum]] = defaultdict(dict)
        all_rows = [*rows, *(each.row for each in movable)]
        theirs = {line.unit for line in lines if line.unit is not None}
        counted = {line.unit for line in lines if line.unit is not None and line.quantity is not None} or theirs
        ours = {row.unit for row in all_rows if row.unit is not None}
        self._coarser = _coarser(theirs | ours, counted, ours)
        self._units = sorted({self._coarser.get(unit, unit) for unit in theirs | ours})
        self._has_quantity = terms.units | {self._of(line.unit) for line in lines if line.quantity is not None}
        # Money is compared by unit if both sides have it by unit, or if there is only one.
        self._is_by_unit = all(line.unit for line in lines if line.usd is not None) and all(
            row.unit for row in all_rows if row.usd is not None
        )
        for line in lines:
            self._add_line(line)
        for row in rows:
            self._add_row(self._ours, row, row.period)
        for each in movable:
            self._add_row(self._after if each.row.period == each.start else self._before, each.row, each.start)

    def _of(self, unit: str | None) -> str | None:
        """Return the unit at which quantities in a unit are compared."""
        return None if unit is None else self._coarser.get(unit, unit)

    def _of_money(self, unit: str | None) -> str | None:
        """Return the unit at which the money of a unit is compared; None for all of the model."""
        if self._is_by_unit:
            return self._of(unit)
        return self._units[0] if len(self._units) == 1 else None

    def _add_line(self, line: InvoiceLine) -> None:
        number = self._terms.periods.number_of(line.first)
        if line.quantity is not None:
            self._theirs[self._of(line.unit)].setdefault(number, Theirs()).add_quantity(line)
        if line.usd is not None:
            self._theirs[self._of_money(line.unit)].setdefault(number, Theirs()).add_usd(line)

    def _add_row(self, cells: dict[str | None, dict[int, Sum]], row: Row, key: int) -> None:
        unit, money = self._of(row.unit), self._of_money(row.unit)
        if unit is not None:
            cells[unit].setdefault(key, Sum()).add(row if money == unit else replace(row, usd=None))
        if unit is None or money != unit:
            cells[money].setdefault(key, Sum()).add(replace(row, used=_ZERO, billed=_ZERO))

    def compare(self) -> Iterator[Comparison]:
        """Yield the comparisons of all units and periods that either side has."""
        of_whole_model = [] if self._is_by_unit or len(self._units) == 1 else [None]
        for unit in [*self._units, *of_whole_model]:
            series = Series(
                theirs=self._theirs[unit],
                ours=self._ours[unit],
                before=self._before[unit],
                after=self._after[unit],
                count=len(self._terms.periods.all),
            )
            tolerance = self._terms.tolerance
            has_usd = self._terms.has_usd and self._of_money(unit) == unit
            quantities = series.settle_quantity(unit, tolerance) if unit and unit in self._has_quantity else None
            costs = series.settle_usd(tolerance) if has_usd else None
            for number in sorted(series.theirs.keys() | series.ours.keys()):
                theirs, ours = series.theirs.get(number), series.ours.get(number)
                quantity = quantities.side(number) if quantities else None
                usd = costs.side(number) if costs else None
                if (quantity or usd) and not (theirs is None and (ours is None or ours.is_empty)):
                    yield self._comparison(number, Both(unit, theirs, ours, quantity, usd))

    def _comparison(self, number: int, both: Both) -> Comparison:
        finding = find_result(both)
        unreported = self._terms.unreported.get((self._name, number))
        if finding is Finding.MATCHED or not both.is_more:
            unreported = None
        theirs, ours = both.theirs or Theirs(), both.ours or Sum()
        first, last = self._terms.periods.all[number]
        return Comparison(
            first=first,
            last=last,
            model=self._name,
            unit=both.unit,
            finding=finding,
            their_quantity=theirs.quantity,
            our_quantity=both.quantity.ours if both.quantity else ours.used if both.unit else None,
            moved_quantity=both.quantity.moved if both.quantity else _ZERO,
            their_usd=theirs.usd,
            our_usd=ours.usd,
            moved_usd=both.usd.moved if both.usd else _ZERO,
            unreported_usd=unreported.usd if unreported else None,
            explanations=tuple(explain(finding, both, unreported)),
            places=tuple(theirs.places),
        )


def _coarser(units: set[str], counted: set[str], ours: set[str]) -> dict[str, str]:
    """Return the coarser unit at which each unit is compared.

    Args:
        units: The units of both sides.
        counted: Units in which they state quantities: a coarser one may have what we have in several.
        ours: Units in which we have usage: a coarser one has what they have in several.
    """
    found = {}
    for fine, coarse in _COARSER.items():
        is_theirs = coarse.value in counted
        is_ours = coarse.value in ours and fine.value not in ours
        if fine.value in units and (is_theirs or is_ours):
            found[fine.value] = coarse.value
    return found
