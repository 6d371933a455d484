"""Rates and amounts as people write them."""

from __future__ import annotations

from decimal import Decimal

from ..cost import EXACT, to_text
from ..usage import Unit
from .rates import Rate

__all__ = ["amount_text", "price_text", "rate_text", "unit_text"]

_TIMES = {1: "s", 60: "min", 3_600: "h"}
_NUMBERS = {1: "", 1_000: "1k", 1_000_000: "1M"}


def rate_text(rate: Rate) -> str:
    """Return a rate as people write it: ``$0.0048/min``, ``$50/1M characters``."""
    return price_text(rate.usd, rate.per, rate.unit)


def price_text(usd: Decimal, per: int, unit: Unit, *, with_unit: bool = True) -> str:
    """Return a price as people write it.

    Args:
        usd: US dollars for ``per`` units.
        per: Number of units.
        unit: The unit.
        with_unit: False if the unit is said elsewhere: ``$50/1M``. Units of time are always said.
    """
    price = f"${to_text(EXACT.create_decimal(f'{usd:.18f}'))}"
    if unit.is_seconds:
        name = "" if unit is Unit.AUDIO_SECOND else " of session"
        return f"{price}/{_TIMES.get(per, f'{per} s')}{name}"
    number = _NUMBERS.get(per, f"{per:,}")
    name = unit_text(unit, per) if with_unit or not number else ""
    return f"{price}/{f'{number} {name}'.strip()}"


def amount_text(amount: Decimal, unit: Unit) -> str:
    """Return an amount of a unit: ``62 audio seconds``."""
    return f"{to_text(amount)} {unit_text(unit, amount)}"


def unit_text(unit: Unit, amount: Decimal | int) -> str:
    """Return the name of a unit, in the plural unless the amount is one."""
    name = unit.value.replace("_", " ")
    return name if amount == 1 else f"{name}s"
