"""The short form of prices: ``{"deepgram/nova-2": {"stt": "0.0043/min"}}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from ..cost import EXACT
from ..usage import BILLED_BY_CALL, Component, Unit
from .problems import refuse, shown
from .rate_entries import RateEntry, read_rate
from .rates import BILLING_RULES, Rate

__all__ = ["short_form_entries"]

# No part can begin with a character that ends an earlier part, so a text matches in only one way.
_PRICE = re.compile(
    r"(?P<price>\d+(?:\.\d+)?)\s*(?:(?P<currency>[A-Z]{3})\s*)?/\s*"
    r"(?:(?P<count>\d+(?:\.\d+)?)\s*)?(?:(?P<scale>[kKM])\s*)?(?P<word>[a-zA-Z_][a-zA-Z0-9_ ]*)"
)
_COUNTABLE = 10**60  # a larger count is slow to convert to an int, and its digits cannot be printed
_SCALE = {None: 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3_600, "hour": 3_600}
_TIMED = {
    **dict.fromkeys(BILLED_BY_CALL, Unit.SESSION_SECOND),
    Component.REALTIME: Unit.SESSION_SECOND,
    Component.STT: Unit.AUDIO_SECOND,
    Component.TTS: Unit.AUDIO_SECOND,
}
_SPOKEN = {
    "byte": Unit.UTF8_BYTE,
    "char": Unit.CHARACTER,
    "character": Unit.CHARACTER,
    "unspaced_character": Unit.UNSPACED_CHARACTER,
    "utf8 byte": Unit.UTF8_BYTE,
    "utf8_byte": Unit.UTF8_BYTE,
    "wide_character": Unit.WIDE_CHARACTER,
}
_TOKENS = {
    Component.LLM: {
        "input": Unit.INPUT_TOKEN,
        "cached_input": Unit.CACHED_INPUT_TOKEN,
        "cache_write": Unit.CACHE_WRITE_TOKEN,
        "output": Unit.OUTPUT_TOKEN,
        "reasoning": Unit.REASONING_TOKEN,
    },
    Component.REALTIME: {
        "input_text": Unit.INPUT_TEXT_TOKEN,
        "cached_input_text": Unit.CACHED_INPUT_TEXT_TOKEN,
        "input_audio": Unit.INPUT_AUDIO_TOKEN,
        "cached_input_audio": Unit.CACHED_INPUT_AUDIO_TOKEN,
        "input_image": Unit.INPUT_IMAGE_TOKEN,
        "cached_input_image": Unit.CACHED_INPUT_IMAGE_TOKEN,
        "output_text": Unit.OUTPUT_TEXT_TOKEN,
        "output_audio": Unit.OUTPUT_AUDIO_TOKEN,
    },
    Component.STT: {
        "input_text": Unit.INPUT_TEXT_TOKEN,
        "input_audio": Unit.INPUT_AUDIO_TOKEN,
        "output_text": Unit.OUTPUT_TEXT_TOKEN,
    },
    Component.TTS: {"input_text": Unit.INPUT_TEXT_TOKEN, "output_audio": Unit.OUTPUT_AUDIO_TOKEN},
}
# Units that "free" covers: all that LiveKit may report for a component.
_FREE = {
    **{component: {Unit.REQUEST, Unit.SESSION_SECOND} for component in BILLED_BY_CALL},
    Component.INTERRUPTION: {Unit.REQUEST},
    Component.LLM: set(_TOKENS[Component.LLM].values()),
    Component.REALTIME: {*_TOKENS[Component.REALTIME].values(), Unit.SESSION_SECOND},
    Component.STT: {*_TOKENS[Component.STT].values(), Unit.AUDIO_SECOND},
    Component.TTS: {*_TOKENS[Component.TTS].values(), Unit.CHARACTER},
    Component.TURN_DETECTION: {Unit.REQUEST},
}
_OPTIONS = ("since", "until", "mode", *BILLING_RULES)
_A_PRICE = 'a price such as "0.0043/min", "50/1M characters", "0.40/1M tokens" or "free"'


def short_form_entries(
    document: Mapping[str, Any], currencies: Mapping[str, Decimal], origin: str
) -> Iterator[RateEntry]:
    """Yield the prices in the short form.

    Args:
        document: ``provider/model`` → component → price; globs are allowed in the model. A price is
            ``"0.0043/min"``, ``"30 INR/10k characters"``, ``"free"``; a table of tokens (``input``,
            ``cached_input``, ``output``, ...); either with ``since``, ``until``, ``mode``, ``minimum``,
            ``increment`` and ``free``, a single price then under ``price``; or a list of these.
        currencies: Amount of each currency that one US dollar buys, by code.
        origin: File or variable, for messages and for `Rate.loaded_from`.
    """
    for key, components in document.items():
        place = f"{origin}, {key}"
        provider, slash, model = key.partition("/")
        if not slash:
            expected = "provider/model, rate, provider, source, checked or a section of overrides"
            yield place, partial(refuse, place, "an unknown key", expected)
        elif not (provider and model):
            yield place, partial(refuse, place, "half a name", "provider/model")
        elif not isinstance(components, dict):
            yield place, partial(refuse, place, shown(components), '{"stt": price}')
        else:
            for name, price in components.items():
                fields = {"provider": provider, "model": model, "component": name, "source": origin}
                yield from _component_entries(price, fields, currencies, origin, f"{place}.{name}")


def _component_entries(
    price: object, fields: Mapping[str, Any], currencies: Mapping[str, Decimal], origin: str, place: str
) -> Iterator[RateEntry]:
    """Yield the entries of one component."""
    try:
        component = Component(fields["component"])
    except ValueError:
        expected = "one of " + ", ".join(component.value for component in Component)
        yield place, partial(refuse, place, shown(fields["component"]), expected)
        return
    for entry in price if isinstance(price, list) else [price]:
        named = dict(entry) if isinstance(entry, dict) else {"price": entry}
        options = {key: named.pop(key) for key in _OPTIONS if key in named}
        if not named:
            yield place, partial(refuse, place, shown(entry), _A_PRICE)
        for part, quote in named.items():
            read_fields = partial(_read_quote, quote, component, part, place)
            yield place, partial(_read_rates, read_fields, {**fields, **options}, currencies, origin, place)


def _read_rates(
    read_fields: Callable[[], list[dict[str, Any]]],
    fields: Mapping[str, Any],
    currencies: Mapping[str, Decimal],
    origin: str,
    place: str,
) -> tuple[Rate, ...]:
    return tuple(read_rate({**fields, **more}, currencies, origin, place) for more in read_fields())


def _read_quote(quote: object, component: Component, part: str, place: str) -> list[dict[str, Any]]:
    """Return unit, price and count of a quote such as ``"0.40/1M tokens"``, once for each unit.

    Raises:
        PriceError: The quote is invalid.
    """
    refuse_as = partial(refuse, place if part == "price" else f"{place}.{part}", shown(quote))
    tokens = _TOKENS.get(component, {})
    if part != "price" and part not in tokens:
        refuse_as("one of " + ", ".join(["price", *_OPTIONS, *tokens]))
    if quote == "free":
        units = [tokens[part]] if part in tokens else sorted(_FREE[component])
        return [{"unit": unit, "usd": Decimal(0)} for unit in units]
    match = _PRICE.fullmatch(quote.strip()) if isinstance(quote, str) else None
    if match is None:
        return refuse_as(_A_PRICE)
    word = match["word"].strip().lower()
    word = word[:-1] if len(word) > 1 and word.endswith("s") else word
    count = EXACT.multiply(Decimal(match["count"] or 1), Decimal(_SCALE[match["scale"]] * _SECONDS.get(word, 1)))
    unit = tokens.get(part) if word == "token" else _unit(word, component) if part == "price" else None
    if unit is None:
        named = f"tokens under {', '.join(tokens)}"
        refuse_as(named if part != "price" else f"a unit of {component.value}" + (f", or {named}" if tokens else ""))
    if not 0 < count < _COUNTABLE or count != int(count):
        refuse_as("a whole number of units above zero, 1,000,000,000,000 at most")
    price = Decimal(match["price"])
    currency = match["currency"] or "USD"
    money = {"usd": price} if currency == "USD" else {"price": price, "currency": currency}
    return [{"unit": unit, "per": int(count), **money}]


def _unit(word: str, component: Component) -> Unit | None:
    if word in _SECONDS:
        return _TIMED.get(component)
    if word == "request":
        return Unit.REQUEST
    return _SPOKEN.get(word) if component is Component.TTS else None
