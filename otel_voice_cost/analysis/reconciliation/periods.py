"""Periods of an invoice in the vendor's days, and the vendor's names of models."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from fnmatch import fnmatchcase

from ...errors import Problem
from ..invoices import Invoice, InvoiceLine
from ..reading import ReadError

__all__ = ["SLOT_SECONDS", "Names", "Periods"]

SLOT_SECONDS = 900  # every time zone begins its days at such a slot
_ONE_DAY = timedelta(days=1)
_SNAPSHOT = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")


@dataclass(frozen=True, slots=True)
class Periods:
    """The periods of the invoice's lines, and single days between them, without a gap from ``first`` to ``last``."""

    all: tuple[tuple[date, date], ...]
    time_zone: tzinfo

    @classmethod
    def of(cls, invoice: Invoice, first: date | None, last: date | None, time_zone: tzinfo) -> Periods:
        """Return the periods of an invoice.

        Args:
            invoice: The invoice.
            first: First day; by default that of the invoice and its lines.
            last: Last day; likewise.
            time_zone: Zone in which the vendor counts days.

        Raises:
            ReadError: There are no days, or periods overlap.
        """
        start, end = invoice.days or (None, None)
        start, end = first or start, last or end
        if start is None or end is None or end < start:
            found = "no lines" if start is None or end is None else f"no lines from {start} to {end}"
            raise ReadError([Problem(place="invoice", value=found, expected="lines in the days to compare")])
        found_periods: list[tuple[date, date]] = []
        for period in sorted({(line.first, line.last) for line in invoice.lines}):
            if period[0] < start or end < period[1]:
                continue
            if found_periods and period[0] <= found_periods[-1][1]:
                value = " and ".join(f"{a} to {b}" for a, b in (found_periods[-1], period))
                raise ReadError([Problem(place="invoice", value=value, expected="periods that do not overlap")])
            found_periods.append(period)
        return cls(tuple(_without_gaps(found_periods, start, end)), time_zone)

    @property
    def first(self) -> date:
        """The first day."""
        return self.all[0][0]

    @property
    def last(self) -> date:
        """The last day."""
        return self.all[-1][1]

    def number_of(self, first: date) -> int:
        """Return the number of the period that begins on a day."""
        return bisect_left(self.all, (first, date.min))

    def starts(self) -> list[int]:
        """Return the moment at which each period begins, and the end of the last, in seconds since the epoch."""
        days = [first for first, _ in self.all] + [self.last + _ONE_DAY]
        return [int(datetime(day.year, day.month, day.day, tzinfo=self.time_zone).timestamp()) for day in days]

    def by_day(self) -> dict[date, int]:
        """Return the number of the period of each day; -1 for the day before the first, and that after the last."""
        found = {self.first - _ONE_DAY: -1, self.last + _ONE_DAY: len(self.all)}
        for number, (first, last) in enumerate(self.all):
            found |= {first + timedelta(days=day): number for day in range((last - first).days + 1)}
        return found

    def day_of(self, slot: int) -> date:
        """Return the vendor's day of a slot, a number of quarter hours since the epoch."""
        return datetime.fromtimestamp(slot * SLOT_SECONDS, self.time_zone).date()


def _without_gaps(periods: Iterable[tuple[date, date]], first: date, last: date) -> Iterator[tuple[date, date]]:
    day = first
    for period in periods:
        while day < period[0]:
            yield day, day
            day += _ONE_DAY
        yield period
        day = period[1] + _ONE_DAY
    while day <= last:
        yield day, day
        day += _ONE_DAY


@dataclass(frozen=True, slots=True)
class Names:
    """Names of models: a dated snapshot is its model, and a pattern all models that match it and have no own line."""

    exact: frozenset[str]
    patterns: tuple[str, ...]
    own: frozenset[str]
    own_keys: frozenset[str]

    @classmethod
    def of(cls, lines: Iterable[InvoiceLine], own: set[str]) -> Names:
        """Return the names of the models of an invoice and of the calls."""
        names = {line.model for line in lines}
        patterns = tuple(sorted((name for name in names if "*" in name), key=len, reverse=True))
        exact = frozenset(_snapshot_of(name, own) for name in names if "*" not in name)
        found = cls(exact, patterns, frozenset(own), frozenset())
        return cls(exact, patterns, frozenset(own), frozenset(found.ours(model) for model in own))

    def theirs(self, model: str) -> str:
        """Return the name under which a line is compared."""
        return model if "*" in model else _snapshot_of(model, self.own)

    def ours(self, model: str) -> str:
        """Return the name under which usage is compared."""
        if model in self.exact:
            return model
        bare = _SNAPSHOT.sub("", model)
        if bare in self.exact:
            return bare
        return next((pattern for pattern in self.patterns if fnmatchcase(model, pattern)), model)


def _snapshot_of(model: str, own: Iterable[str]) -> str:
    bare = _SNAPSHOT.sub("", model)
    return bare if model not in own and bare in own else model
