"""Price past calls again: the same usage at other prices, by the processor's own rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import ibis

from ..bill import OTHER_MODELS
from ..cost import EXACT, Cost, add_up, exact_sum
from ..prices.calculate import calculate_cost
from ..prices.catalog import PriceCatalog
from ..usage import BILLED_BY_CALL, Component, Mode, Unit, Usage
from .reading import PastCalls

if TYPE_CHECKING:
    from ibis.expr.types import Table

__all__ = ["ModelChange", "Repricing", "reprice_calls"]

_ZERO = Decimal(0)
_BATCH_ROWS = 50_000
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

    def add(self, before: Decimal | None, after: _Repriced) -> None:
        """Add a request."""
        self.before_usd = _add(self.before_usd, before)
        self.after_usd = _add(self.after_usd, after.usd)
        self.approximations |= after.approximations
        if before is None:
            self.unpriced_before += 1
            self.gained_usd = EXACT.add(self.gained_usd, after.usd or _ZERO)
        if after.usd is None:
            self.unpriced_after += 1
            self.lost_usd = EXACT.add(self.lost_usd, before or _ZERO)
            self.reasons.add(after.reason or "unknown")
        if before is not None and after.usd is not None:
            self.difference_usd = EXACT.add(self.difference_usd, EXACT.subtract(after.usd, before))


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


class _Repriced(NamedTuple):
    """The cost of a request at the other prices; None with a reason if there is no price."""

    usd: Decimal | None
    reason: str | None = None
    approximations: frozenset[str] = frozenset()


def reprice_calls(past: PastCalls, catalog: PriceCatalog, at: datetime | None = None) -> Repricing:
    """Price past calls by another catalog.

    Usage whose cost was on its span already keeps that cost, as it would at the processor. Estimates of what nobody
    reported are left out.

    Args:
        past: The calls.
        catalog: The other prices.
        at: The time whose prices hold; by default, the time of each usage.
    """
    models: dict[tuple[str, str, str], ModelChange] = {}
    for request in _requests(past):
        key = (request["component"] or "unknown", request["provider"] or "unknown", request["model"] or "unknown")
        change = models.get(key)
        if change is None:
            change = models[key] = ModelChange(component=key[0], provider=key[1], model=key[2])
        change.add(request["usd"], _reprice(request, catalog, at))
    changes = sorted(models.values(), key=lambda model: (-abs(model.change_usd), -(model.after_usd or _ZERO)))
    return Repricing(models=tuple(changes))


def _add(total: Decimal | None, usd: Decimal | None) -> Decimal | None:
    """Return a sum in which no price is not zero."""
    return total if usd is None else EXACT.add(total or _ZERO, usd)


def _requests(past: PastCalls) -> Iterator[Mapping[str, Any]]:
    """Yield each request with its amounts; of a record, the sum of a model's requests in a call."""
    rows = past.cost_rows
    amounts = ibis.struct({"unit": rows.unit, "amount": rows.amount})
    is_amount = rows.unit.notnull() & rows.amount.notnull() & rows.addon.isnull()
    grouped: Table = rows.group_by([rows.request, rows.component, rows.provider, rows.model, rows.mode]).agg(
        used_at=rows.used_at.min(),
        usd=rows.usd.sum(),
        is_sum=rows.is_sum.any(),
        is_carried=rows.rate_source.fill_null("").isin(["span"]).any(),
        amounts=amounts.collect(where=is_amount),
    )
    # ibis 12 makes no batches with DuckDB 2
    for batch in grouped.to_pyarrow().to_batches(_BATCH_ROWS):
        yield from batch.to_pylist()


def _reprice(request: Mapping[str, Any], catalog: PriceCatalog, at: datetime | None) -> _Repriced:
    if request["is_carried"]:
        is_further = request["provider"] == OTHER_MODELS
        return _Repriced(request["usd"], approximations=frozenset({_FURTHER} if is_further else ()))
    if not request["amounts"]:
        return _Repriced(None, _NO_AMOUNT)
    try:
        usage = _to_usage(request, at)
    except ValueError as error:  # of a newer release
        return _Repriced(None, str(error))
    if not usage.quantities:
        return _Repriced(request["usd"], approximations=frozenset({_WITHIN_FREE}))
    cost = calculate_cost(usage, catalog.card_for(usage))
    is_sum = request["is_sum"] and usage.component not in BILLED_BY_CALL
    found = set()
    if request["mode"] is None and _depends_on_mode(usage, cost, catalog):
        found.add(_NO_MODE)
    if is_sum and _has_rules_per_request(cost):
        found.add(_SUM)
    return _Repriced(cost.usd, cost.unpriced_reason, frozenset(found))


def _to_usage(request: Mapping[str, Any], at: datetime | None) -> Usage:
    component = Component(request["component"])
    mode = Mode(request["mode"]) if request["mode"] else None
    if mode is None and component is Component.STT:
        mode = Mode.STREAMING
    quantities: dict[Unit, Decimal] = {}
    for pair in request["amounts"]:
        add_up(quantities, {Unit(pair["unit"]): pair["amount"]})
    return Usage(
        component=component,
        provider=request["provider"] or "",
        model=request["model"] or "",
        quantities={unit: amount for unit, amount in quantities.items() if amount > 0},
        at=at or request["used_at"].replace(tzinfo=timezone.utc),
        mode=mode,
    )


def _depends_on_mode(usage: Usage, streaming: Cost, catalog: PriceCatalog) -> bool:
    if usage.component is not Component.STT:
        return False
    batch = Usage(
        component=usage.component,
        provider=usage.provider,
        model=usage.model,
        quantities=usage.quantities,
        at=usage.at,
        mode=Mode.BATCH,
    )
    return calculate_cost(batch, catalog.card_for(batch)).usd != streaming.usd


def _has_rules_per_request(cost: Cost) -> bool:
    """Return True if the requests of a sum may cost more or less than their sum."""
    is_streaming = cost.usage.mode is Mode.STREAMING  # billed by the connection, without minimum or increment
    return any(line.rate.tiers or not (is_streaming or line.rate.is_plain) for line in cost.lines)
