"""``prices`` and ``price``: list or update rates, and price one usage."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from ..cost import Cost, to_text
from ..prices.calculate import calculate_cost
from ..prices.catalog import Candidate, PriceCatalog
from ..prices.names import nearest_models
from ..prices.rates import Rate
from ..prices.texts import amount_text, rate_text
from ..sources.livekit.providers import canonical_model, canonical_provider
from ..usage import Component, Mode, Unit, Usage, with_text
from .app import Json, On, app, catalog, fail, moment, output, print_errors, print_json, suggest, table
from .completion import complete_model, complete_provider
from .rates import rate_fields, rate_when

_ESTIMATE = "\N{NO-BREAK SPACE}~"
_OF_CATALOG = "As the framework reports it, or the catalog's id."


class _ListByDefault(TyperGroup):
    """Runs ``list`` if no command is named: ``prices deepgram`` is ``prices list deepgram``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments, with ``list`` before those that begin with no command and do not ask for help."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["list", *args])


_prices = typer.Typer(cls=_ListByDefault)
app.add_typer(_prices, name="prices")


@_prices.callback()
def _describe() -> None:
    """List the rates of price files and variables, or update them.

    `list` may be left out; its options: voice-cost prices list --help

    Example: voice-cost prices deepgram --model nova --on 2026-11-23
    """


@_prices.command("list")
def list_prices(
    provider: Annotated[str | None, typer.Argument(autocompletion=complete_provider, help=_OF_CATALOG)] = None,
    model: Annotated[str | None, typer.Option(autocompletion=complete_model, help="Part of a model id.")] = None,
    on: On = None,
    as_json: Json = False,
) -> None:
    """List the rates of price files and variables that hold on a day; `list` may be left out.

    Example: voice-cost prices deepgram --model nova --on 2026-11-23
    """
    day = moment(on).date()
    wanted = canonical_provider(provider) if provider else None
    known = list(catalog().rates())
    rates = [
        rate
        for rate in known
        if (wanted is None or rate.provider == wanted)
        and (model is None or any(model.lower() in name for name in rate.model))
        and rate.holds_on(day)
    ]
    if not rates:
        providers = {rate.provider for rate in known}
        nearest = [suggest(wanted, providers)] if wanted is not None and wanted not in providers else []
        hint = "Token prices of language models are looked up with `voice-cost price`."
        fail([" ".join(filter(None, ("No rates.", *nearest, hint)))], status=1)
    if as_json:
        print_json([rate_fields(rate) for rate in rates])
        return
    for name in dict.fromkeys(rate.provider for rate in rates):
        _print_rates(name, [rate for rate in rates if rate.provider == name])


@_prices.command()
def update(
    source: Annotated[str, typer.Argument(help="A wheel of a newer release, or a price file: a path or a URL.")],
    file: Annotated[Path, typer.Option("--output", help="The file to write.")] = Path("list-prices.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Approve without a question.")] = False,
    as_json: Json = False,
) -> None:
    """Show how list prices differ in a newer release or file; write them to a file if you approve.

    VOICE_COST_PRICES_FILE puts the file to use: it then replaces the prices that ship with this package. It states
    where it came from, its checksum, and who approved it and when. A price file replaces the prices of the
    vendors in it, a wheel those of all vendors. With --json, nothing is written without --yes.

    Example: voice-cost prices update otel_voice_cost-0.2.0-py3-none-any.whl

    Example: voice-cost prices update https://prices.example.com/deepgram.toml --yes
    """
    from .price_update import update_prices  # noqa: PLC0415  # the list needs no archives and no network

    update_prices(source, file, yes=yes, as_json=as_json)


def _print_rates(provider: str, rates: Sequence[Rate]) -> None:
    """Print the rates of a provider, and below them their pages."""
    pages = {page: f"[{number}]" for number, page in enumerate(dict.fromkeys(map(_page, rates)), start=1)}
    rows = table(provider, "for", "price", "page")
    rows.columns[0].no_wrap = True
    for rate in rates:
        used_for = ", ".join(filter(None, (rate.component.value, rate_when(rate))))
        price = f"{rate_text(rate)}{_ESTIMATE if rate.estimated else ''}"
        rows.add_row("\n".join(rate.model), used_for, price, escape(pages[_page(rate)]))
    console = output()
    console.print(rows)
    for page, number in pages.items():
        console.print(f"{number} {page}", markup=False, soft_wrap=True)
    if any(rate.estimated for rate in rates):
        console.print("~ An estimate: the price is uncertain, or for a unit that stands in for the billed one.")


def _page(rate: Rate) -> str:
    return ", ".join(filter(None, (rate.source or rate.loaded_from, str(rate.checked or ""))))


