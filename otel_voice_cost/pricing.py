"""Usage → cost, counted: what the ways of spans, reports and sessions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._diagnostics import Diagnostics
from .cost import Cost, cost_of
from .livekit.spans import AGENT_NAME, TTS_TEXT
from .meters import LATE, UNCLAIMED, Meters
from .sessions import Session
from .usage import Usage, with_text

if TYPE_CHECKING:
    from .prices.catalog import PriceCatalog

__all__ = ["Pricing", "agent_of"]


class Pricing:
    """Prices usage by one catalogue; each usage once."""

    def __init__(self, catalog: PriceCatalog, meters: Meters, diagnostics: Diagnostics) -> None:
        self._catalog = catalog
        self._meters = meters
        self._diagnostics = diagnostics

    def price(self, usage: Usage, session: Session | None, attributes: Mapping[str, Any] | None = None) -> Cost:
        """Price and count a usage; the first of a model that is unpriced or estimated is logged.

        Args:
            usage: What was used.
            session: Of the usage, where it has one.
            attributes: Of the span, which may have the text that was spoken.
        """
        card = self._catalog.card_for(usage)
        if card is not None and card.needs_text and attributes is not None:
            text = next((attributes[key] for key in TTS_TEXT if key in attributes), None)
            usage = with_text(usage, text) if isinstance(text, str) else usage
        cost = self.counted(cost_of(usage, card), session)
        if cost.usd is None:
            self._diagnostics.warn("unpriced", f"No cost: {cost.unpriced}. Write a price in VOICE_COST_PRICES.")
        elif cost.estimated:
            name = f"{usage.component.value} of {usage.provider}/{usage.model}"
            self._diagnostics.note("estimated", f"The cost of {name} is an estimate, by {cost.lines[0].rate.origin}.")
        return cost

    def unpriced(self, usage: Usage, session: Session | None, reason: str) -> Cost:
        """Count a usage whose amounts nobody knows: it has no cost, for this reason."""
        return self.counted(Cost(usage=usage, usd=None, unpriced=reason), session)

    def counted(self, cost: Cost, session: Session | None) -> Cost:
        """Count a cost that came from elsewhere."""
        self._meters.add(cost, agent_of(session))
        return cost

    def late(self, usage: Usage) -> None:
        """Count a report that came after the end of its session."""
        self._meters.count(LATE, usage, None)

    def unclaimed(self, usage: Usage, session: Session | None) -> None:
        """Count usage that no span of LiveKit's carries."""
        self._meters.count(UNCLAIMED, usage, agent_of(session))


def agent_of(session: Session | None) -> str | None:
    """Name of the agent that the job was sent to, or None outside jobs. LiveKit sets it when the session starts."""
    if session is None:
        return None
    if session.agent is None:
        name = session.attributes.get(AGENT_NAME)
        session.agent = name if isinstance(name, str) else ""
    return session.agent or None
