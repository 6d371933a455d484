"""Installation on an existing tracer provider: that of Langfuse's SDK, Logfire or a framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from .accounting.budget import Budget
from .bill import SessionCost
from .errors import VoiceCostError
from .export.processor_order import get_processors, put_first
from .processor import VoiceCostSpanProcessor

if TYPE_CHECKING:
    from .prices.catalog import PriceCatalog
    from .settings import Settings

__all__ = ["install"]


def install(
    provider: TracerProvider,
    *,
    catalog: PriceCatalog | None = None,
    settings: Settings | None = None,
    meter_provider: MeterProvider | None = None,
    on_session_end: Callable[[SessionCost], object] | None = None,
    budget: Budget | None = None,
) -> VoiceCostSpanProcessor:
    """Put a `VoiceCostSpanProcessor` before all processors a provider has.

    Another call moves the processor that is there to the front; it builds no second one and logs which of its
    options it ignored.

    Args:
        provider: A provider of the SDK, with or without processors.
        catalog: As for the processor, like all that follow.
        settings: Options.
        meter_provider: Where metrics go.
        on_session_end: Called with the record of each session that ends.
        budget: What a call may cost.

    Returns:
        The processor that is in front now.

    Raises:
        VoiceCostError: The provider is not of the SDK (the API's no-op or a proxy), or runs its
            processors side by side; the message says what to do.
    """
    if not isinstance(provider, TracerProvider):
        raise VoiceCostError(
            f"provider: got {type(provider).__name__}, expected opentelemetry.sdk.trace.TracerProvider; "
            "call install() after the provider is built"
        )
    options: dict[str, Any] = {
        "catalog": catalog,
        "settings": settings,
        "meter_provider": meter_provider,
        "on_session_end": on_session_end,
        "budget": budget,
    }
    present = [p for p in get_processors(provider) if isinstance(p, VoiceCostSpanProcessor)]
    processor = present[0] if present else VoiceCostSpanProcessor(**options)
    ignored = [name for name, value in options.items() if value is not None]
    if present and ignored:
        processor._diagnostics.warn_once(
            "install",
            f"install() found a VoiceCostSpanProcessor on the provider and ignored {', '.join(ignored)}. "
            "Pass them to the first call.",
        )
    if not put_first(provider, processor):
        if not present:
            processor.shutdown()
        raise VoiceCostError(
            "provider: got one that runs its processors side by side, expected one after the other; "
            "wrap the exporting processor: VoiceCostSpanProcessor(BatchSpanProcessor(...))"
        )
    return processor
