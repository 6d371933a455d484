"""Price past calls again: the same usage at other prices, by the processor's own rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import ibis

from ..bill import OTHER_MODELS
from ..cost import EXACT, Cost, exact_sum
from ..prices.calculate import calculate_cost, calculate_line
from ..prices.catalog import PriceCatalog
from ..prices.rates import RateCard
from ..usage import BILLED_BY_CALL, Component, Dimension, Mode, Unit, Usage
from .databases import stream
from .reading import PastCalls

if TYPE_CHECKING:
    from ibis.expr.types import Column, Table

__all__ = ["ModelChange", "Repricing", "reprice_calls"]

_ZERO, _ONE = Decimal(0), Decimal(1)
_DAY, _MINUTE = "D", "m"
_HALF = Decimal("0.5")
_SUM = "minimum, increment, free amount or tiers hold per request; the file has sums of requests"
_NO_MODE = "the file does not tell streaming from batch; priced as streaming"
_FURTHER = "a record has no amounts for the models of a call beyond 64; their cost is kept"
_NO_AMOUNT = "no amount was recorded"
_WITHIN_FREE = "the file does not have the amount of usage within the free amount; its cost is kept"


@dataclass(slots=True, kw_only=True)
class ModelChange:
    """One model's cost before and after, which is ``before_usd + difference_usd + gained_usd - lost_usd``.

    Attributes:
        component: The component that used it.
        provider: Provider id.
        model: Model id.
        before_usd: US dollars as recorded; None if nothing had a price.
        after_usd: US dollars at the other prices; None if nothing has a price.
        difference_usd: The change of what has a price before and after.
        gained_usd: What has a price only after.
        lost_usd: What has a price only before.
        unpriced_before: Number of requests without a price in the files; of a record, of models of calls.
        unpriced_after: The same at the other prices.
        reasons: Reasons why there is no price after.
        approximations: Reasons why ``after_usd`` is not exact; empty if it is.
    """

    component: str
    provider: str
    model: str
    before_usd: Decimal | None = None
    after_usd: Decimal | None = None
    difference_usd: Decimal = _ZERO
    gained_usd: Decimal = _ZERO
    lost_usd: Decimal = _ZERO
    unpriced_before: int = 0
    unpriced_after: int = 0
    reasons: set[str] = field(default_factory=set)
    approximations: set[str] = field(default_factory=set)

    @property
    def change_usd(self) -> Decimal:
        """The change of the sum, usage with a price on one side alone included."""
        return EXACT.subtract(EXACT.add(self.difference_usd, self.gained_usd), self.lost_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """Past calls at other prices.

    Attributes:
        models: The change of each model, the largest first.
    """

    models: tuple[ModelChange, ...]

    def total(self, name: str) -> Decimal:
        """Return the sum of one of the amounts in US dollars over all models."""
        return exact_sum(getattr(model, name) or _ZERO for model in self.models)


def reprice_calls(past: PastCalls, catalog: PriceCatalog, at: datetime | None = None) -> Repricing:
    """Price past calls by another catalog.

    Usage whose cost was on its span already keeps that cost, as it would at the processor. Estimates of what nobody
    reported are left out.

    The engine groups the requests, and counts how often each amount of a unit occurs. What a request costs is the sum
    of its lines, and a line depends on nothing but its amount, the rate, the mode and the tier. So the processor's own
    calculation is done once for each different line, and the sum is that over all requests, to the last digit.

    Args:
        past: The calls.
        catalog: The other prices.
        at: The time whose prices hold; by default, the time of each usage.
    """
    with Requests.of(past) as requests:
        kinds = list(requests.kinds(_DAY))
        by_minute = set() if at else {kind.lookup for kind in kinds if not _holds_all_day(kind, catalog)}
        if by_minute:
            kinds = [kind for kind in kinds if kind.lookup not in by_minute]
            kinds += requests.kinds(_MINUTE, by_minute)
        pricing = _Pricing(catalog, at, kinds)
        for unit in requests.units:
            for priced, amount in requests.amounts(unit, pricing.period, pricing.tier):
                pricing.add(unit, priced, amount)
    return pricing.result()


def _add(total: Decimal | None, usd: Decimal | None) -> Decimal | None:
    """Return a sum in which no price is not zero."""
    return total if usd is None else EXACT.add(total or _ZERO, usd)


class _Lookup(NamedTuple):
    """The parts of a usage that rates are looked up by, apart from the time."""

    component: str | None
    provider: str | None
    model: str | None
    mode: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Lookup:
        return cls(row["component"], row["provider"], row["model"], row["mode"])

    def usage(self, quantities: Mapping[Unit, Decimal], at: datetime) -> Usage:
        """Return a usage.

        Raises:
            ValueError: Component or mode are of a newer release.
        """
        component = Component(self.component)
        mode = Mode(self.mode) if self.mode else None
        if mode is None and component is Component.STT:
            mode = Mode.STREAMING
        return Usage(
            component=component,
            provider=self.provider or "",
            model=self.model or "",
            quantities=quantities,
            at=at,
            mode=mode,
        )


class _Kind(NamedTuple):
    """Requests that are alike but for their amounts.

    Attributes:
        lookup: The key of their rates.
        moment: Start of the day or minute of their usage, UTC.
        units: Their units with an amount above zero.
        unknown_unit: One of their units that this release does not know, or None.
        has_amounts: False if no amount was recorded.
        is_sum: True if they may be sums of requests.
        is_carried: True if their costs were on their spans already.
        is_priced: True if they have recorded costs.
        request_count: Their number.
        usd: The sum of their recorded costs.
    """

    lookup: _Lookup
    moment: datetime
    units: tuple[Unit, ...]
    unknown_unit: str | None
    has_amounts: bool
    is_sum: bool
    is_carried: bool
    is_priced: bool
    request_count: int
    usd: Decimal | None


_Numbering = Callable[["Table"], "Column"]


class _Priced(NamedTuple):
    """Usage that has the same rates: a model's, of some units, in a period."""

    lookup: _Lookup
    period: int
    units: tuple[Unit, ...]


