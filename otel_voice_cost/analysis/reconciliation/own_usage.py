"""The usage of past calls by period, model and unit: of all calls, and of those in progress when a period began."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa

from ...cost import EXACT, exact_sum
from ...usage import Unit
from .periods import SLOT_SECONDS, Names, Periods

if TYPE_CHECKING:
    from ibis.expr.types import Table

__all__ = ["PRICE", "Movable", "Ours", "Row", "Unreported", "add_known", "read_movable", "read_ours", "read_unreported"]

PRICE = re.compile(r"(\d+(?:\.\d+)?) USD per (\d+) (\w+)")
_ZERO = Decimal(0)
_SPLIT = Decimal(1).scaleb(-12)  # of a cost and the sum of its units, relative: each request is rounded to 18 places
_PLACES = Decimal(1).scaleb(-18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Usage of one unit of a model in one slot of time; of no unit if only the cost of all units is known."""

    period: int
    model: str
    unit: str | None
    used: Decimal
    billed: Decimal
    usd: Decimal | None
    reason: str | None
    rate: str | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class Ours:
    """The rows of the periods, and what is outside of them: days and US dollars."""

    rows: tuple[Row, ...]
    outside_days: frozenset[date]
    outside_usd: Decimal


@dataclass(frozen=True, slots=True)
class Movable:
    """Usage of calls that were in progress when a period began, in the period before it or in that period."""

    start: int
    row: Row


@dataclass(slots=True)
class Unreported:
    """Unreported work of a model in one period: likely US dollars, and the reasons."""

    usd: Decimal = _ZERO
    reasons: set[str] = field(default_factory=set)


def read_ours(rows: Table, periods: Periods) -> Ours:
    """Return usage in the periods, and what is outside of them."""
    numbers, inside = periods.by_day(), range(len(periods.all))
    found: list[Row] = []
    outside: set[date] = set()
    usd = _ZERO
    for group in _groups(rows, []):
        day = periods.day_of(group["slot"])
        number = numbers.get(day, -1)
        if number in inside:
            found += _split(group, number)
        else:
            outside.add(day)
            usd = EXACT.add(usd, exact_sum(row.usd for row in _split(group, number) if row.usd is not None))
    return Ours(tuple(found), frozenset(outside), usd)


def read_movable(calls: Table, rows: Table, periods: Periods) -> list[Movable]:
    """Return the usage of calls that were in progress at the beginning of a period, by call."""
    began = calls.started_at.epoch_seconds()
    times = calls.select(calls.call, began=began, ended=began + calls.seconds)
    moments = periods.starts()
    starts = ibis.memtable(pa.table({"number": range(len(moments)), "start": moments}))
    crossing = times.join(starts, [times.began < starts.start, times.ended > starts.start]).select("call", "number")
    of_day = periods.by_day()
    found: list[Movable] = []
    for group in _groups(rows.inner_join(crossing, "call"), ["number"]):
        number, start = of_day.get(periods.day_of(group["slot"])), group["number"]
        if number is not None and number in (start - 1, start):
            found += [Movable(start, row) for row in _split(group, number)]
    return found


def read_unreported(rows: Table, periods: Periods, names: Names) -> dict[tuple[str, int], Unreported]:
    """Return unreported work by name of the model and number of the period."""
    numbers, inside = periods.by_day(), range(len(periods.all))
    grouped = _with_slots(rows).group_by(["slot", "model", "unreported"]).agg(usd=rows.usd.sum())
    found: dict[tuple[str, int], Unreported] = defaultdict(Unreported)
    for row in grouped.to_pyarrow().to_pylist():
        number = numbers.get(periods.day_of(row["slot"]), -1)
        if number in inside:
            part = found[names.ours(_own_name(row["model"])), number]
            part.usd = EXACT.add(part.usd, row["usd"] or _ZERO)
            part.reasons.add(row["unreported"])
    return dict(found)


def _own_name(model: str | None) -> str:
    return (model or "unknown").lower()


