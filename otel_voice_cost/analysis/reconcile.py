"""Reconcile past calls with a vendor's invoice: their lines against the recorded usage, by period, model and unit.

Each quantity and each sum of money is compared as stated by the vendor: equal up to the rounding of the file and a
tolerance. What follows is settled before a difference is reported, and explained:

- A call that is in progress at midnight may be billed on either day. Its usage moves to the other day, never more than
  such calls have used.
- A vendor may bill an amount rounded up to its minimum or increment, or the amount that was used. Both are compared.
- A vendor may bill a sum of units that this package keeps apart (tokens of all modalities), or one price for all units
  of a model. They are compared at the level that both have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timezone, tzinfo
from decimal import Decimal

from ..cost import exact_sum, to_text
from .invoices import Invoice, InvoiceLine
from .reading import PastCalls
from .reconciliation.models import Terms, compare_models
from .reconciliation.own_usage import Ours, read_movable, read_ours, read_unreported
from .reconciliation.periods import Names, Periods
from .reconciliation.sides import Tolerance
from .reconciliation.values import Comparison, Finding, Reconciliation

__all__ = ["Comparison", "Finding", "Reconciliation", "reconcile_calls"]

_ZERO = Decimal(0)
_MAX_NAMES = 5


def reconcile_calls(
    past: PastCalls,
    invoice: Invoice,
    vendor: str,
    *,
    time_zone: tzinfo = timezone.utc,
    first: date | None = None,
    last: date | None = None,
    tolerance_percent: Decimal = _ZERO,
) -> Reconciliation:
    """Compare an invoice with the usage of past calls.

    Args:
        past: The calls.
        invoice: The invoice.
        vendor: Id of the provider whose usage is compared.
        time_zone: Zone in which the vendor counts days.
        first: First day to compare; by default that of the invoice, or of its lines.
        last: Last day to compare; likewise.
        tolerance_percent: Differences up to this share of their amount are no differences.

    Raises:
        ReadError: Periods of lines overlap, or there are no days to compare.
    """
    periods = Periods.of(invoice, first, last, time_zone)
    kept = [line for line in invoice.lines if periods.first <= line.first and line.last <= periods.last]
    rows = past.usage.filter(past.usage.provider == vendor)
    ours = read_ours(rows.filter(rows.unreported.isnull()), periods)
    names = Names.of(kept, {row.model for row in ours.rows})
    compared = [line for line in kept if invoice.knows_all or names.theirs(line.model) in names.own_keys]
    movable = read_movable(past.calls, rows.filter(rows.unreported.isnull()), periods)
    unreported = read_unreported(rows.filter(rows.unreported.notnull()), periods, names)
    terms = Terms(
        periods=periods,
        names=names,
        units=invoice.units,
        has_usd=any(line.usd is not None for line in invoice.lines),
        tolerance=Tolerance.of(compared, tolerance_percent),
        unreported=unreported,
    )
    lines = [
        replace(line, quantity=None) if line.repeats_usage and line.unit in invoice.units else line for line in compared
    ]
    comparisons = sorted(
        compare_models(lines, ours.rows, movable, terms), key=lambda each: (each.first, each.model, each.unit or "")
    )
    return Reconciliation(
        first=periods.first,
        last=periods.last,
        comparisons=tuple(comparisons),
        unreported_usd=exact_sum(part.usd for part in unreported.values()),
        notes=(
            *invoice.notes,
            *_left_out(invoice, kept, compared, ours),
            *_unnamed(compared, names),
            *_unused(past, vendor, ours),
            *_shorter(comparisons, ours, periods, vendor),
        ),
    )


def _left_out(
    invoice: Invoice, kept: Sequence[InvoiceLine], compared: Sequence[InvoiceLine], ours: Ours
) -> Iterator[str]:
    if outside := len(invoice.lines) - len(kept):
        yield f"Lines outside of these days: {outside}."
    names = sorted({line.model for line in kept} - {line.model for line in compared})
    if names:
        shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
        yield f"Lines that are no model of the calls are not compared ({len(names)}): {shown}."
    if ours.outside_days:
        yield (
            f"Usage of the calls outside of these days is not compared: "
            f"{min(ours.outside_days)} to {max(ours.outside_days)}, {to_text(ours.outside_usd)} USD."
        )


def _unnamed(compared: Sequence[InvoiceLine], names: Names) -> Iterator[str]:
    if missing := sorted(names.own_keys - {names.theirs(line.model) for line in compared}):
        yield f"The invoice has no line of {', '.join(missing)}: a mapping file can state the vendor's names."


def _unused(past: PastCalls, vendor: str, ours: Ours) -> Iterator[str]:
    if not ours.rows and not ours.outside_days:
        found = past.cost_rows.select("provider").distinct().to_pyarrow()["provider"].to_pylist()
        providers = ", ".join(sorted(name for name in found if name is not None))
        yield f"The calls have no usage of {vendor}; their providers: {providers or 'none'}."


def _shorter(comparisons: Sequence[Comparison], ours: Ours, periods: Periods, vendor: str) -> Iterator[str]:
    """Yield a remark if the invoice has lines before or after all usage of the calls."""
    used = [row.period for row in ours.rows]
    if not used:
        return
    first, last = periods.all[min(used)][0], periods.all[max(used)][1]
    missing = [each for each in comparisons if each.finding is Finding.MISSING_WITH_US]
    if any(each.last < first or last < each.first for each in missing):
        yield f"The calls have usage of {vendor} from {first} to {last} only: --since and --until compare these days."
