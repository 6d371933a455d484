"""Rates as the commands show them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..cost import EXACT, to_text
from ..prices.rates import BILLING_RULES, Rate
from ..usage import Unit

__all__ = ["amount_text", "rate_fields", "rate_text", "rate_when", "unit_text"]

_TIMES = {1: "s", 60: "min", 3_600: "h"}
_NUMBERS = {1: "", 1_000: "1k ", 1_000_000: "1M "}


def rate_text(rate: Rate) -> str:
    """Return a price as people write it: ``$0.0048/min``, ``$50/1M characters``."""
    price = f"${to_text(EXACT.create_decimal(f'{rate.usd:.18f}'))}"
    if rate.unit.is_seconds:
        unit = "" if rate.unit is Unit.AUDIO_SECOND else " of session"
        return f"{price}/{_TIMES.get(rate.per, f'{rate.per} s')}{unit}"
    return f"{price}/{_NUMBERS.get(rate.per, f'{rate.per:,} ')}{unit_text(rate.unit, rate.per)}"


def amount_text(amount: Decimal, unit: Unit) -> str:
    """Return an amount of a unit: ``62 audio seconds``."""
    return f"{to_text(amount)} {unit_text(unit, amount)}"


def unit_text(unit: Unit, amount: Decimal | int) -> str:
    """Return the name of a unit, in the plural unless the amount is one."""
    name = unit.value.replace("_", " ")
    return name if amount == 1 else f"{name}s"


def rate_when(rate: Rate) -> str:
    """Return when a rate applies: its mode, plan and add-on; empty if always."""
    facts = [rate.mode.value if rate.mode else "", f"plan {rate.plan}" if rate.plan else ""]
    facts += [f"add-on {rate.addon}" if rate.addon else ""]
    return ", ".join(filter(None, facts))


def rate_fields(rate: Rate) -> dict[str, Any]:
    """Return a rate for JSON, with dollars as text, rounded to 18 places."""
    return {
        "provider": rate.provider,
        "model": list(rate.model),
        "component": rate.component.value,
        "unit": rate.unit.value,
        "usd": to_text(EXACT.create_decimal(f"{rate.usd:.18f}")),
        "per": rate.per,
        "native": f"{rate.native} at {rate.native.per_usd} per USD" if rate.native else None,
        "mode": rate.mode.value if rate.mode else None,
        "plan": rate.plan,
        "addon": rate.addon,
        "since": str(rate.since) if rate.since else None,
        "until": str(rate.until) if rate.until else None,
        **{rule: to_text(getattr(rate, rule)) for rule in BILLING_RULES},
        "estimated": rate.estimated,
        "loaded_from": rate.loaded_from,
        "source": rate.source,
        "checked": str(rate.checked) if rate.checked else None,
        "note": rate.note,
    }
