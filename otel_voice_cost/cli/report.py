"""``report``: where the money of past calls went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..cost import EXACT
from .app import Json, app, output, print_json, table
from .past_calls import (
    Connect,
    Csv,
    Files,
    Parquet,
    Since,
    Table,
    Until,
    dollars,
    exact,
    print_csv,
    printable,
    read,
    shown,
    write_parquet,
)

if TYPE_CHECKING:
    from ..analysis.findings import Call, Report, Share

_GROUPS = ("day", "component", "model", "agent")
_SHARE = {"name": str, "call_count": int, "usd": Decimal, "estimated_usd": Decimal}
_COLUMNS = {"by": str, **_SHARE}
_SECONDS_PER_MINUTE = 60
_HUNDRED = Decimal(100)
_REMARKABLE = Decimal("1.5")  # times the median


@app.command()
def report(
    calls: Files = None,
    top: Annotated[int, typer.Option(min=0, help="Number of the most expensive calls to list.")] = 10,
    connect: Connect = None,
    table_name: Table = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
) -> None:
    """Show where the money of past calls went: by day, component, model and agent, and the most expensive calls.

    Estimates and usage without a price are shown apart. CSV and Parquet have the cost of each day, component, model and
    agent.

    Example: voice-cost report calls-2026-11-*.jsonl --top 5
    """
    past = read(calls, connect, table_name, since, until)
    from ..analysis.report import report_calls  # noqa: PLC0415  # an extra

    made = report_calls(past, top)
    rows = [[group, *(getattr(share, name) for name in _SHARE)] for group in _GROUPS for share in _of(made, group)]
    if parquet:
        write_parquet(parquet, _COLUMNS, rows)
    if as_json:
        print_json(_to_json(asdict(made) | {"skipped": past.skipped}))
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        _print(made)


def _of(made: Report, group: str) -> tuple[Share, ...]:
    shares: tuple[Share, ...] = getattr(made, f"by_{group}")
    return shares


def _to_json(value: Any) -> Any:
    """Return a value in JSON types, with all digits of amounts."""
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    return exact(value) if isinstance(value, Decimal) else value


def _print(made: Report) -> None:
    console = output()
    _print_lines(console, _summary(made))
    for group in _GROUPS:
        _print_shares(console, group, _of(made, group), made.usd)
    if made.calls:
        _print_calls(console, made)
    _print_lines(console, _apart(made))


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(printable(line), markup=False)


def _summary(made: Report) -> list[str]:
    days = f"{made.first:%Y-%m-%d} to {made.last:%Y-%m-%d}, " if made.first and made.last else ""
    minutes = made.seconds / _SECONDS_PER_MINUTE
    lines = [f"{made.call_count:,} calls, {days}{minutes:,.0f} minutes: {dollars(made.usd)} US dollars."]
    if made.median_usd_per_minute is not None:
        half, most = dollars(made.median_usd_per_minute), dollars(made.p95_usd_per_minute)
        lines.append(f"Cost per minute: {half} at the median (p50), {most} at the 95th percentile (p95).")
    if made.incomplete_count:
        lines.append(f"The usage of {made.incomplete_count:,} calls does not add up to their cost: spans are missing.")
    return lines


def _print_shares(console: Console, group: str, shares: Iterable[Share], total: Decimal | None) -> None:
    made = table(group, "US dollars", "%", "estimated", "calls")
    for column in made.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for share in shares:
        estimated = dollars(share.estimated_usd) if share.estimated_usd else ""
        name = shown(share.name)
        made.add_row(name, dollars(share.usd), _percent(share.usd, total), estimated, f"{share.call_count:,}")
    console.print(made)


def _percent(usd: Decimal | None, total: Decimal | None) -> str:
    return f"{EXACT.divide(EXACT.multiply(usd, _HUNDRED), total):.1f}" if usd is not None and total else ""


def _print_calls(console: Console, made: Report) -> None:
    rows = table("most expensive call", "US dollars", "minutes", "why")
    for column in rows.columns[1:3]:
        column.justify, column.no_wrap = "right", True
    for call in made.calls:
        minutes = "" if call.seconds is None else f"{call.seconds / _SECONDS_PER_MINUTE:,.1f}"
        rows.add_row(shown(call.session), dollars(call.usd), minutes, "; ".join(_reasons(call)))
    console.print(rows)


def _reasons(call: Call) -> list[str]:
    """Return the reasons why a call is expensive: its length, its cost per minute, and its most expensive model."""
    reasons = []
    if call.length_ratio is not None and call.length_ratio >= _REMARKABLE:
        reasons.append(f"{call.length_ratio:.1f} times as long as the median")
    if call.rate_ratio is not None and call.rate_ratio >= _REMARKABLE:
        reasons.append(f"{call.rate_ratio:.1f} times the median cost per minute")
    if call.parts:
        most = call.parts[0]
        percent = _percent(most.usd, call.usd)
        reasons.append(f"{percent} % is {most.component} {shown(most.model)}")
    return reasons


def _apart(made: Report) -> list[str]:
    """Return lines on estimates and on usage without a price."""
    lines = []
    if made.estimated_usd:
        lines.append(f"Estimated: {dollars(made.estimated_usd)} of the cost, by uncertain prices or stand-in units.")
    if made.unreported:
        lines.append(f"Not in the cost: likely {dollars(made.unreported_usd)} for work that nobody reported.")
        lines += [
            f"  {part.component} {part.provider}/{part.model}, {part.reason}: "
            f"{'no estimate' if part.likely_usd is None else dollars(part.likely_usd)}, {part.call_count:,} calls"
            for part in made.unreported
        ]
    if made.unpriced:
        lines.append("Not in the cost: usage without a price.")
        lines += [
            f"  {part.component} {part.provider}/{part.model}: {part.reason}, {part.call_count:,} calls"
            for part in made.unpriced
        ]
    return lines
