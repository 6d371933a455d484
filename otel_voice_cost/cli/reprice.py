"""``reprice``: the usage of past calls at other prices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cost import EXACT
from ..prices.files import read_sheet
from ..prices.price_sheet import PriceSheet
from .app import Json, app, catalog, fail, moment, output, parse_day, print_json, table
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
    from ..analysis.reprice import ModelChange, Repricing

_AMOUNTS = ("before_usd", "after_usd", "difference_usd", "gained_usd", "lost_usd")
_COUNTS = ("unpriced_before", "unpriced_after")
_MODEL = ("component", "provider", "model")
_COLUMNS = {
    **dict.fromkeys(_MODEL, str),
    **dict.fromkeys(_AMOUNTS, Decimal),
    **dict.fromkeys(_COUNTS, int),
    "approximate": str,
    "unpriced": str,
}
_HUNDRED = Decimal(100)


@app.command()
def reprice(
    calls: Files = None,
    prices: Annotated[Path | None, typer.Option(help="A price file that comes before all other prices.")] = None,
    on: Annotated[
        datetime | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Day of the prices; default the day of each usage."),
    ] = None,
    connect: Connect = None,
    table_name: Table = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
) -> None:
    """Price past calls again, with the rules of the processor: cost before, after, and the change of each model.

    Without options, it applies the prices that the processor would use now.

    Example: voice-cost reprice calls-*.jsonl --prices offer.toml --on 2027-01-01
    """
    sheet = PriceSheet() if prices is None else read_sheet(prices)
    if sheet.problems:
        fail(sheet.problems)
    past = read(calls, connect, table_name, since, until)
    from ..analysis.reprice import reprice_calls  # noqa: PLC0415  # an extra

    repricing = reprice_calls(past, catalog().with_sheet(sheet), moment(on) if on else None)
    rows = [_row(model) for model in repricing.models]
    if parquet:
        write_parquet(parquet, _COLUMNS, rows)
    if as_json:
        print_json(_fields(repricing, past.skipped))
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        _print(repricing)


def _row(model: ModelChange) -> list[object]:
    cells = [getattr(model, name) for name in (*_MODEL, *_AMOUNTS, *_COUNTS)]
    return [*cells, "; ".join(sorted(model.approximations)), "; ".join(sorted(model.reasons))]


def _fields(repricing: Repricing, skipped: int) -> dict[str, Any]:
    return {
        **{name: exact(repricing.total(name)) for name in _AMOUNTS},
        "skipped": skipped,
        "models": [
            {
                **{name: getattr(model, name) for name in _MODEL},
                **{name: exact(getattr(model, name)) for name in _AMOUNTS},
                **{name: getattr(model, name) for name in _COUNTS},
                "approximate": sorted(model.approximations),
                "unpriced": sorted(model.reasons),
            }
            for model in repricing.models
        ],
    }


def _print(repricing: Repricing) -> None:
    console = output()
    made = table("model", "before", "after", "change", "%")
    for column in made.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for model in repricing.models:
        mark = " ~" if model.approximations else ""
        name = shown(f"{model.component} {model.provider}/{model.model}")
        made.add_row(
            name,
            dollars(model.before_usd),
            dollars(model.after_usd) + mark,
            *_change(model.before_usd, model.change_usd),
        )
    before, after = repricing.total("before_usd"), repricing.total("after_usd")
    made.add_section()
    made.add_row("all", dollars(before), dollars(after), *_change(before, EXACT.subtract(after, before)))
    console.print(made)
    for text in _notes(repricing):
        console.print(printable(text), markup=False)


def _change(before: Decimal | None, change: Decimal) -> tuple[str, str]:
    percent = f"{EXACT.divide(EXACT.multiply(change, _HUNDRED), before):+.1f}" if before else ""
    return dollars(change, signed=True), percent


def _notes(repricing: Repricing) -> list[str]:
    gained, lost = repricing.total("gained_usd"), repricing.total("lost_usd")
    notes = ["US dollars."]
    if gained:
        notes.append(f"{dollars(gained)} of the change is usage that had no price before.")
    if lost:
        notes.append(f"{dollars(lost)} of the change is usage that has no price now.")
    reasons = sorted({reason for model in repricing.models for reason in model.reasons})
    notes += [f"No price: {reason}." for reason in reasons]
    approximations = sorted({reason for model in repricing.models for reason in model.approximations})
    return notes + [f"~ {reason}." for reason in approximations]
