"""This package's attributes: the exact cost and its explanation. Always written."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ..bill import SessionCost, TraceCost, UnreportedPart
from ..cost import Cost, CostNumbers, to_text
from ..sources import Work
from ..usage import Component, Unit, Usage
from .dialects import Attributes, CompiledDialect, Options, SpanView, Writer

__all__ = [
    "PRICED_KEYS",
    "OwnAttributes",
    "total_attributes",
    "unpriced_attributes",
    "unreported_attributes",
    "work_attributes",
]

_PREFIX = "voice_cost."
COMPONENT = _PREFIX + "component"
ESTIMATED = _PREFIX + "estimated"
LIST_USD = _PREFIX + "list_usd"
MARKUP_USD = _PREFIX + "markup_usd"
MODE = _PREFIX + "mode"
MODEL = _PREFIX + "model"
PROVIDER = _PREFIX + "provider"
QUANTITY = _PREFIX + "quantity."
RATE = _PREFIX + "rate"
RATE_SOURCE = _PREFIX + "rate_source"
REVISION = _PREFIX + "revision"
UNPRICED = _PREFIX + "unpriced"
UNREPORTED = _PREFIX + "unreported"
USD = _PREFIX + "usd"

PRICED_KEYS = frozenset({USD, UNPRICED})  # a span that has one of them is priced already

_LENGTHS = ("prompt_characters", "received_characters", "sent_characters")
_QUANTITIES = {unit: QUANTITY + unit.value for unit in Unit}
_COMPONENTS = {component: component.value for component in Component}


class OwnAttributes(CompiledDialect):
    """This package's attributes."""

    def __init__(self, options: Options) -> None:
        """Keep the options."""
        super().__init__(options)
        self._revision: Attributes = {REVISION: options.revision} if options.revision else {}

    def writer(self, example: Cost) -> Writer:
        """Return what writes cost, quantities and rates, or the reason for a missing cost.

        ``voice_cost.usd`` is text with the exact digits. A quantity is a double for seconds and an
        int for other units. A rate has the form ``0.0048 USD per 60 audio_second``. Provider and model
        are the ids by which the rate was found; the framework's names differ. The list price is
        included if a discount lowered it, the markup if one is set.
        """
        units = [(_QUANTITIES[unit], float if unit.is_seconds else int) for unit in example.usage.quantities]
        component = _COMPONENTS[example.usage.component]
        priced = _identity(example.usage) | _priced(example) | self._revision

        def write(numbers: CostNumbers, _span: SpanView, attributes: Attributes) -> None:
            attributes[COMPONENT] = component
            for (name, convert), amount in zip(units, numbers.amounts):  # noqa: B905  # twice as fast, and of equal length
                attributes[name] = convert(amount)
            if numbers.usd is not None:
                attributes[USD] = numbers.usd_text
            attributes.update(priced)

        return write

    def session_attributes(self, session: SessionCost, trace: TraceCost) -> Attributes:
        """Return a session's turns, its length in seconds and its cost per minute, as doubles.

        The list price is included if a discount lowered it, the markup if one is set.
        """
        prefix = f"{_PREFIX}session."
        attributes = {
            prefix + "seconds": float(session.seconds),
            prefix + "turns": len(session.turns),
            **self._revision,
        }
        if session.usd_per_minute is not None:
            attributes[prefix + "usd_per_minute"] = float(session.usd_per_minute)
        if session.list_usd != session.usd:
            attributes[prefix + "list_usd"] = to_text(session.list_usd)
        if session.markup_usd:
            attributes[prefix + "markup_usd"] = to_text(session.markup_usd)
        if session.unreported:
            attributes[prefix + "unreported"] = session.unreported_count
            attributes[prefix + "unreported_usd"] = to_text(session.unreported_usd)
        return attributes


def _identity(usage: Usage) -> Attributes:
    """Return the ids that select the rates of a usage, to price it again later."""
    attributes: Attributes = {PROVIDER: usage.provider, MODEL: usage.model}
    if usage.mode is not None:
        attributes[MODE] = usage.mode.value
    return attributes


def _priced(cost: Cost) -> Attributes:
    """Return the attributes after the cost, which do not depend on its amount."""
    if cost.usd is None:
        return unpriced_attributes(cost.unpriced_reason or "unknown")
    attributes: Attributes = {}
    if cost.lines:
        attributes[RATE] = "; ".join(dict.fromkeys([line.rate.text for line in cost.lines]))
        attributes[ESTIMATED] = cost.estimated
        attributes[RATE_SOURCE] = cost.lines[0].rate.citation
    else:
        attributes[RATE_SOURCE] = cost.rate_source or "span"
        if cost.is_estimate:
            attributes[ESTIMATED] = True
    if cost.list_usd is not None and cost.list_usd != cost.usd:  # of a cost with a discount: it is no example
        attributes[LIST_USD] = to_text(cost.list_usd)
    if cost.markup_usd is not None:  # likewise
        attributes[MARKUP_USD] = to_text(cost.markup_usd)
    return attributes


def unpriced_attributes(reason: str) -> Attributes:
    """Return the reason for a missing cost."""
    return {UNPRICED: reason}


def work_attributes(ending: str, work: Work | None) -> Attributes:
    """Return how a request without usage ended, and its lengths in characters."""
    attributes: Attributes = {UNREPORTED: ending}
    for name in _LENGTHS if work is not None else ():
        if length := getattr(work, name):
            attributes[f"{UNREPORTED}.{name}"] = length
    return attributes


def unreported_attributes(part: UnreportedPart) -> Attributes:
    """Return an estimate of what a vendor bills and nobody reported. None of its keys is read as a cost."""
    values = {
        "provider": part.provider,
        "model": part.model,
        "reason": part.reason,
        "requests": part.request_count,
        "method": part.method,
        "rule": part.rule,
        "bound": "low" if part.is_lower_bound else None,
        "usd": None if part.usd is None else to_text(part.usd),
        "low_usd": None if part.low_usd is None else to_text(part.low_usd),
        "high_usd": None if part.high_usd is None else to_text(part.high_usd),
        **{
            f"quantity.{unit.value}": float(amount) if unit.is_seconds else int(amount)
            for unit, amount in part.quantities.items()
        },
    }
    attributes: Attributes = {COMPONENT: _COMPONENTS[part.component]}
    attributes.update({f"{UNREPORTED}.{key}": value for key, value in values.items() if value is not None})
    return attributes


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
