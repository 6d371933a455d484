"""Conditions and fields of rates, as the commands show them."""

from __future__ import annotations

from typing import Any

from ..cost import EXACT, to_text
from ..prices.rates import BILLING_RULES, Rate

__all__ = ["rate_fields", "rate_when"]


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
