"""Shared parts of the commands: the application, its options, and output of results and problems."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..prices.catalog import PriceCatalog

__all__ = [
    "BAD_INPUT",
    "Json",
    "On",
    "app",
    "catalog",
    "fail",
    "moment",
    "output",
    "parse_day",
    "print_errors",
    "print_json",
    "suggest",
    "table",
]

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
BAD_INPUT = 2  # exit status; 1 is an answer: no price, or something is wrong
_MAX_NAMED = 12
_errors = Console(stderr=True, soft_wrap=True, highlight=False)


def parse_day(text: str) -> datetime:
    """Return a day that was given as an option, at midnight without time zone."""
    try:
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # `moment` adds the zone
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a day such as 2026-11-23") from None


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
On = Annotated[
    datetime | None, typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Day of the usage; default today.")
]


def output() -> Console:
    """Return standard output, as wide as the terminal, or 200 columns without one."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=200, highlight=False)


def table(*headings: str) -> Table:
    """Return an empty table."""
    made = Table(box=box.SIMPLE)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def fail(problems: Iterable[object], status: int = BAD_INPUT) -> NoReturn:
    """Print problems to standard error and exit."""
    print_errors(problems)
    raise typer.Exit(status)


def print_errors(problems: Iterable[object]) -> None:
    """Print problems to standard error."""
    for problem in problems:
        _errors.print(str(problem), markup=False)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names that are closest to a wrong one, or all if they are few."""
    names = sorted(set(known))
    close = get_close_matches(name, names)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names)}." if len(names) <= _MAX_NAMED else ""


def catalog() -> PriceCatalog:
    """Return the catalog that the processor would build; exit if variables or files have mistakes."""
    from ..build import build_prices  # noqa: PLC0415  # --help needs no prices
    from ..settings import Settings  # noqa: PLC0415

    settings, problems = Settings.from_environment()
    prices, _, more = build_prices(settings)
    if problems or more:
        fail([*problems, *more])
    return prices


def moment(on: datetime | None) -> datetime:
    """Return noon of a day, UTC, or now."""
    return on.replace(hour=12, tzinfo=timezone.utc) if on else datetime.now(timezone.utc)
