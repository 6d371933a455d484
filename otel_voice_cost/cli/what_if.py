"""``what-if``: past calls with other models, several stacks side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..analysis.stacks import Stack, Swap, check_stacks
from ..cost import EXACT
from ..errors import Problem
from ..prices.names import split_name
from ..sources.livekit.providers import canonical_model, canonical_provider
from .app import Json, app, fail, moment, output, print_json, table
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
    progress,
    read,
    shown,
    write_parquet,
)

if TYPE_CHECKING:
    from ..analysis.what_if import Comparison, StackCost, SwappedModel

_AMOUNTS = ("before_usd", "after_usd", "difference_usd", "gained_usd", "lost_usd")
_COUNTS = ("unpriced_before", "unpriced_after")
_MODEL = ("component", "provider", "model")
_NEW = ("new_provider", "new_model")
_COLUMNS = {
    "stack": str,
    **dict.fromkeys((*_MODEL, *_NEW), str),
    **dict.fromkeys(_AMOUNTS, Decimal),
    **dict.fromkeys(_COUNTS, int),
    "approximate": str,
    "unpriced": str,
}
_ONE_STACK = "swaps"  # name of the stack that --swap makes
_NAMED = re.compile(r"\s*([^:=/]+?)\s*:\s*(.*)", re.DOTALL)
_EXPECTED = "PROVIDER/MODEL=PROVIDER/MODEL, such as cartesia/sonic-3=elevenlabs/eleven_flash_v2_5"
_MODEL_WIDTH, _STACK_WIDTH = 24, 12  # columns of a terminal


@app.command(name="what-if")
def what_if(
    calls: Files = None,
    swap: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW, each PROVIDER/MODEL; OLD may have wildcards. Repeat it.")
    ] = None,
    stack: Annotated[
        list[str] | None, typer.Option(help="'NAME: OLD=NEW, OLD=NEW', to compare several. Repeat it.")
    ] = None,
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
    """Show what past calls would have cost with other models: by model, in total and per minute, for several stacks.

    Models that are not swapped keep their recorded cost.

    Example: voice-cost what-if calls-*.jsonl --swap cartesia/sonic-3=elevenlabs/eleven_flash_v2_5

    Example: voice-cost what-if calls-*.jsonl --stack "voice: cartesia/sonic-3=rime/arcana"
    --stack "both: cartesia/sonic-3=rime/arcana, openai/gpt-4.1=openai/gpt-4.1-mini"
    """
    stacks = _read_stacks(swap or [], stack or [])
    chosen = catalog_with(prices)
    if problems := check_stacks(stacks, chosen, moment(on)):
        fail(problems)
    past = read(calls, connect, table_name, since, until)
    from ..analysis.what_if import SwapError, compare_stacks  # noqa: PLC0415  # an extra

    try:
        comparison = compare_stacks(past, stacks, chosen, moment(on) if on else None, progress("Swaps"))
    except SwapError as error:
        fail(error.problems)
    rows = [_row(made, model) for made in comparison.stacks for model in made.models]
    if parquet:
        write_parquet(parquet, _COLUMNS, rows)
    if as_json:
        print_json(_fields(comparison, past.skipped))
    elif as_csv:
        print_csv(_COLUMNS, rows)
    else:
        _print(comparison)
    if any(made.after_usd is None for made in comparison.stacks):
        raise typer.Exit(1)


def _read_stacks(swaps: Sequence[str], texts: Sequence[str]) -> list[Stack]:
    """Return the stacks of the options; exit if there are none, or one cannot be read."""
    given = [(_ONE_STACK, "--swap", swaps)] if swaps else []
    for number, text in enumerate(texts, start=1):
        named = _NAMED.fullmatch(text)
        name, rest = named.groups() if named else (f"stack {number}", text)
        given.append((name, f"--stack {name}", re.sub(r"\s*=\s*", "=", rest).replace(",", " ").split()))
    if not given:
        fail([Problem("--swap, --stack", "nothing", _EXPECTED)])
    problems = [
        Problem(place, text or "nothing", _EXPECTED)
        for _, place, each in given
        for text in (each or [""])
        if _read_swap(text) is None
    ]
    if problems:
        fail(problems)
    return [
        Stack(name=name, place=place, swaps=tuple(swap for text in each if (swap := _read_swap(text)) is not None))
        for name, place, each in given
    ]


def _read_swap(text: str) -> Swap | None:
    """Return ``OLD=NEW`` with the catalog's ids, or None if it is something else."""
    names = [name.strip() for name in text.split("=")]
    parts = [split_name(name) for name in names]
    if len(parts) != 2 or not all(provider and model for provider, model in parts):
        return None
    old, new = (f"{canonical_provider(provider)}/{canonical_model(model)}" for provider, model in parts)
    return Swap(old, new)


def _row(stack: StackCost, swapped: SwappedModel) -> list[object]:
    fields = _model_fields(swapped)
    return [stack.name, *fields.values(), *_texts(swapped)]


def _model_fields(swapped: SwappedModel) -> dict[str, Any]:
    change = swapped.change
    new = split_name(swapped.new) if swapped.new else (None, None)
    return {
        **{name: getattr(change, name) for name in _MODEL},
        **dict(zip(_NEW, new, strict=True)),
        **{name: getattr(change, name) for name in (*_AMOUNTS, *_COUNTS)},
    }


