"""``gaps``: list models that are priced, estimated, free or unpriced, by class of a framework."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Annotated

import typer

from ..prices.calculate import calculate_cost
from ..prices.catalog import PriceCatalog
from ..prices.rates import DOUBTS
from ..sources.framework import BilledClass, Framework
from ..sources.livekit.framework import LIVEKIT
from ..sources.pipecat.framework import PIPECAT
from ..usage import Unit, with_text
from .app import Json, On, app, catalog, moment, output, print_errors, print_json, suggest, table

__all__ = ["FRAMEWORKS", "Gap", "find_gaps"]

FRAMEWORKS = (LIVEKIT, PIPECAT)

_PASSES_ON = "passes on what it wraps"
_SILENT = "{} reports no usage"
_NO_MODEL = "the model is yours to name"
_WIDE = 120  # columns
_STATUSES = ("priced", "estimated", "free", "unpriced", "adapter")
_HEADINGS = ("framework", "module", "class", "component", "model", "status", "why")
_OPTIONS = tuple(framework.option for framework in FRAMEWORKS)
_Row = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The price of one model of one class, or the reason why it has none.

    Attributes:
        billed_class: The class.
        model: A model as it reports it; empty for adapters and if the user names it.
        status: ``priced``, ``estimated``, ``free``, ``unpriced`` or ``adapter``.
        reason: Source of the price, or reason for a missing one.
    """

    billed_class: BilledClass
    model: str
    status: str
    reason: str

    @property
    def row(self) -> _Row:
        """The columns of a table."""
        of = self.billed_class
        return of.module, of.name, of.component.value, self.model, self.status, self.reason


def find_gaps(
    framework: Framework, prices: PriceCatalog, at: datetime, classes: Iterable[BilledClass] | None = None
) -> list[Gap]:
    """Price one of each unit that classes of a framework report, model by model.

    Args:
        framework: The framework.
        prices: All rates.
        at: Time of the usage.
        classes: Some of its classes; all by default.
    """
    silent = _SILENT.format(framework.source.name)
    return [
        Gap(billed_class=billed_class, model=model, status=status, reason=reason)
        for billed_class in (framework.classes() if classes is None else classes)
        for model in billed_class.models or ("",)
        for status, reason in (_find_status(prices, billed_class, model, at, silent),)
    ]


def _find_status(prices: PriceCatalog, of: BilledClass, model: str, at: datetime, silent: str) -> tuple[str, str]:
    if of.is_adapter:
        return "adapter", _PASSES_ON
    if not model:
        return "unpriced", _NO_MODEL
    if not of.units:
        return "unpriced", silent
    usage = of.to_usage(model, at)
    card = prices.card_for(usage)
    cost = calculate_cost(with_text(usage, "a"), card)
    if cost.usd is None:
        ended = [c.rate.until for c in prices.explain(usage) if c.verdict == "another day" and c.rate.until]
        if of.is_self_hosted:
            return "unpriced", of.remark
        if card is not None and not _dimensions(card.rates) & _dimensions(of.units):
            return "unpriced", f"billed by {_list(card.rates)}, reported by {_list(of.units)}"
        return "unpriced", f"its price ended on {max(ended)}" if ended else cost.unpriced_reason or ""
    origin = ", ".join(dict.fromkeys(line.rate.loaded_from for line in cost.lines))
    if of.remark:
        origin = f"{origin}; {of.remark}"
    if cost.estimated:
        doubts = {DOUBTS[line.rate.confidence]: None for line in cost.lines if line.rate.confidence in DOUBTS}
        return "estimated", f"{origin}, {' and '.join(doubts) or 'by a stand-in unit'}"
    return "free" if cost.usd == 0 else "priced", origin


def _dimensions(units: Iterable[Unit]) -> set[str]:
    return {unit.dimension.value for unit in units}


def _list(units: Iterable[Unit]) -> str:
    return " and ".join(sorted(_dimensions(units)))


def _known_framework(name: str | None) -> str | None:
    return _known(name, _OPTIONS)


def _known_status(name: str | None) -> str | None:
    return _known(name, _STATUSES)


