"""What settings make of the catalogue, and what every call is billed for."""

from __future__ import annotations

from typing import NamedTuple

from .errors import Problem
from .prices.catalog import PriceCatalog
from .prices.sheet import PriceSheet
from .session_rates import SessionItem, session_items
from .settings import Settings, load_price_sheets, session_sheet

__all__ = ["Configured", "configured"]


class Configured(NamedTuple):
    """Prices as configured.

    Attributes:
        catalog: All rates.
        items: What every call is billed for.
        problems: Every mistake in prices of arguments, variables and files; what is sound holds.
    """

    catalog: PriceCatalog
    items: tuple[SessionItem, ...]
    problems: list[Problem]


def configured(settings: Settings, catalog: PriceCatalog | None = None) -> Configured:
    """Return the catalogue with the overrides of the settings. Prices in variables win over those in files.

    Args:
        settings: Options.
        catalog: A catalogue that takes session rates alone; the default one takes all of the settings' prices.
    """
    sheets = [session_sheet(settings)]
    if catalog is None:
        catalog = PriceCatalog.default()
        sheets += load_price_sheets(settings)
    for sheet in reversed(sheets):
        if sheet != PriceSheet():
            catalog = catalog.with_sheet(sheet)
    items = session_items(rate for sheet in sheets for rate in sheet.rates)
    return Configured(catalog, items, [problem for sheet in sheets for problem in sheet.problems])
