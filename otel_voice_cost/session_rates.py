"""What is billed by time or per call and not by a model: telephony, rooms, avatars, noise cancellation, recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import Event

from .cost import EXACT
from .livekit.spans import PARTICIPANT_KIND, PARTICIPANT_LINKED, SIP, SIP_KIND
from .prices.rates import Rate
from .usage import BILLED_BY_CALL, Component, Unit, Usage

__all__ = ["SessionItem", "session_items", "session_usages", "sip_start_ns"]

_BILLION = Decimal(10**9)


class SessionItem(NamedTuple):
    """Something that every call is billed for."""

    component: Component
    provider: str
    model: str
    unit: Unit


def session_items(rates: Iterable[Rate]) -> tuple[SessionItem, ...]:
    """The items that rates of yours name: by the second or per call, each once."""
    return tuple(
        dict.fromkeys(
            SessionItem(rate.component, rate.provider, rate.model[0], rate.unit)
            for rate in rates
            if rate.component in BILLED_BY_CALL and rate.unit in (Unit.SESSION_SECOND, Unit.REQUEST)
        )
    )


def session_usages(items: Iterable[SessionItem], at: datetime, length_ns: int, sip_ns: int | None) -> list[Usage]:
    """What a call used of the items.

    Args:
        items: From `session_items`.
        at: End of the call; it chooses the rate.
        length_ns: Of the session, nanoseconds.
        sip_ns: How long a caller by telephone was there; None where none was. Telephony is billed by this.
    """
    usages = []
    for item in items:
        length = sip_ns if item.component is Component.TELEPHONY else length_ns
        if length is None:
            continue
        amount = EXACT.divide(Decimal(length), _BILLION) if item.unit is Unit.SESSION_SECOND else Decimal(1)
        if amount > 0:
            usages.append(
                Usage(
                    component=item.component,
                    provider=item.provider,
                    model=item.model,
                    quantities={item.unit: amount},
                    at=at,
                )
            )
    return usages


def sip_start_ns(attributes: Mapping[str, Any], events: Iterable[Event], session_start_ns: int) -> int | None:
    """When a caller by telephone came, or None where the call had none.

    Source:
        livekit-agents 1.8.9, ``voice/agent_session.py``, ``_on_room_io_participant_linked``: ``lk.sip.*`` on
        ``agent_session``, and the event ``participant_linked`` with the kind of participant.
    """
    if not any(key.startswith(SIP) for key in attributes):
        return None
    linked = [
        event.timestamp
        for event in events
        if event.name == PARTICIPANT_LINKED and (event.attributes or {}).get(PARTICIPANT_KIND) == SIP_KIND
    ]
    return max(min(linked), session_start_ns) if linked else session_start_ns
