"""``estimate``: the cost of a call of a given shape, for several stacks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import typer
from rich.table import Table

from ..cost import EXACT, Cost, exact_sum, to_text
from ..prices.calculate import calculate_cost
from ..prices.catalog import PriceCatalog
from ..prices.names import nearest_models
from ..sources.livekit.providers import canonical_model, canonical_provider
from ..usage import Component, Mode, Unit, Usage
from .app import Json, On, app, catalog, fail, moment, output, print_json, table

__all__ = ["Shape", "estimated_cost"]

_CHARACTERS_PER_SECOND = 15  # spoken English
_DAYS = 30  # of a month
_HEADING_WIDTH, _STACK_WIDTH = 16, 21  # columns of the terminal
_MICRODOLLAR = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The course of a call.

    The defaults of the options are those of LiveKit's cost calculator and, for realtime models,
    OpenAI's tokens: one per 100 ms of input audio and per 50 ms of output audio.

    Attributes:
        minutes: Length of the call.
        characters: Characters spoken by the agent, per minute.
        input_tokens: Input of the language model, per minute.
        output_tokens: Output of the language model, per minute.
        cached: Fraction of the input that is read from the cache, 0 to 1.
        turns: Turns per minute, for realtime models: each is billed the earlier audio as cached input.
        spoken: Fraction of the call in which the agent speaks, 0 to 1, for realtime models.
    """

    minutes: Decimal
    characters: int = 600
    input_tokens: int = 3_000
    output_tokens: int = 175
    cached: Decimal = Decimal(0)
    turns: int = 4
    spoken: Decimal = Decimal("0.5")

    def quantities(self, component: Component) -> dict[Unit, Decimal]:
        """Return the amounts of a whole call, in whole tokens and characters."""
        seconds = self.minutes * 60
        if component is Component.LLM:
            read = _whole(self.input_tokens * self.minutes * self.cached)
            amounts = {
                Unit.INPUT_TOKEN: _whole(self.input_tokens * self.minutes) - read,
                Unit.CACHED_INPUT_TOKEN: read,
                Unit.OUTPUT_TOKEN: _whole(self.output_tokens * self.minutes),
            }
        elif component is Component.TTS:
            characters = _whole(self.characters * self.minutes)
            amounts = {Unit.CHARACTER: characters, Unit.AUDIO_SECOND: characters / _CHARACTERS_PER_SECOND}
        elif component is Component.REALTIME:
            heard, spoken = _whole(seconds * 10 * (1 - self.spoken)), _whole(seconds * 20 * self.spoken)
            turns = self.turns * self.minutes
            amounts = {
                Unit.INPUT_AUDIO_TOKEN: heard,
                Unit.CACHED_INPUT_AUDIO_TOKEN: _whole((heard + spoken) * max(turns - 1, Decimal(0)) / 2),
                Unit.OUTPUT_AUDIO_TOKEN: spoken,
                Unit.SESSION_SECOND: seconds,
            }
        else:
            amounts = {Unit.AUDIO_SECOND if component is Component.STT else Unit.SESSION_SECOND: seconds}
        return {unit: amount for unit, amount in amounts.items() if amount > 0}


def _whole(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(1))


def estimated_cost(prices: PriceCatalog, shape: Shape, component: Component, name: str, at: datetime) -> Cost:
    """Price a component of a call of that shape.

    Args:
        prices: The catalog.
        shape: The call.
        component: The model's component.
        name: ``provider/model``.
        at: Time of the call.
    """
    provider, _, model = name.partition("/")
    usage = Usage(
        component=component,
        provider=canonical_provider(provider),
        model=canonical_model(model),
        quantities=shape.quantities(component),
        at=at,
        mode=Mode.STREAMING if component is Component.STT else None,
    )
    return calculate_cost(usage, prices.card_for(usage))


