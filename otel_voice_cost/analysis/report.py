"""Report where the money of past calls went. Every sum is added up by the engine, as a decimal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis

from ..cost import EXACT
from .findings import Call, CallPart, Report, Share, Unpriced, Unreported
from .reading import PastCalls

if TYPE_CHECKING:
    from ibis.expr.types import Column, Table

__all__ = ["report_calls"]

_ZERO = Decimal(0)
_SECONDS_PER_MINUTE = Decimal(60)
_PLACES = Decimal(1).scaleb(-12)
_MEDIAN, _NINETY_FIFTH = 50, 95


def report_calls(past: PastCalls, top: int = 10) -> Report:
    """Add up past calls.

    Args:
        past: The calls.
        top: Number of the most expensive calls to list.
    """
    rows = past.cost_rows
    calls = _priced_calls(past)
    total, facts = _totals(rows, calls)
    with_length = calls.filter(calls.seconds > 0, calls.usd.notnull())
    median = _percentile(with_length, _per_minute_order(with_length), _MEDIAN)
    ninety_fifth = _percentile(with_length, _per_minute_order(with_length), _NINETY_FIFTH)
    median_length = _percentile(with_length, with_length.seconds, _MEDIAN)
    unreported = _unreported(past)
    return Report(
        call_count=facts["call_count"],
        first=facts["first"],
        last=facts["last"],
        seconds=facts["seconds"] or _ZERO,
        usd=total["usd"],
        estimated_usd=total["estimated_usd"] or _ZERO,
        unreported_usd=sum((part.likely_usd for part in unreported if part.likely_usd is not None), _ZERO),
        median_usd_per_minute=_per_minute(median),
        p95_usd_per_minute=_per_minute(ninety_fifth),
        incomplete_count=facts["incomplete_count"] or 0,
        by_day=tuple(sorted(_shares(rows, rows.used_at.strftime("%Y-%m-%d")), key=lambda share: share.name or "")),
        by_component=_shares(rows, rows.component),
        by_model=_shares(rows, _model_name(rows)),
        by_agent=_shares(rows, rows.agent),
        calls=_most_expensive(past, calls, top, median, median_length),
        unpriced=_unpriced(rows),
        unreported=unreported,
    )


def _totals(rows: Table, calls: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sums of all usage, and the facts of all calls."""
    (total,) = _fetch(rows.aggregate(usd=rows.usd.sum(), estimated_usd=_estimated(rows)))
    (facts,) = _fetch(
        calls.aggregate(
            call_count=calls.count(),
            first=calls.started_at.min(),
            last=calls.started_at.max(),
            seconds=calls.seconds.sum(),
            incomplete_count=(calls.usd != calls.recorded_usd).sum(),
        )
    )
    return total, facts


