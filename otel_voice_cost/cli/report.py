"""``report``: where the money of past calls went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import Problem
from . import report_texts as texts
from .app import Json, app, fail, output, print_json, table
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
    from ..analysis.findings import Report, Share

_SHARE = {
    "name": str,
    "call_count": int,
    "usd": Decimal,
    "estimated_usd": Decimal,
    "median_usd_per_minute": Decimal,
}
_COLUMNS = {"by": str, **_SHARE}


@app.command()
def report(
    calls: Files = None,
    top: Annotated[int, typer.Option(min=0, help="Number of the most expensive calls to list.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write the report with charts to an HTML file.")] = None,
    connect: Connect = None,
    table_name: Table = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
) -> None:
    """Show where the money of past calls went: by day, component, model, agent and revision; the most expensive calls.

    Estimates and usage without a price are shown apart. CSV and Parquet have the cost of each day, component, model,
    agent and revision.

    Example: voice-cost report calls-2026-11-*.jsonl --top 5 --html report.html
    """
    past = read(calls, connect, table_name, since, until)
    from ..analysis.report import report_calls  # noqa: PLC0415  # an extra

    made = report_calls(past, top)
    rows = [[group, *(getattr(share, name) for name in _SHARE)] for group in texts.GROUPS for share in _of(made, group)]
    if parquet:
        write_parquet(parquet, _COLUMNS, rows)
    if html:
        _write_page(html, made, past.skipped)
    if as_json:
        print_json(_to_json(asdict(made) | {"skipped": past.skipped}))
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        _print(made)


def _write_page(path: Path, made: Report, skipped: int) -> None:
    try:
        from .report_page import render  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        if error.name not in ("altair", "jinja2"):
            raise
        fail([f"--html needs {error.name}: pip install 'otel-voice-cost[analysis]'"])
    try:
        path.write_text(render(made, skipped), encoding="utf-8")
    except OSError as error:
        fail([Problem(place=str(path), value=type(error).__name__, expected="a file that can be written")])


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
    if isinstance(value, date):
        return value.isoformat()
    return exact(value) if isinstance(value, Decimal) else value


def _print(made: Report) -> None:
    console = output()
    _print_lines(console, _summary(made))
    for group in texts.GROUPS:
        _print_shares(console, group, _of(made, group), made.usd)
    if made.calls:
        _print_calls(console, made)
    _print_lines(console, _apart(made))


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(printable(line), markup=False)


def _summary(made: Report) -> list[str]:
    lines = [texts.summary(made)]
    if made.median_usd_per_minute is not None:
        half, most = dollars(made.median_usd_per_minute), dollars(made.p95_usd_per_minute)
        lines.append(f"Cost per minute: {half} at the median (p50), {most} at the 95th percentile (p95).")
    return [*lines, texts.incomplete(made)] if made.incomplete_count else lines


def _print_shares(console: Console, group: str, shares: Sequence[Share], total: Decimal | None) -> None:
    if not shares:
        return
    per_minute = any(share.median_usd_per_minute is not None for share in shares)
    made = table(group, "US dollars", "%", "estimated", "calls", *(["p50/minute"] if per_minute else []))
    for column in made.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for share in shares:
        cells = [
            shown(share.name),
            dollars(share.usd),
            texts.percent(share.usd, total),
            dollars(share.estimated_usd) if share.estimated_usd else "",
            f"{share.call_count:,}",
        ]
        if per_minute:
            cells.append("" if share.median_usd_per_minute is None else dollars(share.median_usd_per_minute))
        made.add_row(*cells)
    console.print(made)


def _print_calls(console: Console, made: Report) -> None:
    rows = table("most expensive call", "US dollars", "minutes", "why")
    for column in rows.columns[1:3]:
        column.justify, column.no_wrap = "right", True
    for call in made.calls:
        why = "; ".join(texts.reasons(call))
        rows.add_row(
            shown(call.session), dollars(call.usd), texts.minutes(call.seconds, places=1), escape(printable(why))
        )
    console.print(rows)


def _apart(made: Report) -> list[str]:
    """Return lines on estimates and on usage without a price."""
    lines = []
    if made.estimated_usd:
        lines.append(f"Estimated: {dollars(made.estimated_usd)} of the cost, by uncertain prices or stand-in units.")
    if made.unreported:
        lines.append(f"Not in the cost: work that nobody reported, {texts.likely(made)}.")
        lines += [
            f"  {texts.used(part)}, {part.reason}: {texts.estimate(part)}, {texts.calls(part.call_count)}"
            for part in made.unreported
        ]
    if made.unpriced:
        lines.append("Not in the cost: usage without a price.")
        lines += [f"  {texts.used(part)}: {part.reason}, {texts.calls(part.call_count)}" for part in made.unpriced]
    return lines