@app.command()
def estimate(
    stack: Annotated[
        list[str], typer.Option(help="Models of a stack: 'stt=deepgram/nova-3 llm=openai/gpt-4.1 tts=...'. Repeat it.")
    ],
    minutes: Annotated[float, typer.Option(min=0.01, help="Length of the call.")] = 5,
    calls_per_day: Annotated[int | None, typer.Option(min=1, help="Calls a day, for the cost of 30 days.")] = None,
    characters: Annotated[int, typer.Option(min=0, help="Characters the agent speaks, per minute.")] = 600,
    input_tokens: Annotated[int, typer.Option(min=0, help="Input of the language model, per minute.")] = 3_000,
    output_tokens: Annotated[int, typer.Option(min=0, help="Output of the language model, per minute.")] = 175,
    cached: Annotated[float, typer.Option(min=0, max=1, help="Fraction of the input that is cached.")] = 0,
    turns: Annotated[int, typer.Option(min=1, help="Turns per minute, for realtime models.")] = 4,
    spoken: Annotated[float, typer.Option(min=0, max=1, help="Agent's fraction of the call (realtime).")] = 0.5,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Estimate the cost of a call with other models, side by side: per minute, per call and in a month.

    The defaults are LiveKit's: 600 characters, 3,000 input and 175 output tokens a minute.

    Example: voice-cost estimate --stack "stt=deepgram/nova-3 llm=openai/gpt-4.1-mini tts=cartesia/sonic-3"

    Example: voice-cost estimate --stack "realtime=openai/gpt-realtime" --minutes 4 --calls-per-day 500
    """
    shape = Shape(
        minutes=Decimal(str(minutes)),
        characters=characters,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached=Decimal(str(cached)),
        turns=turns,
        spoken=Decimal(str(spoken)),
    )
    prices, at = catalog(), moment(on)
    stacks = [[(part, name, estimated_cost(prices, shape, part, name, at)) for part, name in _parts(s)] for s in stack]
    if as_json:
        print_json([_fields(parts, shape, calls_per_day) for parts in stacks])
    else:
        _print(stacks, shape, calls_per_day, prices)
    if any(cost.usd is None for parts in stacks for _, _, cost in parts):
        raise typer.Exit(1)


_Parts = list[tuple[Component, str, Cost]]


def _parts(stack: str) -> list[tuple[Component, str]]:
    parts = []
    for part in stack.replace(",", " ").split():
        component, _, name = part.partition("=")
        if component not in {c.value for c in Component} or "/" not in name:
            fail([f"--stack: got {part}, expected COMPONENT=PROVIDER/MODEL, such as stt=deepgram/nova-3"])
        parts.append((Component(component), name))
    if not parts:
        fail(["--stack: got nothing, expected COMPONENT=PROVIDER/MODEL, such as stt=deepgram/nova-3"])
    return parts


def _total(parts: _Parts) -> Decimal | None:
    costs = [cost.usd for _, _, cost in parts]
    return None if None in costs else exact_sum(usd for usd in costs if usd is not None)


def _per_minute(usd: Decimal, shape: Shape) -> Decimal:
    return EXACT.divide(usd, shape.minutes).quantize(_MICRODOLLAR)


def _fields(parts: _Parts, shape: Shape, calls_per_day: int | None) -> dict[str, object]:
    total = _total(parts)
    month = {} if calls_per_day is None else {"usd_per_month": total and to_text(_per_month(total, calls_per_day))}
    return {
        "minutes": str(shape.minutes),
        "usd": None if total is None else to_text(total),
        "usd_per_minute": None if total is None else to_text(_per_minute(total, shape)),
        **month,
        "components": [
            {
                "component": component.value,
                "model": name,
                "usd": None if cost.usd is None else to_text(cost.usd),
                "estimated": cost.estimated,
                "unpriced": cost.unpriced_reason,
                "quantities": {unit.value: str(amount) for unit, amount in cost.usage.quantities.items()},
            }
            for component, name, cost in parts
        ],
    }


def _per_month(usd: Decimal, calls_per_day: int) -> Decimal:
    return EXACT.multiply(usd, Decimal(calls_per_day * _DAYS))


def _print(stacks: list[_Parts], shape: Shape, calls_per_day: int | None, prices: PriceCatalog) -> None:
    """Print a column for each stack; those that are too many for the terminal come below."""
    console = output()
    at_once = max(1, (console.width - _HEADING_WIDTH) // _STACK_WIDTH)
    for first in range(0, len(stacks), at_once):
        console.print(_columns(stacks[first : first + at_once], first, shape, calls_per_day))
    notes = {name: note for parts in stacks for _, name, cost in parts if (note := _note(cost))}
    for name, note in notes.items():
        console.print(f"{note}." if name in note else f"{name}: {note}.", markup=False)
    names = prices.names() if notes else set()
    for name in notes.keys() - names:
        if found := nearest_models(name, names):
            console.print(f"Did you mean {' or '.join(found)} in place of {name}?", markup=False)


def _columns(stacks: list[_Parts], first: int, shape: Shape, calls_per_day: int | None) -> Table:
    made = table("", *(f"stack {first + number}" for number in range(1, len(stacks) + 1)))
    made.columns[0].no_wrap = True
    for component in dict.fromkeys(component for parts in stacks for component, _, _ in parts):
        made.add_row(component.value, *(_cell(parts, component, shape) for parts in stacks))
    made.add_section()
    totals = [_total(parts) for parts in stacks]
    made.add_row("a minute", *(_money(total and _per_minute(total, shape)) for total in totals))
    made.add_row(f"{to_text(shape.minutes)} minutes", *(_money(total) for total in totals))
    if calls_per_day is not None:
        made.add_row(f"{_DAYS} days", *(_money(total and _per_month(total, calls_per_day)) for total in totals))
    return made


def _cell(parts: _Parts, component: Component, shape: Shape) -> str:
    """Return the models of a component, each with its cost per minute."""
    lines = []
    for _, name, cost in (part for part in parts if part[0] is component):
        provider, _, model = name.partition("/")
        mark = " ~" if cost.estimated else ""
        lines.append(f"{provider}/\n{model}\n{_money(cost.usd and _per_minute(cost.usd, shape))}{mark}")
    return "\n".join(lines)


def _note(cost: Cost) -> str | None:
    return cost.unpriced_reason or ("~ its price is an estimate" if cost.estimated else None)


def _money(usd: Decimal | None) -> str:
    return "no price" if usd is None else f"${usd:,.4f}" if usd < 1 else f"${usd:,.2f}"
