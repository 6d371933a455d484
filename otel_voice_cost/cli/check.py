"""``check``: check price files and variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..cost import to_text
from ..export.dialects import resolve_dialects
from ..prices.files import read_sheet
from ..prices.price_sheet import PriceSheet
from ..prices.rates import BILLING_RULES
from ..prices.texts import rate_text
from ..settings import Settings, load_price_sheets, session_sheet
from .app import Json, app, fail, print_json
from .rates import rate_when


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Price files, in addition to those configured.")] = None,
    as_json: Json = False,
) -> None:
    """Check price files and variables, and say how they were understood.

    The exit status is 1 if something is wrong.

    Example: voice-cost check prices.toml
    """
    settings, found = Settings.from_environment()
    problems = [*found, *resolve_dialects(settings.dialects)[1]]
    sheets = {
        "VOICE_COST_SESSION_RATES": session_sheet(settings),
        **dict(zip(_places(settings), load_price_sheets(settings), strict=True)),
        **{str(path): read_sheet(path) for path in files or []},
    }
    problems += [problem for sheet in sheets.values() for problem in sheet.problems]
    understood = {place: lines for place, sheet in sheets.items() if (lines := list(_understood(sheet)))}
    count = sum(len(sheet.rates) for sheet in sheets.values())
    if as_json:
        fields = [{"place": p.place, "value": p.value, "expected": p.expected} for p in problems]
        print_json({"rates": count, "understood": understood, "problems": fields})
        raise typer.Exit(1 if problems else 0)
    for place, lines in understood.items():
        typer.echo(f"{place}:")
        for line in lines:
            typer.echo(f"  {line}")
    if problems:
        fail(problems, status=1)
    typer.echo(f"No problems. Rates: {count}.")


def _places(settings: Settings) -> list[str]:
    """Return the names of `load_price_sheets`' sheets."""
    return ["VOICE_COST_PRICES", *filter(None, settings.prices_file.split(os.pathsep))]


def _understood(sheet: PriceSheet) -> Iterator[str]:
    """Yield what a sheet says, a line for each entry."""
    for rate in sheet.rates:
        facts = [when] if (when := rate_when(rate)) else []
        facts += [f"{name} {to_text(value)}" for name in BILLING_RULES if (value := getattr(rate, name))]
        facts += [f"from {rate.since}"] if rate.since else []
        facts += [f"until {rate.until}"] if rate.until else []
        names = ", ".join(f"{rate.provider}/{model}" for model in rate.model)
        yield ", ".join([f"{names} {rate.component.value}: {rate_text(rate)}", *facts])
    overrides = sheet.overrides
    for kind, listed in (("discount", overrides.discounts), ("markup", overrides.markups)):
        for key, dated in listed.items():
            percent = ", ".join(f"{to_text(each.part * 100)} %" for each in dated)
            yield f"{kind} on {key}: {percent}"
    texts = (
        ("name", overrides.names),
        ("alias", overrides.aliases),
        ("plan", overrides.plans),
        ("currency", {code: f"{to_text(amount)} per USD" for code, amount in overrides.currencies.items()}),
        ("add-ons", {key: ", ".join(sorted(names)) for key, names in overrides.addons.items()}),
    )
    for kind, named in texts:
        yield from (f"{kind} {key}: {value}" for key, value in named.items())
    if sheet.rules:
        yield f"rules for unfinished work: {len(sheet.rules)}"
