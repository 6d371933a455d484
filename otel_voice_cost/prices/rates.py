"""Rates as vendors print them, and rate cards with all rates of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

from ..usage import Component, Dimension, Mode, Unit

__all__ = ["BILLING_RULES", "DOUBTS", "Confidence", "Native", "Rate", "RateCard", "Tier"]

BILLING_RULES = ("minimum", "increment", "free")  # fields that change the billed amount, in the unit; 0 for none
Confidence = Literal["high", "medium", "low", "unsettled"]
DOUBTS = {"low": "low confidence", "unsettled": "unsettled between two sources"}  # confidence that makes an estimate


class Tier(NamedTuple):
    """The price that holds for a whole request with more than ``above`` input tokens."""

    above: int
    usd: Decimal


class Native(NamedTuple):
    """A price as the vendor prints it in another currency.

    Attributes:
        currency: Code of the currency, ``INR``.
        amount: Price for the rate's ``per`` units in that currency.
        per_usd: Amount of that currency that one US dollar buys.
    """

    currency: str
    amount: Decimal
    per_usd: Decimal

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The price of one unit, kept as the provider prints it.

    "$0.0077 per minute" is ``usd=Decimal("0.0077"), per=60`` audio seconds, never a rounded
    price per second.

    Attributes:
        provider: Provider id in lower case.
        model: Exact ids or globs, lower case.
        component: Component that the price is for.
        unit: Unit that ``per`` counts.
        usd: US dollars for ``per`` units; a price in another currency is converted to 60 digits.
        per: Units that ``usd`` buys.
        loaded_from: File, variable or package that the rate was read from.
        mode: Streaming or batch; None fits both.
        since: First day on which the price holds, or None if it holds from the beginning.
        until: Last day on which it holds, or None.
        source: Page that states the price.
        checked: Day on which the page was last read.
        confidence: ``low``, or ``unsettled`` if two sources differ, makes every cost based on it an estimate.
        minimum: Smallest amount billed for one request, in ``unit``.
        increment: Amounts are rounded up to a multiple of this, in ``unit``; zero for none.
        free: Amount of each request or call that is free, in ``unit``.
        fallback: True for a stand-in, used only if the usage lacks the units really billed.
        tiers: Prices for large requests, smallest threshold first.
        display_name: Name of the model to show.
        plan: The vendor's plan with this price, which holds only if that plan is chosen.
        addon: A feature billed on top of the model's rate, only if it is declared.
        native: The price in the vendor's currency, if that is not the dollar.
        note: Remark on the price for readers.
        text: The price in words, ``0.0048 USD per 60 audio_second``.
        citation: ``loaded_from``, page and day.
        estimated: True if a cost by this rate is an estimate.
    """

    provider: str
    model: tuple[str, ...]
    component: Component
    unit: Unit
    usd: Decimal
    per: int = 1
    loaded_from: str
    mode: Mode | None = None
    since: date | None = None
    until: date | None = None
    source: str = ""
    checked: date | None = None
    confidence: Confidence = "high"
    minimum: Decimal = Decimal(0)
    increment: Decimal = Decimal(0)
    free: Decimal = Decimal(0)
    fallback: bool = False
    tiers: tuple[Tier, ...] = ()
    display_name: str | None = None
    plan: str | None = None
    addon: str | None = None
    native: Native | None = None
    note: str | None = None
    text: str = field(init=False, compare=False, repr=False)
    citation: str = field(init=False, compare=False, repr=False)
    estimated: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        price = f"{self.usd} USD" if self.native is None else str(self.native)
        exchange = f" at {self.native.per_usd} {self.native.currency} per USD" if self.native else ""
        page = self.source if self.source != self.loaded_from else ""
        day = str(self.checked or self.since or "")
        object.__setattr__(self, "text", f"{price} per {self.per} {self.unit.value}{exchange}")
        object.__setattr__(self, "citation", " ".join(filter(None, (self.loaded_from, page, day))))
        object.__setattr__(self, "estimated", self.fallback or self.confidence in DOUBTS)

    def holds_on(self, day: date) -> bool:
        """Return True if the price holds on a day, first and last day included."""
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)

    @property
    def is_plain(self) -> bool:
        """True if the cost is amount × price, up to the first tier."""
        return not (self.minimum or self.increment or self.free)

    def usd_at(self, total_input_tokens: Decimal) -> Decimal:
        """Return US dollars for ``per`` units of a request with this total of input tokens.

        Passing a threshold reprices the whole request, as Anthropic, Google and OpenAI do.

        Source:
            genai-prices 0.2.3, ``types.py``, ``TieredPrices``.
        """
        usd = self.usd
        for tier in self.tiers:
            if total_input_tokens > tier.above:
                usd = tier.usd
        return usd

    def __str__(self) -> str:
        return self.text


