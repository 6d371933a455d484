"""``gaps``: list models that are priced, estimated, free or unpriced, by plugin class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Annotated

import typer

from ..prices.calculate import calculate_cost
from ..prices.catalog import PriceCatalog
from ..sources.livekit.plugins import PluginClass, load_plugin_classes
from ..sources.livekit.providers import canonical_model, canonical_provider
from ..usage import Usage, with_text
from .app import Json, On, app, catalog, moment, output, print_json, table

__all__ = ["Gap", "find_gaps"]

_ONE = Decimal(1)
_PASSES_ON = "passes on what it wraps"
_SILENT = "LiveKit reports no usage"
_NO_MODEL = "the model is yours to name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The price of one model of one plugin class, or the reason why it has none.

    Attributes:
        plugin_class: The class.
        model: A model as it reports it; empty for adapters and if the user names it.
        status: ``priced``, ``estimated``, ``free``, ``unpriced`` or ``adapter``.
        reason: Source of the price, or reason for a missing one.
    """

    plugin_class: PluginClass
    model: str
    status: str
    reason: str


def find_gaps(prices: PriceCatalog, at: datetime) -> list[Gap]:
    """Price one of each unit that each class reports, model by model."""
    return [
        _gap(prices, plugin_class, model, at)
        for plugin_class in load_plugin_classes()
        for model in plugin_class.models or ("",)
    ]


def _gap(prices: PriceCatalog, plugin_class: PluginClass, model: str, at: datetime) -> Gap:
    def gap(status: str, reason: str) -> Gap:
        return Gap(plugin_class=plugin_class, model=model, status=status, reason=reason)

    if plugin_class.is_adapter:
        return gap("adapter", _PASSES_ON)
    if not model:
        return gap("unpriced", _NO_MODEL)
    if not plugin_class.units:
        return gap("unpriced", _SILENT)
    usage = Usage(
        component=plugin_class.component,
        provider=canonical_provider(plugin_class.provider, plugin_class.label),
        model=canonical_model(model),
        quantities=dict.fromkeys(plugin_class.units, _ONE),
        at=at,
        mode=plugin_class.mode,
    )
    cost = calculate_cost(with_text(usage, "a"), prices.card_for(usage))
    if cost.usd is None:
        ended = [c.rate.until for c in prices.explain(usage) if c.verdict == "another day" and c.rate.until]
        return gap("unpriced", f"its price ended on {max(ended)}" if ended else cost.unpriced_reason or "")
    origin = ", ".join(dict.fromkeys(line.rate.loaded_from for line in cost.lines))
    if cost.estimated:
        low = any(line.rate.confidence == "low" for line in cost.lines)
        return gap("estimated", f"{origin}, {'low confidence' if low else 'by a stand-in unit'}")
    return gap("free" if cost.usd == 0 else "priced", origin)


@app.command()
def gaps(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the documentation page.")] = False,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Show how the models of LiveKit's plugin classes are priced, with your overrides.

    Example: voice-cost gaps
    """
    found = find_gaps(catalog(), moment(on))
    rows = [
        (
            gap.plugin_class.plugin,
            gap.plugin_class.name,
            gap.plugin_class.component.value,
            gap.model,
            gap.status,
            gap.reason,
        )
        for gap in found
    ]
    headings = ("plugin", "class", "component", "model", "status", "why")
    counts = Counter(gap.status for gap in found)
    summary = ", ".join(
        f"{counts[status]} {status}" for status in ("priced", "estimated", "free", "unpriced", "adapter")
    )
    if as_json:
        print_json([dict(zip(headings, row, strict=True)) for row in rows])
    elif markdown:
        typer.echo(_page(headings, rows, summary))
    else:
        made = table(*headings)
        for row in rows:
            made.add_row(*row)
        output().print(made)
        typer.echo(f"{len(load_plugin_classes())} classes, {len(found)} models: {summary}.")


def _page(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], summary: str) -> str:
    lines = [
        "# What is priced",
        "",
        f"{len(load_plugin_classes())} classes of LiveKit 1.8.9, {len(rows)} models: {summary}.",
        f"Made by `make gaps` with genai-prices {version('genai-prices')}.",
        "With your own overrides: `voice-cost gaps`.",
        "",
        f"- *{_SILENT}*: the plugin sends no metrics in a session, so there is nothing to price.",
        "- *estimated*: the price is of low confidence, or the unit really billed was not reported.",
        "- *no rate*: the vendor publishes no unit price, or only credits; [write your own](prices.md).",
        "",
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)
