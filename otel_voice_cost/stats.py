"""What a processor has counted, as code reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["Stats", "stats_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the processor was built. The same are OpenTelemetry metrics, ``voice_cost.priced`` and so on.

    Attributes:
        priced: Usages with a cost: spans, and reports that no span carries. Estimates included.
        estimated: Those of them whose cost is an estimate.
        unpriced: Usages without a cost: no rate, no amounts, or metrics that could not be read.
        failed: Faults, metrics that could not be read among them; each cost a span or report its price, never the span.
        late: Reports that came after the end of their session.
        unclaimed: Usages that no span of LiveKit's carries, so they are on spans of our own.
    """

    priced: int = 0
    estimated: int = 0
    unpriced: int = 0
    failed: int = 0
    late: int = 0
    unclaimed: int = 0


def stats_of(counts: Mapping[str, int]) -> Stats:
    """Make `Stats` of counts by name."""
    return Stats(**{field.name: counts.get(field.name, 0) for field in fields(Stats)})
