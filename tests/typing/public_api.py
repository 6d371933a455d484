"""The public names as a typed application uses them: checked by mypy and pyright, never run."""

from __future__ import annotations

from decimal import Decimal

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from typing_extensions import assert_type

from otel_voice_cost import (
    Budget,
    Component,
    Cost,
    CostPart,
    PriceCatalog,
    Rate,
    SessionCost,
    Settings,
    Stats,
    Unit,
    UnreportedPart,
    VoiceCostSpanProcessor,
    end_call,
    install,
)


def bill(cost: SessionCost) -> None:
    """A callback."""
    assert_type(cost.usd, Decimal)
    assert_type(cost.unpriced_count, int)
    assert_type(cost.parts, tuple[CostPart, ...])
    assert_type(cost.unreported, tuple[UnreportedPart, ...])
    assert_type(cost.usd_with_unreported, Decimal)
    assert_type(cost.by_component, dict[Component, Decimal])
    for part in cost.parts:
        assert_type(part.display_name, str | None)
        assert_type(part.unpriced_reason, str | None)


async def warn(cost: SessionCost) -> None:
    """A coroutine callback."""
    assert_type(cost.usd_per_minute, Decimal | None)


budget = Budget(usd_per_session="0.50", usd_per_minute=0.1, on_warning=warn, on_exceeded=end_call("Goodbye."))
processor = VoiceCostSpanProcessor(
    BatchSpanProcessor(ConsoleSpanExporter()),
    catalog=PriceCatalog.default(),
    settings=Settings(),
    on_session_end=bill,
    budget=budget,
)
assert_type(processor.current_cost(), SessionCost | None)
assert_type(processor.would_exceed("call-7"), bool)
assert_type(processor.stats(), Stats)
assert_type(processor.force_flush(1_000), bool)
assert_type(install(TracerProvider(), on_session_end=bill), VoiceCostSpanProcessor)


def explain(cost: Cost) -> list[Rate]:
    """Values of a cost."""
    assert_type(cost.usd, Decimal | None)
    assert_type(cost.unpriced_reason, str | None)
    assert_type(cost.lines[0].unit, Unit)
    return [line.rate for line in cost.lines]
