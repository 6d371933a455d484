"""Turn the usage of one model into that of another, so that it can be priced like any usage.

An amount in a unit that the other vendor does not bill is replaced by what the same request reported, else converted by
a ratio that is measured on the calls, else the usage has no price, with the reason. Each replacement is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import ibis

from ..cost import EXACT, Cost, exact_sum
from ..prices.calculate import calculate_cost
from ..prices.catalog import PriceCatalog
from ..prices.names import split_name
from ..prices.rates import RateCard
from ..usage import Component, Dimension, Mode, Unit, Usage

if TYPE_CHECKING:
    from ibis.expr.types import Column, Table

__all__ = ["Model", "Notes", "swap_model"]

_ONE = Decimal(1)
_PLACES = Decimal("0.000000001")
_RATIO = "decimal(16, 9)"
_AMOUNT = "decimal(22, 9)"
_ORDER = list(Unit)
_CACHED = frozenset(unit for unit in Unit if unit.value.startswith("cached_"))

# Units that measure the same work, in the order in which they are tried. Tokens are not among them: a request has
# several kinds, whose shares depend on the model.
_CONVERTIBLE = {
    Component.REALTIME: (Unit.SESSION_SECOND,),
    Component.STT: (Unit.AUDIO_SECOND,),
    Component.TTS: (
        Unit.CHARACTER,
        Unit.AUDIO_SECOND,
        Unit.UTF8_BYTE,
        Unit.WIDE_CHARACTER,
        Unit.UNSPACED_CHARACTER,
    ),
}


class Model(NamedTuple):
    """A model of the calls."""

    component: str
    provider: str
    model: str

    @property
    def name(self) -> str:
        """``provider/model``."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Notes:
    """Remarks on a swap.

    Attributes:
        approximations: Reasons why its cost is not exact.
        reasons: By the processor's reason for a missing price, those that tell more.
        rates: The rates of the new model in words.
    """

    approximations: set[str] = field(default_factory=set)
    reasons: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rates: set[str] = field(default_factory=set)


def swap_model(
    rows: Table, reported: Table, old: Model, new: str, catalog: PriceCatalog, at: datetime | None
) -> tuple[Table, Notes]:
    """Return the usage of one model as that of another.

    Args:
        rows: The usage of all models of the component.
        reported: As in `PastCalls`.
        old: The model to replace.
        new: The model in its place, ``provider/model``.
        catalog: The prices of the new model.
        at: The time whose prices hold; by default, the time of each usage.
    """
    swapping = _Swapping(rows, reported, old, new, catalog, at)
    whole = swapping.rows()
    provider, model = split_name(new)
    swapped = whole.mutate(
        provider=ibis.literal(provider),
        model=ibis.literal(model),
        rate_source=_null(whole.rate_source),  # a gateway's cost of the old model is not one of the new
    )
    return swapped, swapping.notes


class _Ratio(NamedTuple):
    """A measured ratio of two units.

    Attributes:
        old: The unit to convert.
        new: The unit to convert to.
        value: Amount of the new unit for one of the old.
        request_count: Number of requests that have both.
        of: The models that made them.
    """

    old: Unit
    new: Unit
    value: Decimal
    request_count: int
    of: str

    def __str__(self) -> str:
        count = f"{self.request_count:,} request{'' if self.request_count == 1 else 's'}"
        return f"{self.value} {self.new.value} for one {self.old.value}, measured on {count} of {self.of}"


