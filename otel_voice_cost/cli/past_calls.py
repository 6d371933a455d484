"""Shared parts of the commands on past calls: their files, databases, and output as CSV and Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track

from ..build import sources
from ..cost import EXACT, to_text
from ..errors import Problem
from ..prices.files import read_sheet
from .app import catalog, fail, parse_day, print_errors

if TYPE_CHECKING:
    from ..analysis.databases import Period
    from ..analysis.reading import PastCalls
    from ..prices.catalog import PriceCatalog

__all__ = [
    "Calls",
    "Connect",
    "Csv",
    "Files",
    "Parquet",
    "Prices",
    "PricesOn",
    "Since",
    "Table",
    "Until",
    "catalog_with",
    "change_cells",
    "dollars",
    "exact",
    "print_csv",
    "printable",
    "progress",
    "read",
    "require_extra",
    "shown",
    "write_parquet",
]

_HUNDRED = Decimal(100)
_SHOWN_PROBLEMS = 10
_T = TypeVar("_T")
_console = Console(stderr=True)
_EXTRA = ("duckdb", "google", "ibis", "opentelemetry", "pyarrow")  # packages that the extra brings
_LANGFUSE = "langfuse"  # in place of the URL of a database

Calls = Annotated[list[Path], typer.Argument(help="Files of records, of spans from the Collector, or of Langfuse.")]
Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of records, of spans from the Collector, or of Langfuse.", show_default=False),
]
Connect = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Read a database instead of files: clickhouse://..., postgres://...; or 'langfuse'."
    ),
]
Table = Annotated[str | None, typer.Option("--table", help="The table of spans in the database; default otel_traces.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="First day (UTC) to read from a database or Langfuse."),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Last day (UTC) to read from a database or Langfuse."),
]
Prices = Annotated[Path | None, typer.Option(help="A price file that comes before all other prices.")]
PricesOn = Annotated[
    datetime | None,
    typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Day of the prices; default the day of each usage."),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Parquet = Annotated[Path | None, typer.Option(help="Write the rows of the CSV to a Parquet file.")]


def read(
    paths: list[Path] | None,
    connect: str | None = None,
    table: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> PastCalls:
    """Return the calls in files, a database or Langfuse.

    Prints what is skipped, and exits if something cannot be read or there are no calls.
    """
    if bool(paths) == bool(connect):
        fail(
            ["CALLS: got files and --connect, expected one of them" if paths else "CALLS: got nothing, expected files"]
        )
    if paths and (table or since or until):
        fail(["--table, --since and --until: got files, expected --connect"])
    require_extra()
    from ..analysis import databases  # noqa: PLC0415  # an extra

    period = databases.Period(_start(since), _start(until + timedelta(days=1)) if until else None)
    if paths:
        past = _read_files(paths)
    elif connect == _LANGFUSE:
        past = _read_langfuse(period)
    else:
        past = _read_database(connect or "", table or databases.TRACES, period)
    print_errors(past.problems[:_SHOWN_PROBLEMS])
    if past.skipped > _SHOWN_PROBLEMS:
        print_errors([f"... and {past.skipped - _SHOWN_PROBLEMS} more"])
    if past.skipped:
        print_errors([f"Skipped: {past.skipped}. Everything else is counted."])
    if past.call_count == 0:
        fail(["No calls in these files." if paths else "No calls were found."])
    return past


def catalog_with(prices: Path | None) -> PriceCatalog:
    """Return the processor's catalog with a price file before it; exit if the file has mistakes."""
    if prices is None:
        return catalog()
    sheet = read_sheet(prices)
    if sheet.problems:
        fail(sheet.problems)
    return catalog().with_sheet(sheet)


def require_extra() -> None:
    """Exit if the extra ``analysis`` is not installed."""
    try:
        import_module("..analysis.databases", __package__)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _EXTRA:
            raise
        fail([f"This command needs {error.name}: pip install 'otel-voice-cost[analysis]'"])


