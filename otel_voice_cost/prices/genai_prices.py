"""Convert token rates of the genai-prices package to this package's rates.

genai-prices has one price per kind of token; a more general price covers kinds without one.
`RateCard.rate_for` does the same. Its constraints (first day, time of day) and tiers are kept.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices

from ..usage import Component, Unit
from .rates import Rate, RateCard, Tier

__all__ = ["TokenRates"]

_MAX_REMEMBERED = 4_096
_MILLION = 1_000_000

_TEXT_MODEL = {
    "input_mtok": (Unit.INPUT_TOKEN, _MILLION),
    "cache_read_mtok": (Unit.CACHED_INPUT_TOKEN, _MILLION),
    "cache_write_mtok": (Unit.CACHE_WRITE_TOKEN, _MILLION),
    "output_mtok": (Unit.OUTPUT_TOKEN, _MILLION),
    "output_reasoning_mtok": (Unit.REASONING_TOKEN, _MILLION),
}
_AUDIO_MODEL = {
    "input_mtok": (Unit.INPUT_TEXT_TOKEN, _MILLION),
    "cache_read_mtok": (Unit.CACHED_INPUT_TEXT_TOKEN, _MILLION),
    "output_mtok": (Unit.OUTPUT_TEXT_TOKEN, _MILLION),
    "input_audio_mtok": (Unit.INPUT_AUDIO_TOKEN, _MILLION),
    "cache_audio_read_mtok": (Unit.CACHED_INPUT_AUDIO_TOKEN, _MILLION),
    "output_audio_mtok": (Unit.OUTPUT_AUDIO_TOKEN, _MILLION),
    "input_image_mtok": (Unit.INPUT_IMAGE_TOKEN, _MILLION),
    "cache_image_read_mtok": (Unit.CACHED_INPUT_IMAGE_TOKEN, _MILLION),
    "input_mchars": (Unit.CHARACTER, _MILLION),
}
_PRICE_KEYS = {
    Component.LLM: _TEXT_MODEL,
    Component.REALTIME: {
        **_AUDIO_MODEL,
        "audio_hours": (Unit.SESSION_SECOND, 3_600),
        "input_text_messages_kcount": (Unit.REQUEST, 1_000),
    },
    Component.STT: {**_AUDIO_MODEL, "audio_hours": (Unit.AUDIO_SECOND, 3_600)},
    Component.TTS: _AUDIO_MODEL,
}
# Units that only models of a component have a price for; all models have a price of text.
_TELLING = {
    Component.LLM: {Unit.INPUT_TOKEN, Unit.OUTPUT_TOKEN},
    Component.REALTIME: {Unit.INPUT_AUDIO_TOKEN, Unit.OUTPUT_AUDIO_TOKEN, Unit.SESSION_SECOND, Unit.REQUEST},
    Component.STT: {Unit.AUDIO_SECOND},
    Component.TTS: {Unit.CHARACTER},
}
_NOTHING: dict[str, tuple[Unit, int]] = {}

# Provider ids that genai-prices spells differently.
_PROVIDERS = {"fireworksai": "fireworks", "mistralai": "mistral", "xai": "x-ai"}

_Cards = tuple[tuple[Any, RateCard], ...]  # constraint or None, and the card; the last active one applies


class TokenRates:
    """Looks up each model in genai-prices once and caches its cards.

    Attributes:
        edition: Returns the data that genai-prices uses now.

    The data of genai-prices is imported and built with the first instance of this class. If the
    application loads newer data into genai-prices, the next look-up uses it.
    """

    def __init__(self) -> None:
        self.edition = data_snapshot.get_snapshot
        self._snapshot = self.edition()
        self._origin = f"genai-prices {version('genai-prices')}"
        self._found: dict[tuple[str, str, Component], _Cards] = {}
        self._provider("warm.invalid")  # its first look-up of a host compiles a pattern of each provider: 2 ms

    def card_for(self, provider: str, model: str, component: Component, at: datetime) -> RateCard | None:
        """Return the rates that hold for a model at a given time, or None if genai-prices has none."""
        key = (provider, model, component)
        if self._snapshot is not self.edition():
            self._snapshot = self.edition()
            self._found = {}
        cards = self._found.get(key)
        if cards is None:
            if len(self._found) >= _MAX_REMEMBERED:
                self._found.clear()
            cards = self._found[key] = self._compiled(*key)
        for constraint, card in reversed(cards):
            if constraint is None or constraint.active(at):
                return card
        return cards[0][1] if cards else None

    def components_of(self, provider: str, model: str, at: datetime) -> set[Component]:
        """Return the components that a model can be by the kinds of its prices, which do not state them."""
        cards = {component: self.card_for(provider, model, component, at) for component in _TELLING}
        return {c for c, card in cards.items() if card is not None and card.rates.keys() & _TELLING[c]}

    def names(self) -> set[str]:
        """Return all models as ``provider/model``."""
        ids = {theirs: own for own, theirs in _PROVIDERS.items()}
        return {f"{ids.get(p.id, p.id)}/{model.id}" for p in self.edition().providers for model in p.models}

    def hold_all_day(self, provider: str, model: str, component: Component) -> bool:
        """Return True if no rate of a model depends on the time of day. The model was looked up before."""
        cards = self._found.get((provider, model, component), ())
        return all(constraint is None or isinstance(constraint, StartDateConstraint) for constraint, _ in cards)

    def _compiled(self, provider_id: str, model_id: str, component: Component) -> _Cards:
        gateway = provider_id == "livekit" and "/" in model_id
        if gateway:  # LiveKit Inference passes on its vendors' token prices
            provider_id, model_id = model_id.split("/", 1)
        provider = self._provider(provider_id)
        model = provider.find_model(model_id, all_providers=self._snapshot.providers) if provider else None
        if provider is None or model is None:
            return ()
        prices = (
            [(None, model.prices)]
            if isinstance(model.prices, ModelPrice)
            else [(conditional.constraint, conditional.prices) for conditional in model.prices]
        )
        cards = []
        for constraint, price in prices:
            since = constraint.start_date if isinstance(constraint, StartDateConstraint) else None
            rates = self._rates(provider, model, component, price, since, estimated=gateway)
            if rates:
                cards.append((constraint, RateCard(rates=rates)))
        return tuple(cards)

    def _provider(self, provider_id: str) -> Provider | None:
        wanted = _PROVIDERS.get(provider_id, provider_id)
        for provider in self._snapshot.providers:
            if provider.id == wanted:
                return provider
        if "." not in wanted:
            return None
        try:  # a host, as OpenAI-compatible plugins report it
            return self._snapshot.find_provider(None, None, f"https://{wanted}")
        except LookupError:
            return None

    def _rates(
        self,
        provider: Provider,
        model: ModelInfo,
        component: Component,
        price: ModelPrice,
        since: date | None,
        *,
        estimated: bool,
    ) -> dict[Unit, Rate]:
        rates = {}
        for key, (unit, per) in _PRICE_KEYS.get(component, _NOTHING).items():
            value: Decimal | TieredPrices | None = vars(price).get(key)
            if value is None:
                continue
            tiered = isinstance(value, TieredPrices)
            rates[unit] = Rate(
                provider=provider.id,
                model=(model.id,),
                component=component,
                unit=unit,
                usd=value.base if isinstance(value, TieredPrices) else value,
                per=per,
                tiers=tuple(Tier(above=t.start, usd=t.price) for t in value.tiers) if tiered else (),  # type: ignore[union-attr]
                since=since,
                source=(provider.pricing_urls or [""])[0],
                loaded_from=self._origin,
                confidence="low" if estimated else "high",
            )
        return rates
