"""Our own attributes: the exact cost and everything that explains it. Always written."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ..bill import SessionCost, TraceCost
from ..cost import Cost
from ..usage import Component, Unit
from .dialects import Attributes, Dialect, SpanView

__all__ = [
    "PRICED_KEYS",
    "OwnAttributes",
    "to_text",
    "total_attributes",
    "unpriced_attributes",
]

_PREFIX = "voice_cost."
COMPONENT = _PREFIX + "component"
ESTIMATED = _PREFIX + "estimated"
LIST_USD = _PREFIX + "list_usd"
MARKUP_USD = _PREFIX + "markup_usd"
QUANTITY = _PREFIX + "quantity."
RATE = _PREFIX + "rate"
RATE_SOURCE = _PREFIX + "rate_source"
UNPRICED = _PREFIX + "unpriced"
USD = _PREFIX + "usd"

PRICED_KEYS = frozenset({USD, UNPRICED})  # a span that has one of them was priced before

_QUANTITIES = {unit: QUANTITY + unit.value for unit in Unit}
_COMPONENTS = {component: component.value for component in Component}


class OwnAttributes(Dialect):
    """This package's attributes."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return cost, quantities and rates, or why there is no cost.

        ``voice_cost.usd`` is text, digit for digit. A quantity is an int where the unit has no
        fractions and a double for seconds. A rate reads ``0.0048 USD per 60 audio_second``. The list
        price is there where a discount lowered it, the markup where one is set.
        """
        attributes: Attributes = {COMPONENT: _COMPONENTS[cost.usage.component]}
        for unit, amount in cost.usage.quantities.items():
            attributes[_QUANTITIES[unit]] = float(amount) if unit.is_seconds else int(amount)
        if cost.usd is None:
            attributes[UNPRICED] = cost.unpriced_reason or "unknown"
            return attributes
        attributes[USD] = to_text(cost.usd)
        if cost.lines:
            attributes[RATE] = "; ".join(dict.fromkeys([line.rate.text for line in cost.lines]))
            attributes[ESTIMATED] = cost.estimated
            attributes[RATE_SOURCE] = cost.lines[0].rate.citation
        else:
            attributes[RATE_SOURCE] = cost.rate_source or "span"
        list_usd = cost.list_usd
        if list_usd is not None and list_usd != cost.usd:
            attributes[LIST_USD] = to_text(list_usd)
        if cost.markup_usd is not None:
            attributes[MARKUP_USD] = to_text(cost.markup_usd)
        return attributes

    def session_attributes(self, session: SessionCost, trace: TraceCost) -> Attributes:
        """Return a session's turns, its length in seconds and its cost per minute, as doubles.

        The list price is there where a discount lowered it, the markup where one is set.
        """
        prefix = f"{_PREFIX}session."
        attributes: Attributes = {prefix + "seconds": float(session.seconds), prefix + "turns": len(session.turns)}
        if session.usd_per_minute is not None:
            attributes[prefix + "usd_per_minute"] = float(session.usd_per_minute)
        if session.list_usd != session.usd:
            attributes[prefix + "list_usd"] = to_text(session.list_usd)
        if session.markup_usd:
            attributes[prefix + "markup_usd"] = to_text(session.markup_usd)
        return attributes


def unpriced_attributes(reason: str) -> Attributes:
    """Return why a request has no cost."""
    return {UNPRICED: reason}


def total_attributes(
    scope: str, by_component: Mapping[Component, Decimal], usd: Decimal, *, unpriced: int, estimated: bool
) -> Attributes:
    """Return totals of a turn or session: ``voice_cost.turn.usd``, ``voice_cost.turn.stt.usd``, ..."""
    prefix = f"{_PREFIX}{scope}."
    attributes: Attributes = {prefix + "usd": to_text(usd)}
    for component in sorted(by_component):
        attributes[f"{prefix}{component.value}.usd"] = to_text(by_component[component])
    attributes[prefix + "unpriced"] = unpriced
    attributes[prefix + "estimated"] = estimated
    return attributes


def to_text(usd: Decimal) -> str:
    """Dollars with all their digits and no exponent."""
    text = str(usd)
    if "E" in text or "e" in text:  # by the capitals of the application's decimal context
        text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if text[-1] == "0" and "." in text else text
