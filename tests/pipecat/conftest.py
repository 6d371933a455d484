"""Fixtures: a provider that Pipecat uses, and the accounts of a conversation on it.

Nothing here imports Pipecat, which needs Python 3.11: the modules of tests skip without it, a conftest cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet

if TYPE_CHECKING:
    from .accounts import Accounts
    from .conversations import Conversation

_OWN_PRICES = """
source = "https://example.com/pricing"
checked = 2026-11-01

[[rate]]
provider = "echo"
model = "echo-1"
component = "llm"
unit = "input_token"
usd = 1
per = 1_000_000

[[rate]]
provider = "echo"
model = "echo-1"
component = "llm"
unit = "output_token"
usd = 2
per = 1_000_000
"""


@pytest.fixture(scope="session")
def prices() -> PriceCatalog:
    """The prices of this package, and those of a vendor that it does not know."""
    sheet = parse_sheet(_OWN_PRICES, "own.toml")
    assert not sheet.problems
    return PriceCatalog.default().with_sheet(sheet)


@pytest.fixture
def hold_and_price(
    prices: PriceCatalog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Conversation], Accounts]]:
    """Hold a conversation with a processor of its own, on the global provider, and close the provider."""
    from .accounts import Accounts, UnpricedSpans  # noqa: PLC0415

    def hold(conversation: Conversation) -> Accounts:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        sampler = {"sampler": conversation.sampler} if conversation.sampler is not None else {}
        provider = TracerProvider(shutdown_on_exit=False, **sampler)
        processor = VoiceCostSpanProcessor(catalog=prices, meter_provider=MeterProvider([reader]))
        unpriced = UnpricedSpans()
        provider.add_span_processor(unpriced)
        provider.add_span_processor(processor)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        # the API lets an application set it once; tests hold one conversation after another
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        meter = asyncio.run(conversation.hold())
        provider.shutdown()
        return Accounts(
            conversation=conversation,
            meter=meter,
            unpriced=unpriced,
            spans=list(exporter.get_finished_spans()),
            stats=processor.stats(),
            catalog=prices,
            reader=reader,
        )

    return hold
