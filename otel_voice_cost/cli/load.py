"""``load``: keep past calls in a database of DuckDB, which the other commands read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app, fail
from .past_calls import Connect, Files, Since, Table, Until, read


@app.command()
def load(
    into: Annotated[Path, typer.Option(help="The database, which is replaced.", show_default=False)],
    calls: Files = None,
    connect: Connect = None,
    table_name: Table = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Read past calls once and keep them in a database of DuckDB, in place of files for the other commands.

    Example: voice-cost load spans-*.json --into november.duckdb && voice-cost report november.duckdb
    """
    past = read(calls, connect, table_name, since, until)
    from ..analysis.reading import ReadError, save_calls  # noqa: PLC0415  # an extra

    try:
        save_calls(past, into)
    except ReadError as error:
        fail(error.problems)
    typer.echo(f"{into}: {past.call_count:,} calls")