def _known(name: str | None, names: Sequence[str]) -> str | None:
    if name is not None and name not in names:
        raise typer.BadParameter(f"got {name!r}, expected one of {', '.join(names)}")
    return name


def _has_plugin(gap: Gap, plugin: str) -> bool:
    """Return True if one part of the class's module is the plugin's name."""
    module = gap.billed_class.module.lower()
    return plugin.lower() in (module, *re.split(r"[._]", module))


@app.command()
def gaps(
    framework: Annotated[
        str | None,
        typer.Option(callback=_known_framework, metavar="|".join(_OPTIONS), help="One framework; default all."),
    ] = None,
    plugin: Annotated[str | None, typer.Option(help="One plugin or service, such as deepgram; default all.")] = None,
    status: Annotated[
        str | None, typer.Option(callback=_known_status, metavar="|".join(_STATUSES), help="One status; default all.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the documentation page.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Show which models of LiveKit's plugins and Pipecat's services have a price, with your overrides.

    Example: voice-cost gaps --plugin deepgram

    Example: voice-cost gaps --framework pipecat --status unpriced
    """
    prices, at = catalog(), moment(on)
    chosen = [each for each in FRAMEWORKS if framework in (None, each.option)]
    found = {
        each.option: [
            gap
            for gap in find_gaps(each, prices, at)
            if (plugin is None or _has_plugin(gap, plugin)) and status in (None, gap.status)
        ]
        for each in chosen
    }
    if not any(found.values()):
        modules = [billed_class.module for each in chosen for billed_class in each.classes()]
        print_errors([f"No such models. {suggest(plugin, modules)}" if plugin else "No such models."])
    if as_json:
        print_json([dict(zip(_HEADINGS, (name, *gap.row), strict=True)) for name in found for gap in found[name]])
    elif markdown:
        typer.echo("\n".join(_page([(each, found[each.option]) for each in chosen])))
    else:
        for each in filter(lambda each: found[each.option], chosen):
            _print_tables(found[each.option])
            output().print(_summarize(each, found[each.option]), markup=False)


def _print_tables(gaps: Sequence[Gap]) -> None:
    """Print a table per component, with names of classes unbroken in a terminal of 80 columns."""
    longest = max(len(word) for gap in gaps for word in gap.billed_class.title.split())
    console = output()
    for component in dict.fromkeys(gap.billed_class.component for gap in gaps):
        made = table(component.value, "model", "price")
        made.columns[0].width = longest if console.width < _WIDE else None
        for gap in gaps:
            if gap.billed_class.component is component:
                made.add_row(gap.billed_class.title, gap.model, f"{gap.status}: {gap.reason}")
        console.print(made)


def _summarize(framework: Framework, gaps: Sequence[Gap]) -> str:
    counts = Counter(gap.status for gap in gaps)
    summary = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    name = f"{framework.source.name} {framework.newest}"
    classes = {(gap.billed_class.module, gap.billed_class.name) for gap in gaps}
    return f"{len(classes)} classes of {name}, {len(gaps)} models: {summary}."


def _page(found: Sequence[tuple[Framework, Sequence[Gap]]]) -> list[str]:
    return [
        "# What is priced",
        "",
        f"Made by `make gaps` with genai-prices {version('genai-prices')}.",
        "With your own overrides: `voice-cost gaps`.",
        "",
        "- *reports no usage*: the class reports none in a session, so there is nothing to price.",
        "- *estimated*: the price is uncertain or unsettled, or the unit really billed was not reported.",
        "- *no rate*: the vendor publishes no unit price, or only credits; [write your own](prices.md).",
        "- *billed by token, reported by text*: the vendor bills another unit than the class reports.",
        "- *unknown*: the model that is reported if you name none.",
        "- *runs on a machine of your own*: no vendor bills it; price it yourself, or as free.",
        *(line for framework, gaps in found for line in _chapter(framework, gaps)),
    ]


def _chapter(framework: Framework, gaps: Sequence[Gap]) -> list[str]:
    headings = _HEADINGS[1:]
    return [
        "",
        f"## {framework.source.name}",
        "",
        _summarize(framework, gaps),
        "",
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(gap.row)} |" for gap in gaps),
    ]