@app.command()
def price(
    provider: Annotated[str, typer.Option(autocompletion=complete_provider, help=_OF_CATALOG)],
    model: Annotated[str, typer.Option(autocompletion=complete_model, help="As the framework reports it.")],
    stt_seconds: Annotated[str | None, typer.Option(help="Seconds of input audio.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Speech-to-text that does not stream.")] = False,
    tts_characters: Annotated[int | None, typer.Option(min=1, help="Characters spoken.")] = None,
    tts_text: Annotated[str | None, typer.Option(help="The spoken text, if the vendor counts it otherwise.")] = None,
    input_tokens: Annotated[int | None, typer.Option(min=1, help="Input tokens, not cached.")] = None,
    cached_tokens: Annotated[int | None, typer.Option(min=1, help="Input tokens read from the cache.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Output tokens.")] = None,
    component: Annotated[
        Component | None, typer.Option(metavar="COMPONENT", help="Component of --amount, such as tts.")
    ] = None,
    amount: Annotated[list[str] | None, typer.Option(help="UNIT=NUMBER, for all other units.")] = None,
    why: Annotated[bool, typer.Option("--why", help="Also show the rejected rates with reasons.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Price one usage and explain every step.

    Example: voice-cost price --provider deepgram --model nova-3 --stt-seconds 62

    Example: voice-cost price --provider openai --model gpt-realtime --component realtime --amount input_audio_token=600
    """
    given: list[tuple[Component, Unit, object, str]] = [
        (Component.STT, Unit.AUDIO_SECOND, stt_seconds, "--stt-seconds"),
        (Component.TTS, Unit.CHARACTER, len(tts_text) if tts_text else tts_characters, "--tts-characters"),
        (Component.LLM, Unit.INPUT_TOKEN, input_tokens, "--input-tokens"),
        (Component.LLM, Unit.CACHED_INPUT_TOKEN, cached_tokens, "--cached-tokens"),
        (Component.LLM, Unit.OUTPUT_TOKEN, output_tokens, "--output-tokens"),
    ]
    given += [(component or Component.LLM, *_named_amount(text), "--amount") for text in amount or []]
    chosen = {kind for kind, _, number, _ in given if number is not None}
    if len(chosen) != 1 or (amount and component is None):
        fail(["usage: got amounts of none or several kinds, expected --stt-seconds, --tts-*, --*-tokens or --amount"])
    kind = chosen.pop()
    usage = Usage(
        component=kind,
        provider=canonical_provider(provider),
        model=canonical_model(model),
        quantities={unit: _positive(number, option) for _, unit, number, option in given if number is not None},
        at=moment(on),
        mode=(Mode.BATCH if batch else Mode.STREAMING) if kind is Component.STT else None,
    )
    usage = with_text(usage, tts_text) if tts_text else usage
    prices_now = catalog()
    cost = calculate_cost(usage, prices_now.card_for(usage))
    candidates = prices_now.explain(usage) if why else []
    if as_json:
        print_json(_cost_fields(cost) | ({"considered": _considered_fields(candidates)} if why else {}))
    else:
        _explain(cost, candidates)
    if cost.usd is None:
        if found := _nearest(prices_now, usage):
            print_errors([f"Did you mean {' or '.join(found)}?"])
        raise typer.Exit(1)


def _nearest(prices: PriceCatalog, usage: Usage) -> list[str]:
    """Return the known models that a name may mean; empty if it is known."""
    name, names = f"{usage.provider}/{usage.model}", prices.names()
    return [] if name in names else nearest_models(name, names)


def _named_amount(text: str) -> tuple[Unit, str]:
    name, _, number = text.partition("=")
    try:
        return Unit(name), number
    except ValueError:
        fail([f"--amount: got {text}, expected UNIT=NUMBER with a unit of {', '.join(unit.value for unit in Unit)}"])


def _positive(number: object, option: str) -> Decimal:
    try:
        value = Decimal(str(number))
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        fail([f"{option}: got {number}, expected a number above zero"])
    return value


def _considered_fields(candidates: list[Candidate]) -> list[dict[str, Any]]:
    return [{"verdict": candidate.verdict, "rate": rate_fields(candidate.rate)} for candidate in candidates]


def _cost_fields(cost: Cost) -> dict[str, Any]:
    return {
        "usd": None if cost.usd is None else to_text(cost.usd),
        "list_usd": None if cost.list_usd is None else to_text(cost.list_usd),
        "markup_usd": None if cost.markup_usd is None else to_text(cost.markup_usd),
        "unpriced": cost.unpriced_reason,
        "estimated": cost.estimated,
        "lines": [
            {
                "unit": line.unit.value,
                "amount": str(line.amount),
                "usd": to_text(line.usd),
                "list_usd": to_text(line.list_usd),
                "rate": rate_fields(line.rate),
            }
            for line in cost.lines
        ],
    }


def _explain(cost: Cost, candidates: list[Candidate]) -> None:
    usage = cost.usage
    console = output()

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    line(f"{usage.component.value}, {usage.provider}/{usage.model}, on {usage.at.date()}")
    for part in cost.lines:
        used = usage.quantities[part.unit]
        billed = f", billed as {to_text(part.amount)}" if part.amount != used else ""
        rate = part.rate
        addon = f"add-on {rate.addon}: " if rate.addon else ""
        line(f"  {addon}{amount_text(used, part.unit)}{billed} at {rate_text(rate)}: {to_text(part.list_usd)} USD")
        line(f"    {'estimate, ' if rate.estimated else ''}{_origin(rate)}")
    if cost.usd is None:
        line(f"no cost: {cost.unpriced_reason}")
    elif cost.list_usd is not None and cost.list_usd != cost.usd:
        line(f"  {to_text(cost.usd)} USD after discount, {to_text(cost.list_usd)} USD at list prices")
    else:
        line(f"  {to_text(cost.usd)} USD")
    if cost.markup_usd is not None:
        line(f"  {to_text(cost.markup_usd)} USD markup on it")
    for candidate in candidates:
        if candidate.verdict not in ("holds", "add-on"):
            line(f"  not {', '.join(candidate.rate.model)} at {rate_text(candidate.rate)}: {candidate.verdict}")


def _origin(rate: Rate) -> str:
    facts = [rate.loaded_from, rate.source]
    facts += [f"read {rate.checked}"] if rate.checked else []
    facts += [f"from {rate.since}"] if rate.since else []
    facts += [f"until {rate.until}"] if rate.until else []
    facts += [f"plan {rate.plan}"] if rate.plan else []
    return ", ".join(dict.fromkeys(filter(None, facts)))
