"""Wiring: settings and arguments → the parts of a processor. The one place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from opentelemetry.metrics import MeterProvider

from ._diagnostics import Diagnostics
from .accounting import Accounting
from .accounting.budget import Budget, BudgetMonitor
from .accounting.session import SessionRegistry
from .accounting.session_charges import SessionCharge, charges_in
from .bill import SessionCost
from .errors import Problem
from .export.attributes import OwnAttributes
from .export.dialects import DialectChain, Options, resolve_dialects
from .export.metrics import Instruments
from .export.records import RecordWriter
from .export.usage_spans import UsageSpanEmitter
from .prices.catalog import PriceCatalog
from .prices.price_sheet import PriceSheet
from .settings import Settings, load_price_sheets, session_sheet
from .sources import Source
from .sources.livekit import LiveKitSource
from .sources.pipecat import PipecatSource

__all__ = ["Built", "Prices", "build", "build_prices", "sources"]


class Prices(NamedTuple):
    """Prices as configured.

    Attributes:
        catalog: All rates.
        charges: Billed to every session by time or number.
        problems: Every mistake in prices of arguments, variables and files; the sound ones hold.
    """

    catalog: PriceCatalog
    charges: tuple[SessionCharge, ...]
    problems: list[Problem]


class Built(NamedTuple):
    """The parts of an enabled processor.

    Attributes:
        accounting: Prices usage.
        instruments: OpenTelemetry metrics.
        records: Hands records over.
    """

    accounting: Accounting
    instruments: Instruments
    records: RecordWriter


def sources() -> tuple[Source, ...]:
    """Return every framework that is read."""
    return (LiveKitSource(), PipecatSource())


def build_prices(settings: Settings, catalog: PriceCatalog | None = None) -> Prices:
    """Return the catalog with the overrides of the settings. Prices in variables win over those in files.

    Args:
        settings: Options.
        catalog: A catalog that takes session rates alone; the default one takes all of the settings' prices.
    """
    sheets = [session_sheet(settings)]
    if catalog is None:
        catalog = PriceCatalog.default()
        sheets += load_price_sheets(settings)
    for sheet in reversed(sheets):
        if sheet != PriceSheet():
            catalog = catalog.with_sheet(sheet)
    charges = charges_in(rate for sheet in sheets if not sheet.is_list for rate in sheet.rates)
    return Prices(catalog, charges, [problem for sheet in sheets for problem in sheet.problems])


def build(
    settings: Settings,
    registry: SessionRegistry,
    diagnostics: Diagnostics,
    emitter: UsageSpanEmitter,
    *,
    catalog: PriceCatalog | None,
    meter_provider: MeterProvider | None,
    on_session_end: Callable[[SessionCost], object] | None,
    budget: Budget | None,
) -> tuple[Built, list[Problem]]:
    """Build the parts of an enabled processor, and return every mistake in its settings.

    Args:
        settings: Options.
        registry: The sessions of the process.
        diagnostics: Of the processor.
        emitter: Makes its usage spans.
        catalog: As for the processor, like all that follow.
        meter_provider: Receives the metrics.
        on_session_end: Called with each session that ends.
        budget: Limits on the cost of a session.
    """
    prices = build_prices(settings, catalog)
    names, problems = resolve_dialects(settings.dialects)
    as_tokens = settings.speech_usage == "tokens"
    options = Options(as_tokens, settings.langfuse_content, settings.revision)
    instruments = Instruments(diagnostics, meter_provider, settings.revision)
    records = RecordWriter(diagnostics, on_session_end, Path(settings.records_file) if settings.records_file else None)
    if budget is None and settings.session_budget_usd is not None:
        budget = Budget(usd_per_session=settings.session_budget_usd)
    accounting = Accounting(
        registry=registry,
        catalog=prices.catalog,
        dialects=DialectChain(names, options, OwnAttributes(options)),
        instruments=instruments,
        diagnostics=diagnostics,
        emitter=emitter,
        charges=prices.charges,
        budget=None if budget is None else BudgetMonitor(budget, diagnostics),
        unreported=settings.unreported,
        revision=settings.revision or None,
        on_record=partial(_hand_over, instruments, records),
    )
    return Built(accounting, instruments, records), [*prices.problems, *problems]


def _hand_over(instruments: Instruments, records: RecordWriter, record: SessionCost) -> None:
    instruments.add_session(record)
    records.put(record)