class _Swapping:
    """The swap of a model. Its notes are complete once its parts are made."""

    def __init__(
        self, rows: Table, reported: Table, old: Model, new: str, catalog: PriceCatalog, at: datetime | None
    ) -> None:
        self.notes = Notes()
        self._old, self._new, self._catalog, self._at = old, new, catalog, at
        self._rows, self._reported = rows, reported
        self._component = Component(old.component)

    def rows(self) -> Table:
        """Return the rows of the old model with the amounts that the new one bills."""
        of_model = (self._rows.provider == self._old.provider, self._rows.model == self._old.model)
        rows = self._with_reported(self._rows.filter(*of_model))
        requests = _requests(rows)
        by_units: dict[tuple[str | None, frozenset[Unit]], list[Mapping[str, Any]]] = {}
        for kind in _fetch(requests.group_by(["mode", "units"]).agg(last=requests["last"].max())):
            if units := _to_units(kind["units"]):
                by_units.setdefault((kind["mode"], units), []).append(kind)
        converted = []
        for (mode, units), kinds in by_units.items():
            ratio = self._check(self._usage(mode, units, max(kind["last"] for kind in kinds)))
            if ratio is not None:
                names = [kind["units"] for kind in kinds]
                these = requests.filter(requests.units.isin(names), requests.mode.fill_null("") == (mode or ""))
                converted.append(_converted(rows, these, ratio))
        return ibis.union(rows, *converted) if converted else rows

    def _with_reported(self, rows: Table) -> Table:
        return rows.union(_unbilled(rows, self._reported))

    def _usage(self, mode: str | None, units: Iterable[Unit], last: datetime) -> Usage:
        """Return one of each unit: which of them are billed does not depend on the amounts."""
        provider, model = split_name(self._new)
        is_stt = self._component is Component.STT
        return Usage(
            component=self._component,
            provider=provider,
            model=model,
            quantities=dict.fromkeys(sorted(units, key=_ORDER.index), _ONE),
            at=self._at or last.replace(tzinfo=timezone.utc),
            mode=Mode(mode) if mode else Mode.STREAMING if is_stt else None,
        )

    def _check(self, usage: Usage) -> _Ratio | None:
        """Note the limits of a price, or return the ratio without which there is none."""
        card = self._catalog.card_for(usage)
        cost = calculate_cost(usage, card)
        if cost.usd is not None:
            self._note(cost, card)
            return None
        reasons = self.notes.reasons[cost.unpriced_reason or ""]
        if card is None:
            reasons.add(self._missing(usage))
            return None
        ratio = self._measure(usage.quantities, card)
        if ratio is not None:
            converted = calculate_cost(self._usage(usage.mode, [*usage.quantities, ratio.new], usage.at), card)
            if converted.usd is not None:
                self.notes.approximations.add(f"{self._old.name} to {self._new}: {ratio}")
                self._note(converted, card)
                return ratio
        reasons.add(self._inconvertible(usage.quantities, card))
        return None

    def _note(self, cost: Cost, card: RateCard | None) -> None:
        writes = card is not None and Unit.CACHE_WRITE_TOKEN in card.rates
        add = self.notes.approximations.add
        for line in cost.lines:
            self.notes.rates.add(line.rate.text if line.usd == line.list_usd else f"{line.rate.text}, with a discount")
            if line.rate.fallback:
                add(f"{self._new} is billed by another unit; its price per {line.rate.unit.value} stands in for that")
            elif line.rate.estimated:
                add(f"the price of {self._new} is uncertain")
            if line.rate.unit is not line.unit:
                add(f"{self._new} has no price per {line.unit.value}; billed as {line.rate.unit.value}")
        if self._new == self._old.name:
            return
        units = {line.unit for line in cost.lines}
        if any(unit.dimension is Dimension.TOKEN for unit in units):
            add(f"tokens are as {self._old.name} counts them; it is not measured how {self._new} counts")
        if any(line.unit in _CACHED and line.rate.unit in _CACHED for line in cost.lines):
            add(f"input that {self._old.name} had in its cache is taken to be in that of {self._new}")
            if writes and Unit.CACHE_WRITE_TOKEN not in units:
                add(f"{self._new} also bills what is written to its cache, which these calls do not have")
        if self._component is Component.TTS and Unit.AUDIO_SECOND in units:
            add(f"seconds of speech are those of {self._old.name}; {self._new} may speak faster or slower")

    def _missing(self, usage: Usage) -> str:
        """Return the reason why a model that has prices has none for a usage."""
        for mode in Mode:
            other = Usage(component=usage.component, provider=usage.provider, model=usage.model, at=usage.at, mode=mode)
            if usage.mode is not None and self._catalog.card_for(other) is not None:
                return f"{self._new} has a price for {mode.value} alone, and {self._old.name} was {usage.mode.value}"
        return f"{self._new} has no {usage.component.value} price on {usage.at.date()}"

    def _inconvertible(self, units: Iterable[Unit], card: RateCard) -> str:
        """Return the reason why no ratio makes a price."""
        bills = f"{self._new} bills {_name(card.rates)}; these calls have {_name(units)} of {self._old.name}"
        convertible = _CONVERTIBLE.get(self._component, ())
        if any(unit in convertible for unit in units) and any(unit in convertible for unit in card.rates):
            return f"{bills}, and no request with both to measure a ratio"
        return f"{bills}, which no ratio converts"

    def _measure(self, units: Iterable[Unit], card: RateCard) -> _Ratio | None:
        """Return the first ratio that can be measured, of units that measure the same work."""
        convertible = _CONVERTIBLE.get(self._component, ())
        billed = [unit for unit in convertible if unit in card.rates]
        for new in sorted(billed, key=lambda unit: card.rates[unit].fallback):
            for old in (unit for unit in convertible if unit in units):
                if (ratio := self._ratio(old, new)) is not None:
                    return ratio
        return None

    def _ratio(self, old: Unit, new: Unit) -> _Ratio | None:
        """Return the ratio of the old model's requests; if none has both units, that of all of the component's."""
        whole = self._with_reported(self._rows)
        rows = whole.filter(_is_amount(whole))
        by = ["provider", "model", "request"]
        left, right = (
            amounts.group_by(by).agg(amount=amounts.amount.sum())
            for amounts in (rows.filter(rows.unit == old.value), rows.filter(rows.unit == new.value))
        )
        both = left.rename(old="amount").join(right.rename(new="amount"), by)
        found = _fetch(
            both.group_by(["provider", "model"]).agg(request_count=both.count(), old=both.old.sum(), new=both.new.sum())
        )
        same = [row for row in found if (row["provider"], row["model"]) == self._old[1:]]
        measured = same or found
        if not measured:
            return None
        value = EXACT.divide(exact_sum(row["new"] for row in measured), exact_sum(row["old"] for row in measured))
        return _Ratio(
            old=old,
            new=new,
            value=value.quantize(_PLACES, context=EXACT),
            request_count=sum(row["request_count"] for row in measured),
            of=self._old.name if same else f"other models of {self._component.value}",
        )


