"""The commands. Results go to standard output, problems to standard error with exit status 1."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..cost import Cost, cost_of
from ..dialects import dialect_problems
from ..dialects.voice_cost import to_text
from ..errors import Problem, VoiceCostError
from ..livekit.identity import canonical_model, canonical_provider
from ..prices import PriceCatalog, Rate
from ..prices.loading import read_rates
from ..processor import configured_catalog
from ..settings import Settings
from ..usage import Component, Mode, Unit, Usage

__all__ = ["app"]

app = typer.Typer(
    help="Ask the price catalogue that puts costs on the spans of LiveKit Agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_errors = Console(stderr=True, soft_wrap=True, highlight=False)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_On = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of the usage; today if left out.")]


def _output() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=200, highlight=False)


def _fail(problems: Iterable[object]) -> NoReturn:
    for problem in problems:
        _errors.print(str(problem), markup=False)
    raise typer.Exit(1)


def _catalog() -> PriceCatalog:
    """The catalogue as the processor would build it; mistakes in variables and files end the command."""
    settings, problems = Settings.from_environment()
    catalog, more = configured_catalog(settings)
    if problems or more:
        _fail([*problems, *more])
    return catalog


def _moment(on: datetime | None) -> datetime:
    return on.replace(hour=12, tzinfo=timezone.utc) if on else datetime.now(timezone.utc)


def _rate_fields(rate: Rate) -> dict[str, Any]:
    return {
        "provider": rate.provider,
        "model": list(rate.model),
        "component": rate.component.value,
        "unit": rate.unit.value,
        "usd": to_text(rate.usd),
        "per": rate.per,
        "mode": rate.mode.value if rate.mode else None,
        "since": str(rate.since) if rate.since else None,
        "until": str(rate.until) if rate.until else None,
        "estimated": rate.estimated,
        "origin": rate.origin,
        "source": rate.source,
        "checked": str(rate.checked) if rate.checked else None,
    }


@app.command()
def prices(
    provider: Annotated[str | None, typer.Argument(help="As LiveKit reports it, or the catalogue's id.")] = None,
    model: Annotated[str | None, typer.Option(help="Part of a model id.")] = None,
    on: _On = None,
    as_json: _Json = False,
) -> None:
    """List the rates of price files and variables that hold on a day.

    Example: voice-cost prices deepgram --model nova --on 2026-11-23
    """
    day = _moment(on).date()
    wanted = canonical_provider(provider) if provider else None
    rates = [
        rate
        for rate in _catalog().rates()
        if (wanted is None or rate.provider == wanted)
        and (model is None or any(model.lower() in name for name in rate.model))
        and rate.holds_on(day)
    ]
    if not rates:
        _fail(["No rates. Token prices of language models are looked up with `voice-cost price`."])
    if as_json:
        typer.echo(json.dumps([_rate_fields(rate) for rate in rates], indent=2))
        return
    table = Table(box=box.SIMPLE)
    for heading in ("provider", "model", "component", "rate", "mode", "checked", "source"):
        table.add_column(heading, overflow="fold")
    for rate in rates:
        table.add_row(
            rate.provider,
            ", ".join(rate.model),
            rate.component.value,
            f"{rate}{', estimate' if rate.estimated else ''}",
            rate.mode.value if rate.mode else "",
            str(rate.checked or ""),
            rate.source,
        )
    _output().print(table)


@app.command()
def price(
    provider: Annotated[str, typer.Option(help="As LiveKit reports it, or the catalogue's id.")],
    model: Annotated[str, typer.Option(help="As LiveKit reports it.")],
    stt_seconds: Annotated[str | None, typer.Option(help="Seconds of audio heard.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Speech-to-text that does not stream.")] = False,
    tts_characters: Annotated[int | None, typer.Option(min=1, help="Characters spoken.")] = None,
    input_tokens: Annotated[int | None, typer.Option(min=1, help="Input tokens, not cached.")] = None,
    cached_tokens: Annotated[int | None, typer.Option(min=1, help="Input tokens read from the cache.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Output tokens.")] = None,
    on: _On = None,
    as_json: _Json = False,
) -> None:
    """Price one usage and explain every step.

    Example: voice-cost price --provider deepgram --model nova-3 --stt-seconds 62
    """
    tokens = {
        Unit.INPUT_TOKEN: input_tokens,
        Unit.CACHED_INPUT_TOKEN: cached_tokens,
        Unit.OUTPUT_TOKEN: output_tokens,
    }
    kinds: dict[Component, dict[Unit, Any]] = {
        Component.STT: {Unit.AUDIO_SECOND: stt_seconds},
        Component.TTS: {Unit.CHARACTER: tts_characters},
        Component.LLM: tokens,
    }
    given = {kind: {u: n for u, n in amounts.items() if n is not None} for kind, amounts in kinds.items()}
    chosen = [kind for kind, amounts in given.items() if amounts]
    if len(chosen) != 1:
        _fail(["usage: got amounts of none or several kinds, expected --stt-seconds, --tts-characters or --*-tokens"])
    try:
        usage = Usage(
            component=chosen[0],
            provider=canonical_provider(provider),
            model=canonical_model(model),
            quantities={unit: Decimal(str(amount)) for unit, amount in given[chosen[0]].items()},
            at=_moment(on),
            mode=(Mode.BATCH if batch else Mode.STREAMING) if chosen[0] is Component.STT else None,
        )
    except (ArithmeticError, VoiceCostError) as error:
        _fail([f"--stt-seconds: got {stt_seconds}, expected seconds above zero ({type(error).__name__})"])
    cost = cost_of(usage, _catalog().card_for(usage))
    if as_json:
        typer.echo(json.dumps(_cost_fields(cost), indent=2))
    else:
        _explain(cost)
    if cost.usd is None:
        raise typer.Exit(1)


def _cost_fields(cost: Cost) -> dict[str, Any]:
    return {
        "usd": None if cost.usd is None else to_text(cost.usd),
        "unpriced": cost.unpriced,
        "estimated": cost.estimated,
        "lines": [
            {
                "unit": line.unit.value,
                "amount": str(line.amount),
                "usd": to_text(line.usd),
                "rate": _rate_fields(line.rate),
            }
            for line in cost.lines
        ],
    }


def _explain(cost: Cost) -> None:
    usage = cost.usage
    console = _output()
    console.print(f"{usage.component.value}, {usage.provider}/{usage.model}, on {usage.at.date()}", markup=False)
    for line in cost.lines:
        used = usage.quantities[line.unit]
        billed = f", billed as {line.amount}" if line.amount != used else ""
        rate = line.rate
        console.print(f"  {used} {line.unit.value}{billed} at {rate}: {to_text(line.usd)} USD", markup=False)
        facts = [rate.origin, rate.source]
        facts += [f"read {rate.checked}"] if rate.checked else []
        facts += [f"from {rate.since}"] if rate.since else []
        facts += [f"until {rate.until}"] if rate.until else []
        origin = ", ".join(dict.fromkeys(filter(None, facts)))
        console.print(f"    {'estimate, ' if rate.estimated else ''}{origin}", markup=False, soft_wrap=True)
    console.print("no cost: " + str(cost.unpriced) if cost.usd is None else f"  {to_text(cost.usd)} USD", markup=False)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Price files, beside those of the environment.")] = None,
) -> None:
    """Check price files and VOICE_COST_* variables; the exit status is 1 where something is wrong.

    Example: voice-cost check prices.toml
    """
    settings, found = Settings.from_environment()
    problems: list[Problem] = list(found)
    _, more = configured_catalog(settings)
    problems += more
    problems += dialect_problems(settings.dialects)
    count = 0
    for path in files or []:
        rates, more = read_rates(path)
        count += len(rates)
        problems += more
    if problems:
        _fail(problems)
    typer.echo(f"No problems. {count} rates in {len(files or [])} files, and the environment.")
