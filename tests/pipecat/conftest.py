"""Fixtures: a provider that Pipecat uses, and the accounts of a conversation on it."""

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

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

if TYPE_CHECKING:
    from .accounts import Accounts
    from .conversations import Conversation


@pytest.fixture(scope="session")
def shipped_prices() -> PriceCatalog:
    return PriceCatalog.default()


@pytest.fixture(autouse=True, scope="session")
def _no_log() -> None:
    from loguru import logger  # noqa: PLC0415

    logger.remove()


@pytest.fixture
def hold_and_price(
    shipped_prices: PriceCatalog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Conversation], Accounts]]:
    """Hold a conversation with a processor of its own, on the global provider, and close the provider."""
    from .accounts import Accounts, UnpricedSpans  # noqa: PLC0415

    def run(conversation: Conversation) -> Accounts:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        sampler = {"sampler": conversation.sampler} if conversation.sampler is not None else {}
        provider = TracerProvider(shutdown_on_exit=False, **sampler)
        processor = VoiceCostSpanProcessor(catalog=shipped_prices, meter_provider=MeterProvider([reader]))
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
            catalog=shipped_prices,
            reader=reader,
        )

    return run
