"""Shared parts of the commands: the application, its options, and output of results and problems."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..build import build_prices
from ..cost import EXACT, to_text
from ..prices.catalog import PriceCatalog
from ..prices.rates import BILLING_RULES, Rate
from ..settings import Settings

__all__ = [
    "Json",
    "On",
    "app",
    "catalog",
    "day",
    "fail",
    "moment",
    "output",
    "print_errors",
    "print_json",
    "rate_fields",
    "table",
]

app = typer.Typer(
    help="Query the price catalog that puts costs on the spans of LiveKit Agents and Pipecat.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_errors = Console(stderr=True, soft_wrap=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def day(text: str) -> datetime:
    """Return a day that an option names, such as 2026-11-26."""
    try:
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # `moment` puts it in UTC
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a day such as 2026-11-26") from None


On = Annotated[datetime | None, typer.Option(parser=day, metavar="YYYY-MM-DD", help="Day of the usage; default today.")]


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


def fail(problems: Iterable[object]) -> NoReturn:
    """Print problems to standard error and exit with status 1."""
    print_errors(problems)
    raise typer.Exit(1)


def print_errors(problems: Iterable[object]) -> None:
    """Print problems to standard error."""
    for problem in problems:
        _errors.print(str(problem), markup=False)


def catalog() -> PriceCatalog:
    """Return the catalog that the processor would build; exit if variables or files have mistakes."""
    settings, problems = Settings.from_environment()
    prices, _, more = build_prices(settings)
    if problems or more:
        fail([*problems, *more])
    return prices


def moment(on: datetime | None) -> datetime:
    """Return noon of a day, UTC, or now."""
    return on.replace(hour=12, tzinfo=timezone.utc) if on else datetime.now(timezone.utc)


def rate_fields(rate: Rate) -> dict[str, Any]:
    """Return a rate for JSON, with dollars as text, rounded to 18 places."""
    return {
        "provider": rate.provider,
        "model": list(rate.model),
        "component": rate.component.value,
        "unit": rate.unit.value,
        "usd": to_text(EXACT.create_decimal(f"{rate.usd:.18f}")),
        "per": rate.per,
        "native": f"{rate.native} at {rate.native.per_usd} per USD" if rate.native else None,
        "mode": rate.mode.value if rate.mode else None,
        "plan": rate.plan,
        "addon": rate.addon,
        "since": str(rate.since) if rate.since else None,
        "until": str(rate.until) if rate.until else None,
        **{rule: to_text(getattr(rate, rule)) for rule in BILLING_RULES},
        "estimated": rate.estimated,
        "loaded_from": rate.loaded_from,
        "source": rate.source,
        "checked": str(rate.checked) if rate.checked else None,
        "note": rate.note,
    }
