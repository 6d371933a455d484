"""Charges by time or per session rather than by model: telephony, rooms, avatars, noise cancellation, recording."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ..cost import EXACT
from ..prices.rates import Rate
from ..usage import BILLED_BY_CALL, Component, Unit, Usage

__all__ = ["SessionCharge", "charged_usage", "charges_in"]

_NS_PER_SECOND = Decimal(10**9)


class SessionCharge(NamedTuple):
    """A charge on every session."""

    component: Component
    provider: str
    model: str
    unit: Unit


def charges_in(rates: Iterable[Rate]) -> tuple[SessionCharge, ...]:
    """Return the charges in a user's rates, by the second or per session, each once."""
    return tuple(
        dict.fromkeys(
            SessionCharge(rate.component, rate.provider, rate.model[0], rate.unit)
            for rate in rates
            if rate.component in BILLED_BY_CALL and rate.unit in (Unit.SESSION_SECOND, Unit.REQUEST)
        )
    )


def charged_usage(charges: Iterable[SessionCharge], at: datetime, length_ns: int, phone_ns: int | None) -> list[Usage]:
    """Return the usage that a session is charged for.

    Args:
        charges: From `charges_in`.
        at: End of the session; selects the rate.
        length_ns: Length of the session, nanoseconds.
        phone_ns: Length of the telephone call, which telephony is charged by; None if there was none.
    """
    usages = []
    for charge in charges:
        length = phone_ns if charge.component is Component.TELEPHONY else length_ns
        if length is None:
            continue
        amount = EXACT.divide(Decimal(length), _NS_PER_SECOND) if charge.unit is Unit.SESSION_SECOND else Decimal(1)
        if amount > 0:
            usages.append(
                Usage(
                    component=charge.component,
                    provider=charge.provider,
                    model=charge.model,
                    quantities={charge.unit: amount},
                    at=at,
                )
            )
    return usages