class Requests:
    """The requests of past calls in the engine, one row each; of a record, the sum of a model's requests in a call.

    Attributes:
        units: The units of their amounts.
    """

    def __init__(self, table: Table, units: Sequence[Unit]) -> None:
        """Use a table with a column for the amount of each unit. Most callers want `of`."""
        self.units = tuple(units)
        above_zero = [table[_column(unit)] > 0 for unit in units]
        bits = [is_used.ifelse(1 << number, 0) for number, is_used in enumerate(above_zero)]
        inputs = [
            is_used.ifelse(table[_column(unit)], ibis.literal(_ZERO, table[_column(unit)].type()))
            for unit, is_used in zip(units, above_zero, strict=True)
            if unit.dimension is Dimension.TOKEN and not unit.is_output
        ]
        self._table = table.mutate(
            units=_sum_of(bits).cast("int64"), input_tokens=_sum_of(inputs), is_priced=table.usd.notnull()
        )

    @classmethod
    @contextmanager
    def of(cls, past: PastCalls) -> Iterator[Requests]:
        """Group the rows of past calls by request, once, into a table of the engine that is dropped afterwards."""
        rows = past.cost_rows
        found = {row["unit"] for row in rows.select("unit").distinct().to_pyarrow().to_pylist()}
        units = [unit for unit in Unit if unit.value in found]
        is_amount = rows.unit.notnull() & rows.amount.notnull() & rows.addon.isnull()
        is_unknown = ~rows.unit.isin([unit.value for unit in Unit]) & (rows.amount > 0)
        grouped = rows.group_by(["request", *_Lookup._fields]).agg(
            used_at=rows.used_at.min(),
            usd=rows.usd.sum(),
            is_sum=rows.is_sum.any(),
            is_carried=(rows.rate_source.fill_null("") == "span").any(),
            has_amounts=is_amount.any(),
            unknown_unit=rows.unit.max(where=is_amount & is_unknown),
            **{_column(unit): rows.amount.sum(where=is_amount & (rows.unit == unit.value)) for unit in units},
        )
        connection = rows.get_backend()
        name = f"requests_{uuid4().hex}"
        connection.con.execute(f"CREATE TEMP TABLE {name} AS {connection.compile(grouped.drop('request'))}")
        try:
            yield cls(connection.table(name), units)
        finally:
            connection.con.execute(f"DROP TABLE {name}")

    def kinds(self, step: str, of: Iterable[_Lookup] | None = None) -> Iterator[_Kind]:
        """Yield the kinds of requests in steps of time, ``D`` for a day or ``m`` for a minute.

        Args:
            step: The step.
            of: Only those of these models.
        """
        table = self._table if of is None else self._table.filter(ibis.or_(*(_is(self._table, each) for each in of)))
        by = ["moment", "units", "unknown_unit", "has_amounts", "is_sum", "is_carried", "is_priced"]
        rows = table.mutate(moment=table.used_at.truncate(step)).group_by([*_Lookup._fields, *by])
        for row in _fetch(rows.agg(request_count=lambda group: group.count(), usd=lambda group: group.usd.sum())):
            names = {name: row[name] for name in (*by, "request_count", "usd")}
            names |= {"moment": row["moment"].replace(tzinfo=timezone.utc), "units": self._to_units(row["units"])}
            yield _Kind(lookup=_Lookup.of(row), **names)

    def amounts(self, unit: Unit, period: _Numbering, tier: _Numbering) -> Iterator[tuple[_Priced, Mapping[str, Any]]]:
        """Yield each different amount of a unit with the number of its requests.

        Args:
            unit: The unit.
            period: Numbers the periods of a price.
            tier: Numbers the tiers of a price.
        """
        table = self._table.filter(
            self._table[_column(unit)] > 0, ~self._table.is_carried, self._table.unknown_unit.isnull()
        )
        numbered = table.mutate(period=period(table), tier=tier(table), amount=table[_column(unit)])
        rows = numbered.group_by([*_Lookup._fields, "units", "is_priced", "period", "tier", "amount"])
        for row in _fetch(rows.agg(request_count=lambda group: group.count())):
            yield _Priced(_Lookup.of(row), row["period"], self._to_units(row["units"])), row

    def _to_units(self, bits: int) -> tuple[Unit, ...]:
        return tuple(unit for number, unit in enumerate(self.units) if bits >> number & 1)


