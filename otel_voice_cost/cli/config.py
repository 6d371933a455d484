"""``config``: the options in force, and where each comes from."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, NamedTuple

import typer
from rich.markup import escape

from ..cost import to_text
from ..prices.problems import masked
from ..settings import Settings, load_price_sheets, session_sheet
from .app import Json, app, output, print_errors, print_json, table

_PREFIX = "VOICE_COST_"
_LONGEST = 200  # of a value in the table


class _Option(NamedTuple):
    variable: str
    value: str
    origin: str


@app.command()
def config(as_json: Json = False) -> None:
    """Show the options in force, and where each comes from.

    A variable with a mistake is named, and its option keeps the default, as in the processor; the exit status is 1.

    Example: VOICE_COST_DIALECTS=genai voice-cost config
    """
    settings, found = Settings.from_environment()
    options = [_option(settings, name) for name in Settings.model_fields]
    sheets = [session_sheet(settings), *load_price_sheets(settings)]
    problems = [*found, *(problem for sheet in sheets for problem in sheet.problems)]
    if as_json:
        listed = [{"variable": o.variable, "value": o.value, "from": o.origin} for o in options]
        print_json({"options": listed, "problems": [str(problem) for problem in problems]})
    else:
        made = table("variable", "value", "from")
        made.columns[0].no_wrap = made.columns[2].no_wrap = True
        for option in options:
            made.add_row(option.variable, escape(option.value), option.origin)
        output().print(made)
        print_errors(problems)
    if problems:
        raise typer.Exit(1)


def _option(settings: Settings, name: str) -> _Option:
    variable, value = _PREFIX + name.upper(), getattr(settings, name)
    is_set = variable in {known.upper() for known in os.environ}
    is_default = value == Settings.model_fields[name].default
    origin = "environment" if is_set and not is_default else "default, as set" if is_set else "default"
    return _Option(variable, _shown(value), origin)


def _shown(value: Any) -> str:
    """Return a value as it is written in a variable."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return to_text(value)
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return masked(text)[:_LONGEST]
