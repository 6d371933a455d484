"""The meter of a vendor: every request on its invoice, and the price of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from otel_voice_cost import PriceCatalog
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.sources.livekit.providers import canonical_model, canonical_provider
from otel_voice_cost.usage import Component, Mode, Unit, Usage

__all__ = ["MeterEntry", "entries_of_session_usage", "meter_usd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEntry:
    """One request, synthesis or connection as the vendor counts it.

    Attributes:
        component: The part of the agent that called the vendor.
        provider: Provider as the plugin reports it.
        model: Model as the plugin reports it.
        quantities: Billed amount per unit; empty if the vendor bills nothing.
        reason: How it ended: ``complete``, ``cut off`` (the client left) or ``failed`` (the vendor's fault).
        mode: Mode of speech-to-text; streaming if it is None.
    """

    component: Component
    provider: str
    model: str
    quantities: Mapping[Unit, Decimal]
    reason: str
    mode: Mode | None = None


def meter_usd(entries: Iterable[MeterEntry], catalog: PriceCatalog) -> Decimal:
    """Return the price of the entries, in US dollars."""
    return sum((_entry_usd(entry, catalog) for entry in entries), Decimal(0))


def entries_of_session_usage(model_usage: Iterable[Any]) -> list[MeterEntry]:
    """Return ``AgentSession.usage.model_usage`` as entries of a meter.

    Source:
        livekit-agents 1.8.9, ``metrics/usage.py``.
    """
    entries = []
    for usage in model_usage:
        component, quantities = _session_quantities(usage)
        entries.append(
            MeterEntry(
                component=component,
                provider=usage.provider,
                model=usage.model,
                quantities={unit: Decimal(str(amount)) for unit, amount in quantities.items() if amount},
                reason="complete",
            )
        )
    return entries


def _entry_usd(entry: MeterEntry, catalog: PriceCatalog) -> Decimal:
    if not entry.quantities:
        return Decimal(0)
    usage = Usage(
        component=entry.component,
        provider=canonical_provider(entry.provider),
        model=canonical_model(entry.model),
        quantities=entry.quantities,
        at=datetime.now(timezone.utc),
        mode=(entry.mode or Mode.STREAMING) if entry.component is Component.STT else None,
    )
    cost = calculate_cost(usage, catalog.card_for(usage))
    assert cost.usd is not None, f"no price for {entry}"
    return cost.usd


def _session_quantities(usage: Any) -> tuple[Component, dict[Unit, float]]:
    if usage.type == "stt_usage" and usage.input_tokens:
        return Component.STT, {
            Unit.INPUT_AUDIO_TOKEN: usage.input_audio_tokens,
            Unit.INPUT_TEXT_TOKEN: usage.input_tokens - usage.input_audio_tokens,
            Unit.OUTPUT_TEXT_TOKEN: usage.output_tokens,
        }
    if usage.type == "stt_usage":
        return Component.STT, {Unit.AUDIO_SECOND: usage.audio_duration}
    if usage.type == "tts_usage":
        return Component.TTS, {Unit.CHARACTER: usage.characters_count}
    if usage.input_audio_tokens or usage.output_audio_tokens:
        return Component.REALTIME, {
            Unit.INPUT_TEXT_TOKEN: usage.input_text_tokens - usage.input_cached_text_tokens,
            Unit.CACHED_INPUT_TEXT_TOKEN: usage.input_cached_text_tokens,
            Unit.INPUT_AUDIO_TOKEN: usage.input_audio_tokens - usage.input_cached_audio_tokens,
            Unit.CACHED_INPUT_AUDIO_TOKEN: usage.input_cached_audio_tokens,
            Unit.OUTPUT_TEXT_TOKEN: usage.output_text_tokens,
            Unit.OUTPUT_AUDIO_TOKEN: usage.output_audio_tokens,
        }
    cached, written = usage.input_cached_tokens, usage.input_cache_creation_tokens
    return Component.LLM, {
        Unit.INPUT_TOKEN: usage.input_tokens - cached - written,
        Unit.CACHED_INPUT_TOKEN: cached,
        Unit.CACHE_WRITE_TOKEN: written,
        Unit.OUTPUT_TOKEN: usage.output_tokens,
    }