def _with_slots(rows: Table) -> Table:
    return rows.mutate(slot=rows.used_at.epoch_seconds() // SLOT_SECONDS)


def _groups(rows: Table, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return usage by slot and price, each with the amounts of its units. The sums are the engine's."""
    slots = _with_slots(rows)
    names = [*keys, "slot", "model", "mode", "rate", "unpriced"]
    sums = slots.group_by([*names, "unit"]).agg(
        amount=slots.amount.sum(where=slots.addon.isnull()),
        usd=slots.usd.sum(),
        list_usd=slots.list_usd.sum(),
        estimated=slots.estimated.any(),
    )
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sums.to_pyarrow().to_pylist():
        group = found.setdefault(
            tuple(row[name] for name in names),
            {name: row[name] for name in names}
            | {"amounts": {}, "usd": None, "list_usd": _ZERO, "estimated": row["estimated"]},
        )
        if row["unit"] is not None and row["amount"]:
            group["amounts"][row["unit"]] = row["amount"]
        group["estimated"] |= row["estimated"]
        group["usd"] = add_known(group["usd"], row["usd"])
        group["list_usd"] = EXACT.add(group["list_usd"], row["list_usd"] or _ZERO)
    return list(found.values())


def _split(group: Mapping[str, Any], period: int) -> Iterator[Row]:
    """Yield the units of a group, each with its part of the cost if the price tells it apart."""
    amounts, usd = group["amounts"], group["usd"]
    expected = _expected(amounts, group["rate"])
    total = exact_sum(expected.values()) if expected is not None else _ZERO
    is_exact = expected is not None and abs(EXACT.subtract(total, group["list_usd"])) <= EXACT.multiply(total, _SPLIT)
    costs: dict[str | None, Decimal | None] = dict.fromkeys(amounts)
    billed = dict(amounts)
    if len(amounts) == 1:
        (unit,) = amounts
        costs[unit] = usd
        if total and usd is not None and not is_exact:
            exact = EXACT.divide(EXACT.multiply(amounts[unit], group["list_usd"]), total)
            billed[unit] = exact.quantize(_PLACES, context=EXACT)
    elif usd is not None and expected and is_exact:
        costs |= _shares(expected, total, usd)
    elif usd is not None:
        costs[None] = usd
    for unit, cost in costs.items():
        yield Row(
            period=period,
            model=_own_name(group["model"]),
            unit=unit,
            used=amounts.get(unit, _ZERO),
            billed=billed.get(unit, _ZERO),
            usd=cost,
            reason=group["unpriced"],
            rate=group["rate"],
            estimated=group["estimated"],
        )


def _expected(amounts: Mapping[str, Decimal], rate: str | None) -> dict[str, Decimal] | None:
    """Return amount × price of each unit, or None if a unit has no price of this form."""
    prices: dict[str, Decimal] = {}
    for usd, per, unit in PRICE.findall(rate or ""):
        price = EXACT.divide(Decimal(usd), Decimal(per))
        prices[unit] = EXACT.add(prices.get(unit, _ZERO), price)
    found = {}
    for unit, amount in amounts.items():
        priced_as = next((name for name in _billed_as(unit) if name in prices), None)
        if priced_as is None:
            return None
        found[unit] = EXACT.multiply(amount, prices[priced_as])
    return found


def _billed_as(unit: str) -> list[str]:
    known = next((each for each in Unit if each.value == unit), None)
    return [unit, *(other.value for other in known.fallbacks)] if known else [unit]


def _shares(expected: Mapping[str, Decimal], total: Decimal, usd: Decimal) -> dict[str | None, Decimal | None]:
    """Return the part of each unit of a cost; they add up to it."""
    *others, last = expected
    shares: dict[str | None, Decimal | None] = {}
    rest = usd
    for unit in others:
        exact = EXACT.divide(EXACT.multiply(usd, expected[unit]), total) if total else _ZERO
        shares[unit] = share = exact.quantize(_PLACES, context=EXACT)
        rest = EXACT.subtract(rest, share)
    return shares | {last: rest}


def add_known(total: Decimal | None, number: Decimal | None) -> Decimal | None:
    """Return a sum in which unknown is not zero."""
    return total if number is None else EXACT.add(total or _ZERO, number)
