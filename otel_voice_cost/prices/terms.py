"""What a team adds to list prices: discounts, markups, names, aliases, plans, add-ons, exchange rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from .rates import EXACT, Rate

__all__ = ["Share", "Terms"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A discount or markup: a part of an amount, on the days on which it holds.

    Attributes:
        part: 0.2 for 20 %.
        since: First day; None for always.
        until: Last day; None for ever.
    """

    part: Decimal
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A team's terms with its providers. Keys are ``provider`` or ``provider/model``, globs allowed.

    Where several keys fit, the one with most literal characters holds.

    Attributes:
        discounts: What you pay less than list prices. Rates of your own are not discounted.
        markups: What you charge beside the cost.
        names: Names of models to show.
        aliases: A provider or model as reported → the one whose rates hold for it.
        plans: Provider → the plan you are on, lower case.
        addons: Features that are switched on, lower case.
        currencies: Code → how much of it one US dollar buys.
    """

    discounts: Mapping[str, tuple[Share, ...]] = field(default_factory=_nothing)
    markups: Mapping[str, tuple[Share, ...]] = field(default_factory=_nothing)
    names: Mapping[str, str] = field(default_factory=_nothing)
    aliases: Mapping[str, str] = field(default_factory=_nothing)
    plans: Mapping[str, str] = field(default_factory=_nothing)
    addons: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    currencies: Mapping[str, Decimal] = field(default_factory=_nothing)

    def over(self, other: Terms) -> Terms:
        """These terms, and ``other`` where these say nothing."""
        return Terms(
            discounts={**other.discounts, **self.discounts},
            markups={**other.markups, **self.markups},
            names={**other.names, **self.names},
            aliases={**other.aliases, **self.aliases},
            plans={**other.plans, **self.plans},
            addons={**other.addons, **self.addons},
            currencies={**other.currencies, **self.currencies},
        )

    def known_as(self, provider: str, model: str) -> tuple[str, str]:
        """The provider and model whose rates hold: what an alias leads to, or the same."""
        key = _closest(self.aliases, provider, model)
        if key is None:
            return provider, model
        target = self.aliases[key]
        if key.endswith("*") and target.endswith("*"):
            target = target[:-1] + f"{provider}/{model}"[len(key) - 1 :]
        to_provider, slash, to_model = target.partition("/")
        return to_provider, to_model if slash else model

    def discount_for(self, provider: str, model: str, day: date) -> Decimal:
        """The part of list prices that is not paid on a day."""
        return _share(self.discounts, provider, model, day)

    def markup_for(self, provider: str, model: str, day: date) -> Decimal:
        """The part of the cost that is charged beside it on a day."""
        return _share(self.markups, provider, model, day)

    def name_for(self, provider: str, model: str) -> str | None:
        """The name of a model to show, or None."""
        key = _closest(self.names, provider, model)
        return None if key is None else self.names[key]

    def addons_for(self, provider: str, model: str) -> frozenset[str]:
        """The features of a model that are switched on."""
        key = _closest(self.addons, provider, model)
        return frozenset() if key is None else self.addons[key]

    def converted(self, rate: Rate) -> Rate:
        """The rate in dollars by these exchange rates."""
        native = rate.native
        if native is None or native.currency not in self.currencies:
            return rate
        native = native._replace(per_usd=self.currencies[native.currency])
        return replace(rate, native=native, usd=EXACT.divide(native.amount, native.per_usd))


def _closest(entries: Mapping[str, object], provider: str, model: str) -> str | None:
    """The key that fits a model with most literal characters."""
    full = f"{provider}/{model}"
    fitting = [key for key in entries if fnmatchcase(full if "/" in key else provider, key)]
    return max(fitting, key=lambda key: ("/" in key, "*" not in key, len(key)), default=None)


def _share(entries: Mapping[str, tuple[Share, ...]], provider: str, model: str, day: date) -> Decimal:
    """The part that holds on a day, by the closest key that has one for it."""
    holding = {}
    for key, shares in entries.items():
        for share in sorted(shares, key=lambda share: (share.since is not None) + (share.until is not None)):
            if (share.since is None or share.since <= day) and (share.until is None or day <= share.until):
                holding[key] = share.part
    closest = _closest(holding, provider, model)
    return Decimal(0) if closest is None else holding[closest]
