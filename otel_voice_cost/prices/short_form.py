"""The short form of prices: ``{"deepgram/nova-2": {"stt": "0.0043/min"}}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

from ..cost import EXACT
from ..usage import BILLED_BY_CALL, Component, Unit
from .problems import nearest, refuse, shown
from .rate_entries import RateEntry, read_rate
from .rates import BILLING_RULES, Rate
from .shipped import nearest_model

__all__ = ["short_form_entries"]

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d\d?)?"
# No part can begin with a character that ends an earlier part, so a text matches in only one way.
_PRICE = re.compile(
    rf"(?:\$\s*)?(?P<price>{_NUMBER})\s*(?:(?P<currency>[A-Z]{{3}})\s*)?(?:/|per\s)\s*"
    r"(?:(?P<count>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)\s*)?(?P<word>[a-zA-Z_][a-zA-Z0-9_ ]*)"
)
_LONGEST_NUMBER, _LONGEST_UNIT = 20, 60
_COUNTABLE = 10**60  # a larger count is slow to convert to an int, and its digits cannot be printed
_SCALE = {"thousand": 1_000, "million": 1_000_000, "k": 1_000, "K": 1_000, "M": 1_000_000}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3_600, "hr": 3_600, "hour": 3_600}
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
    "unspaced character": Unit.UNSPACED_CHARACTER,
    "utf8 byte": Unit.UTF8_BYTE,
    "wide character": Unit.WIDE_CHARACTER,
}
_TOKEN = ("token", "tok")
_WORDS = {*_SECONDS, *_SPOKEN, *_TOKEN, "request"}
_PER = re.compile(r"per[_ ]+", re.IGNORECASE)
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
_SECTIONS = ["provider", "source", "checked", "rate", "rule"]
_SECTIONS += ["addon", "alias", "currency", "discount", "markup", "name", "plan"]
_EXAMPLES = {
    Component.INTERRUPTION: '"0.001/request"',
    Component.LLM: '{"input": "0.40/1M tokens", "output": "1.60/1M tokens"}',
    Component.REALTIME: '{"input_audio": "32/1M tokens", "output_audio": "64/1M tokens"}, "0.08/min"',
    Component.STT: '"0.0043/min"',
    Component.TTS: '"50/1M characters"',
    Component.TURN_DETECTION: '"0.001/request"',
}  # of all others: by time
_USUAL = {
    Component.INTERRUPTION: ("request",),
    Component.LLM: ("request",),
    Component.STT: ("min", "hour"),
    Component.TTS: ("character", "1M characters"),
    Component.TURN_DETECTION: ("request",),
}  # units of a number without one


def short_form_entries(
    document: Mapping[str, Any], currencies: Mapping[str, Decimal], origin: str
) -> Iterator[RateEntry]:
    """Yield the prices in the short form.

    Args:
        document: ``provider/model`` → component → price; globs are allowed in the model. A price is
            ``"0.0043/min"``, ``"$0.0043 per minute"``, ``"30 INR/10k characters"``, ``"free"``; a number under its
            unit (``per_minute``, ``per_1M_characters``); a table of tokens (``input``, ``cached_input``, ``output``,
            ...); any of them with ``since``, ``until``, ``mode``, ``minimum``, ``increment`` and ``free``, a single
            price then under ``price``; or a list of these.
        currencies: Amount of each currency that one US dollar buys, by code.
        origin: File or variable, for messages and for `Rate.loaded_from`.
    """
    for key, components in document.items():
        place = f"{origin}, {key}"
        provider, slash, model = key.partition("/")
        if not slash:
            yield place, partial(_refuse_key, place, key)
        elif not (provider and model):
            yield place, partial(refuse, place, "half a name", "provider/model")
        elif not isinstance(components, dict):
            expected = 'a price by component, such as {"stt": "0.0043/min"}'
            yield place, partial(refuse, place, shown(components), expected)
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
        expected = nearest(fields["component"], [component.value for component in Component])
        yield place, partial(refuse, place, shown(fields["component"]), expected)
        return
    for entry in price if isinstance(price, list) else [price]:
        named = dict(entry) if isinstance(entry, dict) else {"price": entry}
        options = {key: named.pop(key) for key in _OPTIONS if key in named}
        if not named:
            yield place, partial(refuse, place, shown(entry), _a_price(component))
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
    is_number = isinstance(quote, (int, Decimal)) and not isinstance(quote, bool) and Decimal(quote).is_finite()
    text = str(quote).strip() if is_number or isinstance(quote, str) else ""
    if part != "price" and part not in tokens:
        unit_words = _PER.sub("", part[:_LONGEST_UNIT], count=1).replace("_", " ")
        if not _is_unit(unit_words):
            refuse_as(nearest(part, ["price", *_OPTIONS, *tokens]) + f", or a unit: {_units(component)}")
        text, part = f"{text}/{unit_words}", "price"
    elif is_number:
        refuse_as(f"the price with its unit, such as {_with_unit(text[:_LONGEST_NUMBER], component, part)}")
    if text == "free":
        units = [tokens[part]] if part in tokens else sorted(_FREE[component])
        return [{"unit": unit, "usd": Decimal(0)} for unit in units]
    match = _PRICE.fullmatch(text)
    if match is None:
        return refuse_as(_a_price(component, part))
    scale, word = _split_scale(match["word"])
    count = EXACT.multiply(Decimal((match["count"] or "1").replace(",", "")), Decimal(scale * _SECONDS.get(word, 1)))
    unit = tokens.get(part) if word in _TOKEN else _unit(word, component) if part == "price" else None
    if unit is None:
        named = f"tokens under {', '.join(tokens)}"
        expected = f"a unit of {component.value}: {_units(component)}" + (f"; or {named}" if tokens else "")
        refuse_as(expected if part == "price" else named)
    if not 0 < count < _COUNTABLE or count != int(count):
        refuse_as("a whole number of units above zero, 1,000,000,000,000 at most")
    price = Decimal(match["price"])
    currency = match["currency"] or "USD"
    money = {"usd": price} if currency == "USD" else {"price": price, "currency": currency}
    return [{"unit": unit, "per": int(count), **money}]


def _is_unit(words: str) -> bool:
    """Return True for a unit with or without a count, such as ``minute`` or ``1M characters``."""
    match = _PRICE.fullmatch(f"1/{words}")
    return match is not None and _split_scale(match["word"])[1] in _WORDS


def _split_scale(text: str) -> tuple[int, str]:
    """Return the scale before a unit, 1 if there is none, and the unit in the singular."""
    words = " ".join(text.replace("_", " ").split())
    whole = _singular(words)
    for name, scale in _SCALE.items():
        rest = _singular(words.removeprefix(name).lstrip())
        if whole not in _WORDS and words.startswith(name) and rest:
            return scale, rest
    return 1, whole


def _singular(words: str) -> str:
    words = words.lower()
    return words[:-1] if len(words) > 1 and words.endswith("s") else words


def _unit(word: str, component: Component) -> Unit | None:
    if word in _SECONDS:
        return _TIMED.get(component)
    if word == "request":
        return Unit.REQUEST
    return _SPOKEN.get(word) if component is Component.TTS else None


def _units(component: Component) -> str:
    """Return the units of a component by which a price may be given, without tokens."""
    words = ["character", "byte"] if component is Component.TTS else []
    words += ["s", "min", "hour"] if component in _TIMED else []
    return ", ".join([*words, "request"])


def _a_price(component: Component, part: str = "price") -> str:
    """Return what a price of a component looks like."""
    example = _EXAMPLES.get(component, '"0.01/min"') if part == "price" else '"0.40/1M tokens"'
    return f'a price such as {example} or "free"'


def _with_unit(number: str, component: Component, part: str) -> str:
    """Return a number with the usual units."""
    units = _USUAL.get(component, ("min",)) if part == "price" else ("1M tokens",)
    return " or ".join(f'"{number}/{unit}"' for unit in units)


def _refuse_key(place: str, key: str) -> NoReturn:
    """Refuse a key that is neither a model nor a section; name the nearest one."""
    near, model = nearest(key, _SECTIONS), nearest_model(key)
    expected = "provider/model" + (f", such as {model}" if model else "")
    if model is None:
        expected += (
            f", or {near}" if near in _SECTIONS else ", rate, provider, source, checked or a section of overrides"
        )
    refuse(place, "an unknown key", expected)