class _Prices(NamedTuple):
    """The prices of requests.

    Attributes:
        usage: A usage of one of each unit.
        card: The rates of the model.
        batch: The rates for batches if it is unknown whether this was one, else None.
        change: The model.
    """

    usage: Usage
    card: RateCard
    batch: RateCard | None
    change: ModelChange

    def usd(self, unit: Unit, amount: Decimal, total_input: Decimal) -> Decimal:
        """Return the cost of a unit."""
        return self._usd(self.card, self.usage.mode, unit, amount, total_input)

    def depends_on_mode(self, unit: Unit, amount: Decimal, total_input: Decimal, usd: Decimal) -> bool:
        """Return True if a unit would cost something else in a batch."""
        return self.batch is not None and usd != self._usd(self.batch, Mode.BATCH, unit, amount, total_input)

    def _usd(self, card: RateCard, mode: Mode | None, unit: Unit, amount: Decimal, total_input: Decimal) -> Decimal:
        """Return the sum of the lines of a unit, one for its rate and one for each add-on."""
        rates = [rate for billed, rate in card.billing(tuple(self.usage.quantities)).rates if billed is unit]
        return exact_sum(calculate_line(unit, amount, rate, card, mode, total_input).usd for rate in rates)


class _Pricing:
    """Prices kinds of requests when it is made, and then their amounts."""

    def __init__(self, catalog: PriceCatalog, at: datetime | None, kinds: Iterable[_Kind]) -> None:
        """Find the prices of all kinds.

        Args:
            catalog: The other prices.
            at: The time whose prices hold, or None for the moment of each kind.
            kinds: All kinds.
        """
        self._catalog, self._at = catalog, at
        self._periods: dict[_Lookup, list[tuple[datetime, RateCard | None]]] = {}  # first moment of each
        self._prices: dict[_Priced, _Prices] = {}
        self._changes: dict[tuple[str, str, str], ModelChange] = {}
        for kind in sorted(kinds, key=lambda kind: kind.moment):
            self._add_kind(kind)

    def period(self, rows: Table) -> Column:
        """Return the number of the period of a price in which a request was made."""
        branches = [
            (_is(rows, lookup) & (rows.used_at >= start.replace(tzinfo=None)), number)
            for lookup, periods in self._periods.items()
            for number, (start, _) in reversed([*enumerate(periods)][1:])
        ]
        return ibis.cases(*branches, else_=0) if branches else ibis.literal(0)

    def tier(self, rows: Table) -> Column:
        """Return the number of thresholds of tiers that the input of a request exceeds."""
        branches = [
            (_is(rows, lookup) & (rows.input_tokens > threshold), number)
            for lookup in self._periods
            for number, threshold in reversed([*enumerate(self._thresholds(lookup), 1)])
        ]
        return ibis.cases(*branches, else_=0) if branches else ibis.literal(0)

    def add(self, unit: Unit, priced: _Priced, row: Mapping[str, Any]) -> None:
        """Add an amount of a unit, as often as it occurs."""
        prices = self._prices.get(priced)
        if prices is None:
            return
        # any total of the tier will do: thresholds are whole numbers
        tier = row["tier"]
        total_input = EXACT.add(Decimal(self._thresholds(priced.lookup)[tier - 1]), _HALF) if tier else _ZERO
        usd, change = prices.usd(unit, row["amount"], total_input), prices.change
        if prices.depends_on_mode(unit, row["amount"], total_input, usd):
            change.approximations.add(_NO_MODE)
        total = EXACT.multiply(usd, row["request_count"])
        change.after_usd = _add(change.after_usd, total)
        if row["is_priced"]:
            change.difference_usd = EXACT.add(change.difference_usd, total)
        else:
            change.gained_usd = EXACT.add(change.gained_usd, total)

    def result(self) -> Repricing:
        """Return the changes of all models."""
        changes = self._changes.values()
        ordered = sorted(changes, key=lambda model: (-abs(model.change_usd), -(model.after_usd or _ZERO)))
        return Repricing(models=tuple(ordered))

    def _add_kind(self, kind: _Kind) -> None:
        """Add the recorded cost of a kind, and what its cost is now if that does not depend on its amounts."""
        change = self._change(kind.lookup)
        change.before_usd = _add(change.before_usd, kind.usd)
        if not kind.is_priced:
            change.unpriced_before += kind.request_count
        if kind.is_carried:
            if kind.lookup.provider == OTHER_MODELS:
                change.approximations.add(_FURTHER)
            self._keep(kind, change)
        elif not kind.has_amounts:
            self._lose(kind, change, _NO_AMOUNT)
        elif kind.unknown_unit is None and not kind.units:
            change.approximations.add(_WITHIN_FREE)
            self._keep(kind, change)
        else:
            self._price(kind, change)

    def _change(self, lookup: _Lookup) -> ModelChange:
        key = (lookup.component or "unknown", lookup.provider or "unknown", lookup.model or "unknown")
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = ModelChange(component=key[0], provider=key[1], model=key[2])
        return change

    def _keep(self, kind: _Kind, change: ModelChange) -> None:
        if kind.is_priced:
            change.after_usd = _add(change.after_usd, kind.usd)
        else:
            self._lose(kind, change, "unknown")

    def _lose(self, kind: _Kind, change: ModelChange, reason: str) -> None:
        change.unpriced_after += kind.request_count
        change.lost_usd = EXACT.add(change.lost_usd, kind.usd or _ZERO)
        change.reasons.add(reason)

    def _price(self, kind: _Kind, change: ModelChange) -> None:
        """Find the rates of a kind."""
        try:
            Unit(kind.unknown_unit or kind.units[0])
            usage = kind.lookup.usage(dict.fromkeys(kind.units, _ONE), self._at or kind.moment)
        except ValueError as error:  # of a newer release
            self._lose(kind, change, str(error))
            return
        card = self._catalog.card_for(usage)
        period = self._number(kind, card)
        cost = calculate_cost(usage, card)
        batch = self._batch(kind, usage)
        if batch is not None and (batch[1].usd is None) is not (cost.usd is None):
            change.approximations.add(_NO_MODE)
        if card is None or cost.usd is None:
            self._lose(kind, change, cost.unpriced_reason or "unknown")
            return
        if kind.is_sum and usage.component not in BILLED_BY_CALL and _has_rules_per_request(cost):
            change.approximations.add(_SUM)
        if kind.is_priced:
            change.difference_usd = EXACT.subtract(change.difference_usd, kind.usd or _ZERO)
        prices = _Prices(usage, card, batch[0] if batch and batch[1].usd is not None else None, change)
        self._prices[_Priced(kind.lookup, period, kind.units)] = prices

    def _batch(self, kind: _Kind, usage: Usage) -> tuple[RateCard | None, Cost] | None:
        """Return the rates for batches and a cost by them, if it is unknown whether a usage was one."""
        if usage.component is not Component.STT or kind.lookup.mode is not None:
            return None
        batch = replace(usage, mode=Mode.BATCH)
        card = self._catalog.card_for(batch)
        return card, calculate_cost(batch, card)

    def _number(self, kind: _Kind, card: RateCard | None) -> int:
        """Return the number of the period of a kind, which begins a new one if the card is another."""
        periods = self._periods.setdefault(kind.lookup, [])
        if not periods or periods[-1][1] != card:
            periods.append((kind.moment, card))
        return len(periods) - 1

    def _thresholds(self, lookup: _Lookup) -> list[int]:
        cards = [card for _, card in self._periods.get(lookup, ())]
        rates = [rate for card in cards if card is not None for rate in (*card.rates.values(), *card.addons)]
        return sorted({tier.above for rate in rates for tier in rate.tiers})


def _holds_all_day(kind: _Kind, catalog: PriceCatalog) -> bool:
    try:
        usage = kind.lookup.usage({}, kind.moment)
    except ValueError:
        return True
    catalog.card_for(usage)
    return catalog.holds_all_day(usage)


def _has_rules_per_request(cost: Cost) -> bool:
    """Return True if the requests of a sum may cost more or less than their sum."""
    is_streaming = cost.usage.mode is Mode.STREAMING  # billed by the connection, without minimum or increment
    return any(line.rate.tiers or not (is_streaming or line.rate.is_plain) for line in cost.lines)


def _column(unit: Unit) -> str:
    return f"amount_of_{unit.value}"


def _is(rows: Table, lookup: _Lookup) -> Column:
    return ibis.and_(*(rows[name].identical_to(value) for name, value in lookup._asdict().items()))


def _sum_of(columns: Sequence[Column]) -> Column:
    return reduce(add, columns, ibis.literal(0))


def _fetch(rows: Table) -> Iterator[dict[str, Any]]:
    for batch in stream(rows.get_backend(), rows):
        yield from batch.to_pylist()