def _fetch(table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pyarrow().to_pylist()
    return found


def _priced_calls(past: PastCalls) -> Table:
    """Return the calls with the sum of their rows as ``usd``, and their recorded cost as ``recorded_usd``."""
    rows = past.cost_rows
    sums = rows.group_by(rows.call).agg(usd=rows.usd.sum())
    calls = past.calls.rename(recorded_usd="usd")
    return calls.left_join(sums, "call").drop("call_right")


def _estimated(rows: Table) -> Column:
    return rows.usd.sum(where=rows.estimated)


def _model_name(rows: Table) -> Column:
    return rows.provider.fill_null("unknown") + "/" + rows.model.fill_null("unknown")


def _shares(rows: Table, name: Column) -> tuple[Share, ...]:
    named = rows.mutate(name=name)
    grouped = named.group_by(named.name).agg(
        call_count=named.call.nunique(), usd=named.usd.sum(), estimated_usd=_estimated(named)
    )
    ordered = grouped.order_by([ibis.desc(grouped.usd, nulls_first=False), grouped.name])
    return tuple(Share(**row | {"estimated_usd": row["estimated_usd"] or _ZERO}) for row in _fetch(ordered))


def _per_minute_order(calls: Table) -> Column:
    """Return a value by which calls are in order of their cost per minute. The cost itself stays a decimal."""
    return calls.usd.cast("float64") / calls.seconds.cast("float64")


def _percentile(calls: Table, order: Column, percent: int) -> dict[str, Any] | None:
    """Return the call at the nearest rank, which is a call and no mean of two."""
    count: int = calls.count().to_pyarrow().as_py()
    rank = -(-count * percent // 100)
    ordered = calls.order_by([order, calls.call])
    return next(iter(_fetch(ordered.limit(1, offset=max(rank - 1, 0)))), None)


def _per_minute(call: dict[str, Any] | None) -> Decimal | None:
    if call is None or not call["seconds"] or call["usd"] is None:
        return None
    usd = EXACT.divide(EXACT.multiply(call["usd"], _SECONDS_PER_MINUTE), call["seconds"])
    return usd.quantize(_PLACES, context=EXACT)


def _ratio(value: Decimal | None, median: Decimal | None) -> Decimal | None:
    if value is None or not median:
        return None
    return EXACT.divide(value, median).quantize(Decimal("0.01"), context=EXACT)


def _most_expensive(
    past: PastCalls, calls: Table, top: int, median: dict[str, Any] | None, median_length: dict[str, Any] | None
) -> tuple[Call, ...]:
    priced = calls.filter(calls.usd > 0)
    found = _fetch(priced.order_by([ibis.desc(priced.usd), priced.call]).limit(top))
    parts = _parts(past, [call["call"] for call in found])
    usual_seconds = median_length["seconds"] if median_length else None
    return tuple(
        Call(
            session=call["session"],
            trace=call["trace"],
            agent=call["agent"],
            started_at=call["started_at"],
            seconds=call["seconds"],
            usd=call["usd"],
            usd_per_minute=_per_minute(call),
            length_ratio=_ratio(call["seconds"], usual_seconds),
            rate_ratio=_ratio(_per_minute(call), _per_minute(median)),
            parts=tuple(parts[call["call"]]),
        )
        for call in found
    )


def _parts(past: PastCalls, calls: Sequence[str]) -> dict[str, list[CallPart]]:
    """Return the models of calls, the most expensive first."""
    found: dict[str, list[CallPart]] = {call: [] for call in calls}
    rows = past.cost_rows.filter(past.cost_rows.call.isin(calls), past.cost_rows.usd > 0)
    grouped = rows.group_by([rows.call, rows.component, rows.provider, rows.model]).agg(usd=rows.usd.sum())
    for row in _fetch(grouped.order_by([ibis.desc(grouped.usd), grouped.component, grouped.model])):
        part = CallPart(
            component=row["component"] or "unknown",
            provider=row["provider"] or "unknown",
            model=row["model"] or "unknown",
            usd=row["usd"],
        )
        found[row["call"]].append(part)
    return found


def _unpriced(rows: Table) -> tuple[Unpriced, ...]:
    without = rows.filter(rows.unpriced.notnull()).rename(reason="unpriced")
    by = [without.component, without.provider, without.model, without.reason]
    grouped = without.group_by(by).agg(call_count=without.call.nunique())
    return tuple(Unpriced(**row) for row in _fetch(grouped.order_by([ibis.desc("call_count"), "model", "reason"])))


def _unreported(past: PastCalls) -> tuple[Unreported, ...]:
    rows = past.unreported_rows.rename(reason="unreported")
    grouped = rows.group_by([rows.component, rows.provider, rows.model, rows.reason]).agg(
        call_count=rows.call.nunique(), likely_usd=rows.usd.sum()
    )
    ordered = grouped.order_by([ibis.desc(grouped.likely_usd, nulls_first=False), grouped.model, grouped.reason])
    return tuple(Unreported(**row) for row in _fetch(ordered))
