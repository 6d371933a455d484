"""Report where the money of past calls went. Every sum is added up by the engine, as a decimal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis

from ..cost import EXACT, exact_sum
from .findings import Band, Call, CallPart, DayPart, Report, Share, Unpriced, Unreported
from .reading import PastCalls

if TYPE_CHECKING:
    from ibis.expr.types import Column, Table

__all__ = ["report_calls"]

_ZERO = Decimal(0)
_SECONDS_PER_MINUTE = Decimal(60)
_PLACES = Decimal(1).scaleb(-12)
_MEDIAN, _NINETY_FIFTH, _NINETY_NINTH = 50, 95, 99
_BANDS = 20  # at least, and 50 at most: as many as a telephone can show
_FINEST_BAND = Decimal("0.0001")  # the decimal places of a report
_ON_AN_EDGE = 1e-9  # of a band: more than the error of the float by which a call finds its band


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
        unreported_usd=_likely(unreported),
        median_usd_per_minute=_per_minute(median),
        p95_usd_per_minute=_per_minute(ninety_fifth),
        incomplete_count=facts["incomplete_count"] or 0,
        by_day=tuple(sorted(_shares(rows, rows.used_at.strftime("%Y-%m-%d")), key=lambda share: share.name or "")),
        by_component=_shares(rows, rows.component),
        by_model=_shares(rows, _model_name(rows)),
        by_agent=_with_medians(_shares(rows, rows.agent), with_length, "agent"),
        by_revision=_by_revision(rows, with_length),
        by_day_and_component=_by_day_and_component(rows),
        per_minute=_bands(with_length),
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


def _with_medians(shares: Sequence[Share], calls: Table, column: str) -> tuple[Share, ...]:
    """Return shares with the cost per minute of their median call, the call at the nearest rank."""
    by, order = calls[column], [_per_minute_order(calls), calls.call]
    ranked = calls.mutate(
        place=ibis.row_number().over(group_by=by, order_by=order), count=calls.call.count().over(group_by=by)
    )
    found = _fetch(ranked.filter(ranked.place == (ranked["count"] - 1) // 2))
    medians = {call[column]: _per_minute(call) for call in found}
    return tuple(replace(share, median_usd_per_minute=medians.get(share.name)) for share in shares)


def _by_revision(rows: Table, calls: Table) -> tuple[Share, ...]:
    shares = _with_medians(_shares(rows, rows.revision), calls, "revision")
    return shares if any(share.name for share in shares) else ()


def _by_day_and_component(rows: Table) -> tuple[DayPart, ...]:
    by = {"day": rows.used_at.date(), "component": rows.component}
    grouped = rows.group_by(**by).agg(usd=rows.usd.sum())
    return tuple(DayPart(**row) for row in _fetch(grouped.order_by([grouped.day, grouped.component])))


def _bands(calls: Table) -> tuple[Band, ...]:
    """Return bands from the least expensive call to the 99th of 100, and one for those above."""
    order = _per_minute_order(calls)
    least, most = (_per_minute(_percentile(calls, order, percent)) for percent in (0, _NINETY_NINTH))
    if least is None or most is None:
        return ()
    width = _band_width(most - least if most > least else most)
    first = EXACT.divide_int(least, width)
    count = int(EXACT.divide_int(most, width) - first) + 1
    edges = [EXACT.multiply(width, first + number) for number in range(count + 1)]
    place = ((order * float(_SECONDS_PER_MINUTE) - float(edges[0])) / float(width) + _ON_AN_EDGE).floor()
    placed = calls.mutate(place=place.clip(0, count).cast("int64"))
    found = {row["place"]: row["call_count"] for row in _fetch(placed.group_by("place").agg(call_count=placed.count()))}
    highs = [*edges[1:], None] if count in found else edges[1:]
    return tuple(
        Band(low_usd=low, high_usd=high, call_count=found.get(number, 0))
        for number, (low, high) in enumerate(zip(edges, highs, strict=False))
    )


def _band_width(span: Decimal) -> Decimal:
    """Return 1, 2 or 5 times a power of ten, of which at least 20 cover a span of US dollars."""
    wanted = max(EXACT.divide(span, _BANDS), _FINEST_BAND)
    power = Decimal(1).scaleb(wanted.adjusted())
    return max(width for width in (EXACT.multiply(power, times) for times in (1, 2, 5)) if width <= wanted)


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


def _likely(unreported: Sequence[Unreported]) -> Decimal | None:
    """Return the sum of the estimates, or None if there is work and no estimate of any."""
    estimates = [part.likely_usd for part in unreported if part.likely_usd is not None]
    return exact_sum(estimates) if estimates or not unreported else None
