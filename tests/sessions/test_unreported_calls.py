"""Calls with LiveKit's plugins to vendors that meter: the record against the invoice."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, SessionCost, VoiceCostSpanProcessor
from otel_voice_cost.settings import Settings
from otel_voice_cost.usage import Component

from .harness import RELEASE

if RELEASE < (1, 8):
    pytest.skip("the vendors speak the protocols of 1.8.9's plugins", allow_module_level=True)
for plugin in ("anthropic", "assemblyai", "cartesia", "deepgram", "elevenlabs", "openai"):
    pytest.importorskip(f"livekit.plugins.{plugin}")

from ..vendors.calls import CALLS, Call  # noqa: E402
from ..vendors.meter import MeterEntry, meter_usd  # noqa: E402

PADDING = Decimal("0.015")  # Cartesia's plugin sends two characters more per synthesis than LiveKit counts
CLOSE = Decimal("0.03")  # with estimates, no call is further from the meter
PAGE = Path(__file__).parents[2] / "docs" / "unreported.md"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A call that was held, priced three ways.

    Attributes:
        call: The call.
        meter: Entries of all vendors.
        session_usd: Price of LiveKit's ``session.usage``.
        record: The processor's record of the session.
        spans: All spans that were exported.
        catalog: The prices of all three.
    """

    call: Call
    meter: Sequence[MeterEntry]
    session_usd: Decimal
    record: SessionCost
    spans: Sequence[ReadableSpan]
    catalog: PriceCatalog

    @property
    def meter_usd(self) -> Decimal:
        return meter_usd(self.meter, self.catalog)

    @property
    def usd_with_unreported(self) -> Decimal:
        return self.record.usd_with_unreported

    def usd_of(self, component: Component) -> tuple[Decimal, Decimal]:
        """Return US dollars of a component: on the meter, and in the record."""
        metered = meter_usd([entry for entry in self.meter if entry.component is component], self.catalog)
        return metered, self.record.by_component.get(component, Decimal(0))

    @property
    def incomplete(self) -> str:
        """Number of requests that were cut off or failed, as the vendors see it."""
        counts = []
        for component in (Component.LLM, Component.REALTIME, Component.TTS):
            reasons = [entry.reason for entry in self.meter if entry.component is component]
            incomplete = sum(reason != "complete" for reason in reasons)
            if incomplete:
                counts.append(f"{incomplete} of {len(reasons)} {component.value}")
        return ", ".join(counts)


def table(rows: Sequence[Row]) -> str:
    """Return the rows of a Markdown table: dollars on the meter, and the ratio of each account to it."""
    lines = []
    for row in rows:
        ratios = _ratios(row.meter_usd, [row.session_usd, row.record.usd, row.usd_with_unreported])
        lines.append(f"| {row.call.name} | {row.meter_usd:.4f} | {ratios} | {row.incomplete} |")
    sums = [
        sum((row.session_usd for row in rows), Decimal(0)),
        sum((row.record.usd for row in rows), Decimal(0)),
        sum((row.usd_with_unreported for row in rows), Decimal(0)),
    ]
    metered = sum((row.meter_usd for row in rows), Decimal(0))
    if rows:
        lines.append(f"| all {len(rows)} | {metered:.4f} | {_ratios(metered, sums)} | |")
    return "\n".join(lines)


def _ratios(metered: Decimal, amounts: Sequence[Decimal]) -> str:
    return " | ".join(f"{usd / metered:.3f}" for usd in amounts)


async def hold_and_price(call: Call, catalog: PriceCatalog, settings: Settings | None = None) -> Row:
    """Hold a call with a processor of its own."""
    records: list[SessionCost] = []
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        VoiceCostSpanProcessor(catalog=catalog, settings=settings, on_session_end=records.append)
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    held = await call.hold()
    provider.shutdown()
    [record] = records
    return Row(
        call=call,
        meter=held.meter,
        session_usd=meter_usd(held.session_usage, catalog),
        record=record,
        spans=exporter.get_finished_spans(),
        catalog=catalog,
    )


@pytest.fixture(scope="module")
def catalog() -> PriceCatalog:
    """The shipped prices: the plugins report the vendors' own models."""
    return PriceCatalog.default()


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """Every call that was held; with ``-s``, printed in the end."""
    rows: list[Row] = []
    yield rows
    order = [call.name for call in CALLS]
    sys.stdout.write(f"\n{table(sorted(rows, key=lambda row: order.index(row.call.name)))}\n")


def _calls(*, unreported: bool) -> list[object]:
    return [pytest.param(call, id=call.name) for call in CALLS if bool(call.unreported) is unreported]


@pytest.mark.parametrize("call", _calls(unreported=False))
async def test_the_record_is_the_meter_if_livekit_reports_everything(call, catalog, rows):
    row = await hold_and_price(call, catalog)
    rows.append(row)

    for component in {entry.component for entry in row.meter}:
        metered, recorded = row.usd_of(component)
        assert abs(metered - recorded) <= metered * PADDING, component
    assert row.session_usd <= row.meter_usd * (1 + PADDING)
    assert row.record.unreported_usd == 0


@pytest.mark.parametrize("call", _calls(unreported=True))
async def test_vendors_bill_more_than_livekit_reports(call, catalog, rows):
    """Requests that are cut off or fail, and a connection's time without speech, are billed and not reported."""
    row = await hold_and_price(call, catalog)
    rows.append(row)

    for component in {entry.component for entry in row.meter}:
        metered, recorded = row.usd_of(component)
        assert recorded <= metered * (1 + PADDING), component
        if component in call.unreported:
            assert recorded < metered * (1 - PADDING), component
    assert abs(row.usd_with_unreported - row.meter_usd) <= row.meter_usd * CLOSE
    assert row.record.unreported_usd > 0


def test_the_page_has_every_call():
    rows = re.findall(r"^\| (\w+) \| \d\.\d{4} \|", PAGE.read_text(), re.MULTILINE)

    assert rows == [call.name for call in CALLS]


def test_the_calls_together(rows):
    """Over all calls that this worker held."""
    if not any(row.call.unreported for row in rows):
        pytest.skip("no call with estimates was held")
    metered = sum((row.meter_usd for row in rows), Decimal(0))

    assert abs(sum((row.usd_with_unreported for row in rows), Decimal(0)) - metered) <= metered * PADDING
