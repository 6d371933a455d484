"""``reprice``: the usage of past calls at other prices."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..cost import EXACT
from .app import Json, app, moment, output, print_json, table
from .past_calls import (
    Connect,
    Csv,
    Files,
    Parquet,
    Prices,
    PricesOn,
    Since,
    Table,
    Until,
    catalog_with,
    change_cells,
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


@app.command()
def reprice(
    calls: Files = None,
    prices: Prices = None,
    on: PricesOn = None,
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
    chosen = catalog_with(prices)
    past = read(calls, connect, table_name, since, until)
    from ..analysis.reprice import reprice_calls  # noqa: PLC0415  # an extra

    repricing = reprice_calls(past, chosen, moment(on) if on else None)
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
            *change_cells(model.change_usd, model.before_usd),
        )
    before, after = repricing.total("before_usd"), repricing.total("after_usd")
    made.add_section()
    made.add_row("all", dollars(before), dollars(after), *change_cells(EXACT.subtract(after, before), before))
    console.print(made)
    for text in _notes(repricing):
        console.print(printable(text), markup=False)


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