_OF_TEXT = {Dimension.BYTES, Dimension.TEXT_UNSPACED, Dimension.TEXT_WIDE}


class BilledUnits(NamedTuple):
    """The billed units of a usage and their rates.

    Attributes:
        rates: Each billed unit with its rate, and again with each of its add-ons.
        tiered: True if a rate depends on the size of the request.
        units: The billed units if others were reported too, else None.
        missing: The missing rate, ``"per <unit>"`` or ``"for <dimensions>"``. Nothing is billed then.
    """

    rates: tuple[tuple[Unit, Rate], ...] = ()
    tiered: bool = False
    units: frozenset[Unit] | None = None
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard:
    """All rates that hold for one model, component, mode and time, with the user's overrides.

    Attributes:
        rates: One rate per unit.
        addons: Rates of declared features, billed on top.
        discount: Discount as a fraction of the list price, 0 to 1.
        markup: Markup as a fraction of the cost, 0 or more.
        display_name: Name of the model to show, or None.
    """

    rates: Mapping[Unit, Rate]
    addons: tuple[Rate, ...] = ()
    discount: Decimal = Decimal(0)
    markup: Decimal = Decimal(0)
    display_name: str | None = None
    needs_text: bool = field(init=False, compare=False, repr=False)  # True if an amount needs the spoken text
    _billings: dict[tuple[Unit, ...], BilledUnits] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs_text", any(unit.dimension in _OF_TEXT for unit in self.rates))

    def billing(self, units: tuple[Unit, ...]) -> BilledUnits:
        """Return the billed units of a usage with these units, and their rates. Cached.

        Dimensions with regular rates are billed; if the usage has none of them, those with fallback
        rates ("about $0.015 a minute" for a model billed by tokens). So tokens or minutes are
        billed, never both.
        """
        billing = self._billings.get(units)
        if billing is None:
            billing = self._billings[units] = self._billing(units)
        return billing

    def _billing(self, units: tuple[Unit, ...]) -> BilledUnits:
        dimensions = {unit.dimension for unit in units}
        proper, stand_in = (
            dimensions & {unit.dimension for unit, rate in self.rates.items() if rate.fallback is fallback}
            for fallback in (False, True)
        )
        billed = [unit for unit in units if unit.dimension in (proper or stand_in)]
        if not billed:
            reported, priced = dimensions - _OF_TEXT or dimensions, {unit.dimension for unit in self.rates}
            return BilledUnits(missing=f"for {' and '.join(sorted(reported))}, only for {' and '.join(sorted(priced))}")
        rates: list[tuple[Unit, Rate]] = []
        for unit in billed:
            rate = self.rate_for(unit)
            if rate is None:
                return BilledUnits(missing=f"per {unit.value}")
            rates.append((unit, rate))
            rates += [(unit, addon) for addon in self.addons if addon.unit is unit]
        return BilledUnits(
            rates=tuple(rates),
            tiered=any(rate.tiers for _, rate in rates),
            units=None if len(billed) == len(units) else frozenset(billed),
        )

    def rate_for(self, unit: Unit) -> Rate | None:
        """Return the rate of a unit or the one that stands in for it, or None if there is neither."""
        if unit in self.rates:
            return self.rates[unit]
        return next((self.rates[other] for other in unit.fallbacks if other in self.rates), None)