def _start(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=timezone.utc) if day else None


def _read_files(paths: list[Path]) -> PastCalls:
    from ..analysis.reading import ReadError, read_calls  # noqa: PLC0415  # an extra

    try:
        return read_calls(paths, sources(), progress("Files"))
    except ReadError as error:
        fail(error.problems)


def _read_langfuse(period: Period) -> PastCalls:
    from ..analysis.langfuse import PATH  # noqa: PLC0415  # an extra
    from ..analysis.reading import read_langfuse  # noqa: PLC0415
    from .langfuse import connect_to_project, describe_error  # noqa: PLC0415  # imports the application

    client = connect_to_project()
    with _counting("observations") as count:
        try:
            return read_langfuse(client, sources(), period, count)
        except Exception as error:  # noqa: BLE001  # any network error
            fail([f"Langfuse: {describe_error(error, PATH)}"], status=1)


def _read_database(url: str, table: str, period: Period) -> PastCalls:
    from ..analysis.databases import DatabaseError  # noqa: PLC0415  # an extra
    from ..analysis.reading import read_database  # noqa: PLC0415

    with _counting("spans") as count:
        try:
            return read_database(url, sources(), period, table, count)
        except DatabaseError as error:
            fail([error])


def progress(description: str) -> Callable[[list[_T]], Iterable[_T]]:
    """Return what passes steps through and shows their progress on a terminal."""
    return partial(track, description=description, console=_console, disable=not _console.is_terminal, transient=True)


@contextmanager
def _counting(noun: str) -> Iterator[Callable[[int], object]]:
    """Show a growing number on a terminal; give what is called with each addition."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_console, disable=not _console.is_terminal, transient=True) as progress:
        task = progress.add_task(noun, total=None)
        yield lambda count: progress.advance(task, count)


def print_csv(columns: Mapping[str, type], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as CSV, with all digits of amounts and nothing for None."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[to_text(cell) if isinstance(cell, Decimal) else cell for cell in row] for row in rows])


def write_parquet(path: Path, columns: Mapping[str, type], rows: Iterable[Sequence[object]]) -> None:
    """Write rows to a Parquet file; exit if it cannot be written.

    Args:
        path: The file, which is replaced.
        columns: The type of each column. Amounts become decimals with 24 places, times timestamps in UTC.
        rows: Cells in the order of the columns; None becomes null.
    """
    import pyarrow as pa  # noqa: PLC0415  # an extra
    from pyarrow import parquet  # noqa: PLC0415

    types = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
    types |= {Decimal: pa.decimal128(38, 24), datetime: pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    made = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema)
    try:
        parquet.write_table(made, path)
    except OSError as error:
        fail([Problem(place=str(path), value=type(error).__name__, expected="a file that can be written")])


def printable(text: str) -> str:
    """Return a text from a file without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shown(name: str | None) -> str:
    """Return a name from a file for a table, in which brackets would be markup."""
    return escape(printable(name or "unknown"))


def exact(usd: Decimal | None) -> str | None:
    """Return US dollars for JSON, with all digits."""
    return None if usd is None else to_text(usd)


def dollars(usd: Decimal | None, *, signed: bool = False) -> str:
    """Return US dollars for a terminal, rounded to four decimal places, or that there is no price."""
    if usd is None:
        return "no price"
    if usd and abs(usd) < Decimal("0.00005"):
        return "<0.0001" if usd > 0 else ">-0.0001"
    return f"{usd:+,.4f}" if signed else f"{usd:,.4f}"


def change_cells(change: Decimal | None, before: Decimal | None) -> tuple[str, str]:
    """Return a change in US dollars and in percent, each empty if it is unknown."""
    percent = f"{EXACT.divide(EXACT.multiply(change, _HUNDRED), before):+.1f}" if change is not None and before else ""
    return "" if change is None else dollars(change, signed=True), percent
