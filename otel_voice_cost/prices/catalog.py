"""The price catalog: finds the rates that hold for a usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import PriceError, Problem
from ..usage import Component, Mode, Unit, Usage
from .documents import to_json
from .files import load_sheet, load_shipped_sheets
from .genai_prices import TokenRates
from .globs import fits, is_glob
from .index import Layer
from .overrides import Overrides
from .price_sheet import PriceSheet, parse_sheet
from .rates import Rate, RateCard
from .vendor_rules import NO_RULE, VendorRule

__all__ = ["Candidate", "PriceCatalog"]

_MAX_REMEMBERED = 4_096  # cached models; others are looked up again


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A rate that was considered for a usage.

    Attributes:
        rate: The rate.
        verdict: ``"holds"``, ``"add-on"``, or the reason why it does not hold.
    """

    rate: Rate
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The rates of a model on a day."""

    provider: str
    model: str
    card: RateCard | None  # None: look up token rates
    overrides: RateCard | None  # without rates: the overrides of token rates, if any
    with_overrides: dict[int, RateCard] = field(default_factory=dict)  # token rates with these overrides, by id


class PriceCatalog:
    """Finds the rates of a model: custom rates first, then shipped voice rates, then genai-prices.

    Only the first of the three with the model is used; their rates are never mixed. Within one, an
    exact id takes precedence over a glob, a longer glob over a shorter, a rate with a first or last
    day over one without, and a rate for the mode over one for any. If a plan of the vendor is
    chosen, its rates take precedence over the model's others.

    Safe to read from any thread; immutable after construction, token rates apart.

    Attributes:
        edition: Returns another object once the application has loaded newer token rates.
    """

    def __init__(
        self,
        layers: Iterable[Sequence[Rate]],
        tokens: TokenRates | None = None,
        *,
        overrides: Overrides | None = None,
        rules: Iterable[VendorRule] = (),
    ) -> None:
        """Build from layers of list prices, the first taking precedence, and token rates as the last resort.

        Most callers want `default` or `load`.
        """
        self._overrides = overrides or Overrides()
        self._layers = tuple(Layer.of(layer, is_list=True) for layer in layers)
        self._tokens = tokens
        self.edition: Callable[[], object] = _no_edition if tokens is None else tokens.edition
        self._list_rules = tuple(rules)
        self._custom_rules: tuple[VendorRule, ...] = ()
        self._found: dict[tuple[str, str, Component, Mode | None, date], _Found] = {}

    @classmethod
    def default(cls) -> PriceCatalog:
        """Return a catalog of the shipped voice rates and the token rates of genai-prices.

        Reads files: build it before the event loop runs, as the processor's constructor does.
        """
        sheets = load_shipped_sheets()
        rules = [rule for sheet in sheets for rule in sheet.rules]
        return cls([[rate for sheet in sheets for rate in sheet.rates]], TokenRates(), rules=rules)

    @classmethod
    def load(cls, *paths: str | Path) -> PriceCatalog:
        """Return the default catalog with price files before it, the first file first.

        Raises:
            PriceError: Files have mistakes; it lists file, entry, value and expectation of each.
        """
        sheets: list[PriceSheet] = []
        problems: list[Problem] = []
        for path in paths:
            try:
                sheets.append(load_sheet(Path(path)))
            except PriceError as error:
                problems += error.problems
        if problems:
            raise PriceError(problems)
        catalog = cls.default()
        for sheet in reversed(sheets):
            catalog = catalog.with_sheet(sheet)
        return catalog

    def with_prices(self, prices: Mapping[str, Any] | str) -> PriceCatalog:
        """Return this catalog with custom prices and overrides before all others.

        Args:
            prices: As in ``VOICE_COST_PRICES``: a mapping, or TOML or JSON text.

        Raises:
            PriceError: The prices have mistakes; it lists all of them.
        """
        try:
            text = prices if isinstance(prices, str) else to_json(prices)
        except ValueError as error:
            raise PriceError([Problem(place="with_prices()", value="another one", expected=str(error))]) from None
        sheet = parse_sheet(text, "with_prices()")
        if sheet.problems:
            raise PriceError(sheet.problems)
        return self.with_sheet(sheet)

    def with_sheet(self, sheet: PriceSheet) -> PriceCatalog:
        """Return this catalog with the rates, overrides and rules of a price sheet before all others.

        A sheet of list prices replaces this catalog's list prices and their rules; without a valid rate, nothing.
        """
        if sheet.is_list and not sheet.rates:
            return self
        overrides = self._overrides if sheet.is_list else sheet.overrides.over(self._overrides)
        catalog = PriceCatalog([], self._tokens, overrides=overrides)
        added = Layer.of(sheet.rates, is_list=sheet.is_list)
        if sheet.is_list:
            layers = (*(layer for layer in self._layers if not layer.is_list), added)
            catalog._custom_rules, catalog._list_rules = self._custom_rules, sheet.rules
        else:
            layers = (added, *self._layers) if sheet.rates else self._layers
            catalog._custom_rules, catalog._list_rules = (*sheet.rules, *self._custom_rules), self._list_rules
        catalog._layers = tuple(layer.converted(overrides) for layer in layers)
        return catalog

    def rates(self) -> Iterator[Rate]:
        """Yield all rates of price files and variables in order of precedence. Token rates are not listed."""
        for layer in self._layers:
            yield from layer.rates()

    def names(self) -> set[str]:
        """Return all known models as ``provider/model``; models that only a glob matches have no name."""
        known = {f"{rate.provider}/{name}" for rate in self.rates() for name in rate.model if not is_glob(name)}
        return known if self._tokens is None else known | self._tokens.names()

    def components_of(self, provider: str, model: str, at: datetime) -> set[Component]:
        """Return the components that a model has prices for, by price files, else by genai-prices; empty for none.

        Args:
            provider: Provider id.
            model: Model id.
            at: Time of the usage.
        """
        provider, model = self._overrides.known_as(provider, model)
        found = {
            component
            for component in Component
            for layer in self._layers
            if any(self._matches(layer, provider, model, component, None, at.date()))
        }
        return found if found or self._tokens is None else self._tokens.components_of(provider, model, at)

    def card_for(self, usage: Usage) -> RateCard | None:
        """Return all rates that hold for a usage, with overrides, or None if the model is unknown."""
        key = (usage.provider, usage.model, usage.component, usage.mode, usage.at.date())
        found = self._found.get(key) or self._remember(key)
        if found.card is not None or self._tokens is None:
            return found.card
        card = self._tokens.card_for(found.provider, found.model, usage.component, usage.at)
        if card is None or found.overrides is None:
            return card
        with_overrides = found.with_overrides.get(id(card.rates))
        if with_overrides is None or with_overrides.rates is not card.rates:
            with_overrides = found.with_overrides[id(card.rates)] = replace(found.overrides, rates=card.rates)
        return with_overrides

    def holds_all_day(self, usage: Usage) -> bool:
        """Return True if the rates of a usage hold on all of its day (UTC), whatever the hour."""
        found = self._found.get((usage.provider, usage.model, usage.component, usage.mode, usage.at.date()))
        if found is None or self._tokens is None or found.card is not None:
            return found is not None
        return self._tokens.hold_all_day(found.provider, found.model, usage.component)

    def rate_for(
        self,
        *,
        provider: str,
        model: str,
        component: Component | str,
        unit: Unit | str,
        mode: Mode | str | None = None,
        at: datetime | None = None,
    ) -> Rate | None:
        """Return the rate of one unit of a model, or None if there is none.

        Args:
            provider: Provider id (``deepgram``), any case.
            model: Model id as LiveKit reports it, any case.
            component: ``stt``, ``tts``, ``llm``, ``realtime``, ...
            unit: Billed unit, such as ``audio_second``.
            mode: ``streaming`` or ``batch``; speech-to-text has a price for each.
            at: Time of the usage; the default is now.

        Raises:
            ValueError: ``component``, ``unit`` or ``mode`` is unknown.
        """
        wanted = Unit(unit)
        usage = Usage(
            component=Component(component),
            provider=provider.lower(),
            model=model.lower(),
            at=at or datetime.now(timezone.utc),
            mode=Mode(mode) if mode else None,
        )
        card = self.card_for(usage)
        return card.rate_for(wanted) if card else None

    def rule_for(self, usage: Usage) -> VendorRule:
        """Return the vendor's billing rule for unfinished work; for a usage without amounts, the model's rule."""
        provider, model = self._overrides.known_as(usage.provider, usage.model)
        for rule in chain(self._custom_rules, self._list_rules):  # the first match applies
            is_of_provider = rule.provider == provider and rule.component is usage.component
            if is_of_provider and (not rule.model or any(fits(model, name) for name in rule.model)):
                return rule
        return NO_RULE

    def explain(self, usage: Usage) -> list[Candidate]:
        """Return every rate considered for a usage: those that hold first, the others with the reason.

        All rates of the same provider and component are considered; from genai-prices, those of
        the model it found.
        """
        provider, model = self._overrides.known_as(usage.provider, usage.model)
        card = self.card_for(usage)
        holding = () if card is None else (*card.rates.values(), *card.addons)
        candidates = [Candidate(rate=rate, verdict="add-on" if rate.addon else "holds") for rate in holding]
        answered, day = False, usage.at.date()
        for layer in self._layers:
            index = layer.of_provider(provider, usage.component)
            fitting = [rate for _, rate in index.matches(model)]
            for rate in index.rates:
                if rate in holding:
                    continue
                if answered:
                    verdict = "another source wins"
                elif rate not in fitting:
                    verdict = "another model"
                else:
                    verdict = self._objection(rate, model, usage.mode, day) or "a closer rate holds"
                candidates.append(Candidate(rate=rate, verdict=verdict))
            answered = answered or any(rate in holding for rate in index.rates)
        if answered and self._tokens is not None:
            known = self._tokens.card_for(provider, model, usage.component, usage.at)
            others = known.rates.values() if known else ()
            candidates += [Candidate(rate=rate, verdict="another source wins") for rate in others]
        return candidates

    def _objection(self, rate: Rate, model: str, mode: Mode | None, day: date) -> str | None:
        """Return the reason why a matching rate does not hold, or None if only a closer rate can replace it."""
        if not rate.holds_on(day):
            return "another day"
        if rate.mode is not None and mode is not None and rate.mode is not mode:
            return f"{rate.mode.value} alone"
        if rate.addon and rate.addon not in self._overrides.addons_for(rate.provider, model):
            return f"add-on {rate.addon} is not declared"
        if rate.plan and rate.plan != self._overrides.plans.get(rate.provider):
            return f"plan {rate.plan} is not chosen"
        return None

    def _remember(self, key: tuple[str, str, Component, Mode | None, date]) -> _Found:
        if len(self._found) >= _MAX_REMEMBERED:
            self._found.clear()
        reported_provider, reported_model, component, mode, day = key
        provider, model = self._overrides.known_as(reported_provider, reported_model)
        base = RateCard(
            rates={},
            discount=self._overrides.discount_for(provider, model, day),
            markup=self._overrides.markup_for(provider, model, day),
            display_name=self._overrides.name_for(reported_provider, reported_model)
            or self._overrides.name_for(provider, model),
        )
        card = None
        for layer in self._layers:
            chosen = self._best(layer, provider, model, component, mode, day)
            if chosen:
                discount = base.discount if layer.is_list else _NO_OVERRIDES.discount
                names = [rate.display_name for rate in chosen.values() if rate.display_name]
                name = base.display_name or next(iter(names), None)
                addons = self._addons(provider, model, component, mode, day)
                card = replace(base, rates=chosen, addons=addons, discount=discount, display_name=name)
                break
        overrides = None if base == _NO_OVERRIDES else base
        found = self._found[key] = _Found(provider=provider, model=model, card=card, overrides=overrides)
        return found

    def _matches(
        self, layer: Layer, provider: str, model: str, component: Component, mode: Mode | None, day: date
    ) -> Iterator[tuple[int, Rate]]:
        """Yield the rates that only a closer rate can replace, each with its specificity."""
        for specificity, rate in layer.of_provider(provider, component).matches(model):
            if self._objection(rate, model, mode, day) is None:
                yield specificity, rate

    def _best(
        self, layer: Layer, provider: str, model: str, component: Component, mode: Mode | None, day: date
    ) -> dict[Unit, Rate]:
        """Return the rates of the closest match, one per unit."""
        best: dict[Unit, tuple[tuple[int, bool, int, int], Rate]] = {}
        for specificity, rate in self._matches(layer, provider, model, component, mode, day):
            if rate.addon:
                continue
            dated = int(rate.since is not None) + int(rate.until is not None)
            order = (specificity, rate.plan is not None, dated, int(rate.mode is not None))
            seen = best.get(rate.unit)
            if seen is None or order > seen[0]:
                best[rate.unit] = (order, rate)
        closest = max((order[:2] for order, _ in best.values()), default=None)
        return {unit: rate for unit, (order, rate) in best.items() if order[:2] == closest}

    def _addons(
        self, provider: str, model: str, component: Component, mode: Mode | None, day: date
    ) -> tuple[Rate, ...]:
        """Return the closest rate of each declared feature, custom rates first."""
        if not self._overrides.addons_for(provider, model):
            return ()
        chosen: dict[str, tuple[int, Rate]] = {}
        for layer in self._layers:
            for specificity, rate in self._matches(layer, provider, model, component, mode, day):
                if rate.addon is None:
                    continue
                seen = chosen.get(rate.addon)
                if seen is None or specificity > seen[0]:
                    chosen[rate.addon] = (specificity, rate)
        return tuple(rate for _, rate in chosen.values())


def _no_edition() -> None:
    return None


_NO_OVERRIDES = RateCard(rates={})
