"""``reconcile``: a vendor's invoice against past calls."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cost import to_text
from .app import Json, app, fail, output, parse_day, print_json, table
from .past_calls import (
    Connect,
    Csv,
    Files,
    Parquet,
    Table,
    dollars,
    exact,
    print_csv,
    printable,
    read,
    require_extra,
    shown,
    write_parquet,
)

if TYPE_CHECKING:
    from ..analysis.invoices import Invoice
    from ..analysis.reconcile import Comparison, Reconciliation

_DIFFERENCES_FOUND = 1  # 2 is bad input, or a wrong option
_ONE_DAY = timedelta(days=1)
_COLUMNS = {
    "first": str,
    "last": str,
    "model": str,
    "unit": str,
    "finding": str,
    "their_quantity": Decimal,
    "our_quantity": Decimal,
    "moved_quantity": Decimal,
    "quantity_difference": Decimal,
    "their_usd": Decimal,
    "our_usd": Decimal,
    "moved_usd": Decimal,
    "usd_difference": Decimal,
    "unreported_usd": Decimal,
    "explanations": str,
    "places": str,
}


@app.command()
def reconcile(
    invoice: Annotated[list[Path], typer.Option(help="A file of the invoice; may be given several times.")],
    vendor: Annotated[
        str, typer.Option(help="deepgram, elevenlabs, openai or twilio; with a mapping file any provider.")
    ],
    calls: Files = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A file that says which column, name and unit is which (TOML).")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of the vendor's days; default that of the mapping file, or UTC.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="First day; default that of the invoice."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Last day; default that of the invoice."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=100, help="Percent by which amounts may differ, in addition to rounding.")
    ] = 0,
    connect: Connect = None,
    table_name: Table = None,
    matched: Annotated[bool, typer.Option("--all", help="Show what matches too.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
) -> None:
    """Compare a vendor's invoice with past calls, by day, model and unit.

    The exit status is 0 if everything matches, 1 if there are differences, and 2 if a file cannot be read.

    Example: voice-cost reconcile calls-2026-11-*.jsonl --vendor deepgram --invoice usage.json --invoice billing.json
    """
    require_extra()
    from ..analysis.invoices import MappingFile, read_invoice, read_mapping_file, to_time_zone  # noqa: PLC0415
    from ..analysis.reading import ReadError  # noqa: PLC0415  # an extra
    from ..analysis.reconcile import reconcile_calls  # noqa: PLC0415

    try:
        names = MappingFile() if mapping is None else read_mapping_file(mapping)
        zone = to_time_zone(time_zone or names.time_zone or "UTC", "time zone")
        lines = read_invoice(invoice, vendor.lower(), names, zone)
        days = _days_to_read(lines, since, until) if connect else ()
        past = read(calls, connect, table_name, *days)
        made = reconcile_calls(
            past,
            lines,
            vendor.lower(),
            time_zone=zone,
            first=_day(since),
            last=_day(until),
            tolerance_percent=Decimal(str(tolerance)),
        )
    except ReadError as error:
        fail(error.problems)
    rows = [_row(each) for each in made.comparisons]
    if parquet:
        write_parquet(parquet, _COLUMNS, rows)
    if as_json:
        print_json(_fields(made, past.skipped))
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        _print(made, made.comparisons if matched else made.differences, tolerance)
    if made.differences:
        raise typer.Exit(_DIFFERENCES_FOUND)


def _days_to_read(
    lines: Invoice, since: datetime | None, until: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Return the days to read from a database: one more on either side, for zones and for calls at midnight."""
    first, last = (datetime(day.year, day.month, day.day) for day in lines.days) if lines.days else (None, None)  # noqa: DTZ001
    first, last = since or first, until or last
    return first - _ONE_DAY if first else None, last + _ONE_DAY if last else None


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _row(each: Comparison) -> list[object]:
    texts = {
        "first": str(each.first),
        "last": str(each.last),
        "finding": each.finding.value,
        "explanations": "; ".join(each.explanations),
        "places": "; ".join(each.places),
    }
    return [texts.get(name, getattr(each, name)) for name in _COLUMNS]


def _fields(made: Reconciliation, skipped: int) -> dict[str, Any]:
    return {
        "first": str(made.first),
        "last": str(made.last),
        "their_usd": exact(made.total("their_usd")),
        "our_usd": exact(made.total("our_usd")),
        "unreported_usd": exact(made.unreported_usd),
        "skipped": skipped,
        "findings": dict(Counter(each.finding.value for each in made.comparisons)),
        "notes": list(made.notes),
        "comparisons": [
            {
                name: exact(cell) if isinstance(cell, Decimal) else cell
                for name, cell in zip(_COLUMNS, _row(each), strict=True)
            }
            | {"explanations": list(each.explanations), "places": list(each.places)}
            for each in made.comparisons
        ],
    }


def _print(made: Reconciliation, listed: tuple[Comparison, ...], tolerance: float) -> None:
    console = output()
    for line in _summary(made):
        console.print(printable(line), markup=False)
    if listed:
        rows = table("day", "model, unit", "theirs", "ours", "finding")
        for column in rows.columns[2:4]:
            column.justify = "right"
        for each in listed:
            rows.add_row(*_cells(each))
        console.print(rows)
    rounding = "Equal means: up to the rounding of the file"
    console.print(f"{rounding}{f' and {tolerance:g} percent' if tolerance else ''}.", markup=False)
    for note in made.notes:
        console.print(printable(note), markup=False)


def _summary(made: Reconciliation) -> list[str]:
    counts = Counter(each.finding.value for each in made.comparisons)
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    lines = [f"{made.first} to {made.last}: {found or 'nothing to compare'}."]
    theirs, ours = made.total("their_usd"), made.total("our_usd")
    if theirs is not None:
        lines.append(f"Theirs {dollars(theirs)}, ours {dollars(ours)} US dollars.")
    if made.unreported_usd:
        lines.append(f"Not in ours: likely {dollars(made.unreported_usd)} for work that nobody reported.")
    return lines


def _cells(each: Comparison) -> list[str]:
    days = str(each.first) if each.first == each.last else f"{each.first}\n{each.last}"
    why = "; ".join([each.finding.value, *each.explanations])
    return [
        days,
        f"{shown(each.model)}\n{each.unit or 'all units'}",
        _amounts(each.their_quantity, each.their_usd),
        _amounts(each.our_quantity, each.our_usd),
        shown(why),
    ]


def _amounts(quantity: Decimal | None, usd: Decimal | None) -> str:
    """Return a quantity and US dollars, one below the other, as far as they are known."""
    cells = ["" if quantity is None else _short(quantity), "" if usd is None else f"{dollars(usd)} USD"]
    return "\n".join(cells)


def _short(quantity: Decimal) -> str:
    rounded = quantity.quantize(Decimal("0.001"))
    return f"{Decimal(to_text(rounded)).normalize():,f}"