def _texts(swapped: SwappedModel) -> list[str]:
    return ["; ".join(sorted(swapped.change.approximations)), "; ".join(sorted(swapped.change.reasons))]


def _fields(comparison: Comparison, skipped: int) -> dict[str, Any]:
    return {
        "before_usd": exact(comparison.before_usd),
        "usd_per_minute": exact(comparison.usd_per_minute),
        "seconds": exact(comparison.seconds),
        "skipped": skipped,
        "stacks": [
            {
                "name": stack.name,
                "before_usd": exact(comparison.before_usd),
                "after_usd": exact(stack.after_usd),
                "change_usd": exact(_change(comparison, stack)),
                "usd_per_minute": exact(stack.usd_per_minute),
                "models": [
                    {
                        **{
                            name: exact(value) if isinstance(value, Decimal) else value
                            for name, value in _model_fields(swapped).items()
                        },
                        "approximate": sorted(swapped.change.approximations),
                        "unpriced": sorted(swapped.change.reasons),
                    }
                    for swapped in stack.models
                ],
            }
            for stack in comparison.stacks
        ],
    }


def _change(comparison: Comparison, stack: StackCost) -> Decimal | None:
    return None if stack.after_usd is None else EXACT.subtract(stack.after_usd, comparison.before_usd)


def _print(comparison: Comparison) -> None:
    console = output()
    if len(comparison.stacks) == 1:
        _print_stack(console, comparison, comparison.stacks[0])
    else:
        _print_side_by_side(console, comparison)
    for text in _notes(comparison):
        console.print(printable(text), markup=False)


def _print_stack(console: Console, comparison: Comparison, stack: StackCost) -> None:
    made = table("model", "before", "after", "change", "%")
    for column in made.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for swapped in stack.models:
        change = swapped.change
        usd = None if swapped.is_refused else change.change_usd
        cells = dollars(change.before_usd), _after(swapped), *change_cells(usd, change.before_usd)
        made.add_row(_name(swapped) + (f"\n→ {shown(swapped.new)}" if swapped.new else ""), *cells)
    made.add_section()
    before = comparison.before_usd
    made.add_row("all", dollars(before), dollars(stack.after_usd), *change_cells(_change(comparison, stack), before))
    if comparison.usd_per_minute is not None:
        after, before = stack.usd_per_minute, comparison.usd_per_minute
        change_usd = None if after is None else EXACT.subtract(after, before)
        made.add_row("per minute", dollars(before), dollars(after), *change_cells(change_usd, before))
    console.print(made)


def _name(swapped: SwappedModel) -> str:
    return shown(f"{swapped.change.component} {swapped.change.provider}/{swapped.change.model}")


def _print_side_by_side(console: Console, comparison: Comparison) -> None:
    count = max((console.width - _MODEL_WIDTH) // _STACK_WIDTH - 1, 1)
    stacks = iter(comparison.stacks)
    while some := list(islice(stacks, count)):
        _print_stacks(console, comparison, some)


def _print_stacks(console: Console, comparison: Comparison, stacks: Sequence[StackCost]) -> None:
    made = table("model", "recorded", *(shown(stack.name) for stack in stacks))
    for column in made.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    for models in zip(*(stack.models for stack in stacks), strict=True):
        made.add_row(_name(models[0]), dollars(models[0].change.before_usd), *map(_after, models))
    made.add_section()
    made.add_row("all", dollars(comparison.before_usd), *(dollars(stack.after_usd) for stack in stacks))
    changes = [change_cells(_change(comparison, stack), comparison.before_usd) for stack in stacks]
    made.add_row("change", "", *(usd for usd, _ in changes))
    made.add_row("change, %", "", *(percent for _, percent in changes))
    if comparison.usd_per_minute is not None:
        costs = (dollars(stack.usd_per_minute) for stack in stacks)
        made.add_row("per minute", dollars(comparison.usd_per_minute), *costs)
    console.print(made)


def _after(swapped: SwappedModel) -> str:
    if swapped.new is None:
        return dollars(swapped.change.after_usd)
    return dollars(swapped.change.after_usd) + (" ~" if swapped.change.approximations else "")


def _notes(comparison: Comparison) -> list[str]:
    notes = ["US dollars."]
    for stack in comparison.stacks:
        swaps = [(model.change, model.new) for model in stack.models if model.new]
        if len(comparison.stacks) > 1:
            notes += [f"{stack.name}: {change.provider}/{change.model} → {new}" for change, new in swaps]
        gained, lost = stack.total("gained_usd"), stack.total("lost_usd")
        if gained:
            notes.append(f"{stack.name}: {dollars(gained)} is for usage that was recorded without a price.")
        if lost:
            notes.append(f"{stack.name}: usage with a recorded cost of {dollars(lost)} has no price.")
    changes = [model.change for stack in comparison.stacks for model in stack.models if model.new]
    notes += [f"No price: {reason}." for reason in sorted({text for change in changes for text in change.reasons})]
    return notes + [f"~ {text}." for text in sorted({text for change in changes for text in change.approximations})]