def _unbilled(rows: Table, reported: Table) -> Table:
    """Return rows of the amounts that the requests of other rows reported in addition."""
    requests = rows.filter(rows.addon.isnull()).distinct(on="request", keep="first")
    return _without_cost(requests.drop("unit", "amount").join(reported, "request")).select(*rows.columns)


def _converted(rows: Table, requests: Table, ratio: _Ratio) -> Table:
    """Return a row of the new unit for each row of the old one."""
    old = rows.filter(rows.unit == ratio.old.value, _is_amount(rows)).semi_join(requests, "request")
    amount = old.amount.cast(_AMOUNT) * ibis.literal(ratio.value, _RATIO)
    new = old.mutate(unit=ibis.literal(ratio.new.value), amount=amount.try_cast(rows.amount.type()))
    return _without_cost(new).select(*rows.columns)


def _without_cost(rows: Table) -> Table:
    """Return rows whose cost is on another row of the same request."""
    return rows.mutate(usd=_null(rows.usd), list_usd=_null(rows.list_usd))


def _requests(rows: Table) -> Table:
    """Return each request with its units, in one text."""
    amounts = rows.filter(_is_amount(rows))
    return amounts.group_by(["request", "mode"]).agg(
        units=amounts.unit.group_concat(",", order_by=amounts.unit), last=amounts.used_at.max()
    )


def _is_amount(rows: Table) -> Column:
    return rows.unit.notnull() & (rows.amount > 0) & rows.addon.isnull()


def _name(units: Iterable[Unit]) -> str:
    """Return the names of units, all kinds of tokens as one."""
    return ", ".join(sorted({"token" if unit.dimension is Dimension.TOKEN else unit.value for unit in units}))


def _to_units(names: str) -> frozenset[Unit] | None:
    try:
        return frozenset(map(Unit, names.split(",")))
    except ValueError:  # of a newer release: it gets no price
        return None


def _null(column: Column) -> Column:
    return ibis.null(column.type())


def _fetch(table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pyarrow().to_pylist()
    return found
