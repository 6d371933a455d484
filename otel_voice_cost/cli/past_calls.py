"""Shared parts of the commands on past calls: their files, and output as CSV and Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..build import sources
from ..cost import to_text
from ..errors import Problem
from .app import fail, print_errors

if TYPE_CHECKING:
    from ..analysis.reading import PastCalls

__all__ = ["Calls", "Csv", "Parquet", "dollars", "exact", "print_csv", "printable", "read", "shown", "write_parquet"]

_SHOWN_PROBLEMS = 10

Calls = Annotated[list[Path], typer.Argument(help="Files of records, or of OTLP JSON from the Collector.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Parquet = Annotated[Path | None, typer.Option(help="Write the rows of the CSV to a Parquet file.")]


def read(paths: list[Path]) -> PastCalls:
    """Return the calls in files; print the lines that are skipped; exit if a file cannot be read or none has a call."""
    try:
        from ..analysis.reading import ReadError, read_calls  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        if error.name not in ("ibis", "duckdb"):
            raise
        fail([f"This command needs {error.name}: pip install 'otel-voice-cost[analysis]'"])
    try:
        past = read_calls(paths, sources())
    except ReadError as error:
        fail(error.problems)
    print_errors(past.problems[:_SHOWN_PROBLEMS])
    if past.skipped > _SHOWN_PROBLEMS:
        print_errors([f"... and {past.skipped - _SHOWN_PROBLEMS} more"])
    if past.skipped:
        print_errors([f"Skipped: {past.skipped}. Everything else is counted."])
    if past.call_count == 0:
        fail(["No calls in these files."])
    return past


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
