"""A team's changes to list prices: discounts, markups, names, aliases, plans, add-ons, exchange rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from ..cost import EXACT
from .globs import GlobIndex
from .rates import Rate

__all__ = ["DatedPercentage", "Overrides"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedPercentage:
    """A discount or markup: a fraction of an amount, on certain days.

    Attributes:
        part: 0.2 for 20 %.
        since: First day, or None if unlimited.
        until: Last day, or None if unlimited.
    """

    part: Decimal
    since: date | None = None
    until: date | None = None


class _KeyIndex:
    """Finds the keys that match a model: a key with a slash matches ``provider/model``, one without the provider."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(keys)
        self._of_models = [number for number, key in enumerate(self._keys) if "/" in key]
        self._of_providers = [number for number, key in enumerate(self._keys) if "/" not in key]
        self._models = GlobIndex(self._keys[number] for number in self._of_models)
        self._providers = GlobIndex(self._keys[number] for number in self._of_providers)

    def fitting(self, provider: str, model: str) -> list[str]:
        """Return the keys that match a model, in their order."""
        numbers = [self._of_models[position] for position in self._models.fitting(f"{provider}/{model}")]
        numbers += [self._of_providers[position] for position in self._providers.fitting(provider)]
        return [self._keys[number] for number in sorted(numbers)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """A team's changes to its providers' prices. Keys are ``provider`` or ``provider/model``, globs allowed.

    If several keys match, the one with most literal characters applies.

    Attributes:
        discounts: Discounts on list prices; custom rates are not discounted.
        markups: Markups on the cost.
        names: Names of models to show.
        aliases: The provider or model whose rates apply, by the reported one.
        plans: The chosen plan by provider, lower case.
        addons: Features that are switched on, lower case.
        currencies: Amount of each currency that one US dollar buys, by code.
    """

    discounts: Mapping[str, tuple[DatedPercentage, ...]] = field(default_factory=_nothing)
    markups: Mapping[str, tuple[DatedPercentage, ...]] = field(default_factory=_nothing)
    names: Mapping[str, str] = field(default_factory=_nothing)
    aliases: Mapping[str, str] = field(default_factory=_nothing)
    plans: Mapping[str, str] = field(default_factory=_nothing)
    addons: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    currencies: Mapping[str, Decimal] = field(default_factory=_nothing)
    _keys: Mapping[str, _KeyIndex] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_model = {name: getattr(self, name) for name in ("discounts", "markups", "names", "aliases", "addons")}
        object.__setattr__(self, "_keys", {name: _KeyIndex(keys) for name, keys in by_model.items() if keys})

    def over(self, other: Overrides) -> Overrides:
        """Return these overrides, completed by ``other``."""
        return Overrides(
            discounts={**other.discounts, **self.discounts},
            markups={**other.markups, **self.markups},
            names={**other.names, **self.names},
            aliases={**other.aliases, **self.aliases},
            plans={**other.plans, **self.plans},
            addons={**other.addons, **self.addons},
            currencies={**other.currencies, **self.currencies},
        )

    def known_as(self, provider: str, model: str) -> tuple[str, str]:
        """Return the provider and model whose rates apply: the target of an alias, or the same."""
        key = self._closest("aliases", provider, model)
        if key is None:
            return provider, model
        target = self.aliases[key]
        if key.endswith("*") and target.endswith("*"):
            target = target[:-1] + f"{provider}/{model}"[len(key) - 1 :]
        to_provider, slash, to_model = target.partition("/")
        return to_provider, to_model if slash else model

    def discount_for(self, provider: str, model: str, day: date) -> Decimal:
        """Return the discount on a day as a fraction of the list price."""
        return self._share("discounts", provider, model, day)

    def markup_for(self, provider: str, model: str, day: date) -> Decimal:
        """Return the markup on a day as a fraction of the cost."""
        return self._share("markups", provider, model, day)

    def name_for(self, provider: str, model: str) -> str | None:
        """Return the name of a model to show, or None."""
        key = self._closest("names", provider, model)
        return None if key is None else self.names[key]

    def addons_for(self, provider: str, model: str) -> frozenset[str]:
        """Return the features of a model that are switched on."""
        key = self._closest("addons", provider, model)
        return frozenset() if key is None else self.addons[key]

    def converted(self, rate: Rate) -> Rate:
        """Return the rate in dollars at these exchange rates."""
        native = rate.native
        if native is None or native.currency not in self.currencies:
            return rate
        native = native._replace(per_usd=self.currencies[native.currency])
        return replace(rate, native=native, usd=EXACT.divide(native.amount, native.per_usd))

    def _fitting(self, section: str, provider: str, model: str) -> list[str]:
        keys = self._keys.get(section)
        return [] if keys is None else keys.fitting(provider, model)

    def _closest(self, section: str, provider: str, model: str) -> str | None:
        return _closest(self._fitting(section, provider, model))

    def _share(self, section: str, provider: str, model: str, day: date) -> Decimal:
        """Return the fraction on a day from the closest key that has one."""
        entries: Mapping[str, tuple[DatedPercentage, ...]] = getattr(self, section)
        holding = {}
        for key in self._fitting(section, provider, model):
            for share in sorted(entries[key], key=lambda share: (share.since is not None) + (share.until is not None)):
                if (share.since is None or share.since <= day) and (share.until is None or day <= share.until):
                    holding[key] = share.part
        closest = _closest(holding)
        return Decimal(0) if closest is None else holding[closest]


def _closest(keys: Iterable[str]) -> str | None:
    """Return the matching key with most literal characters, the first if several have as many."""
    return max(keys, key=lambda key: ("/" in key, "*" not in key, len(key)), default=None)
