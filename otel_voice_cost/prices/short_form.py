"""The short form of prices, for a variable: ``{"deepgram/nova-2": {"stt": "0.0043/min"}}``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from ..errors import Problem
from ..usage import Component, Measure, Unit
from .rates import Rate

__all__ = ["parse_short_form"]

_PRICE = re.compile(
    r"(?P<usd>\d+(?:\.\d+)?)\s*/\s*(?P<count>\d+(?:\.\d+)?)?\s*(?P<scale>[kKM])?\s*(?P<word>[a-zA-Z0-9_ ]+)"
)
_SCALE = {None: 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3_600, "hour": 3_600}
_TIMED = {
    Component.LLM: None,
    Component.REALTIME: Unit.SESSION_SECOND,
    Component.STT: Unit.AUDIO_SECOND,
    Component.TTS: Unit.AUDIO_SECOND,
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
_UNITS = {
    Component.LLM: set(_TOKENS[Component.LLM].values()),
    Component.REALTIME: {*_TOKENS[Component.REALTIME].values(), Unit.SESSION_SECOND},
    Component.STT: {*_TOKENS[Component.STT].values(), Unit.AUDIO_SECOND},
    Component.TTS: {*_TOKENS[Component.TTS].values(), Unit.CHARACTER},
}


def parse_short_form(text: str, origin: str) -> tuple[list[Rate], list[Problem]]:
    """Return the sound rates of a variable and every problem with the others.

    Args:
        text: A JSON object: ``provider/model`` → component → price. A price is ``"0.0043/min"``,
            ``"50/1M characters"``, ``"free"``, or an object of such with ``input``,
            ``cached_input``, ``output``, ... as keys. Dollars; globs are allowed in the model.
        origin: Name of the variable, for messages and for `Rate.origin`.
    """
    if not text.strip():
        return [], []
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [], [Problem(place=origin, value="no JSON", expected=f"JSON: {error}")]
    if not isinstance(document, dict):
        return [], [Problem(place=origin, value=type(document).__name__, expected="an object")]
    rates: list[Rate] = []
    problems: list[Problem] = []
    for key, components in document.items():
        provider, slash, model = key.partition("/")
        if not (provider and slash and model):
            problems.append(Problem(place=f"{origin}, {key}", value="no slash", expected="provider/model"))
        elif not isinstance(components, dict):
            problems.append(Problem(place=f"{origin}, {key}", value=repr(components)[:60], expected='{"stt": price}'))
        else:
            for name, price in components.items():
                found = list(_read(provider.lower(), model.lower(), name, price, f"{origin}, {key}.{name}", origin))
                rates += [item for item in found if isinstance(item, Rate)]
                problems += [item for item in found if isinstance(item, Problem)]
    return rates, problems


def _read(provider: str, model: str, name: str, price: object, place: str, origin: str) -> Iterator[Rate | Problem]:
    try:
        component = Component(name)
    except ValueError:
        yield Problem(place=place, value=repr(name), expected="one of " + ", ".join(c.value for c in Component))
        return

    def rate(unit: Unit, usd: Decimal, per: int) -> Rate:
        return Rate(
            provider=provider,
            model=(model,),
            component=component,
            unit=unit,
            usd=usd,
            per=per,
            origin=origin,
            source=origin,
        )

    if price == "free":
        yield from (rate(unit, Decimal(0), 1) for unit in sorted(_UNITS[component]))
        return
    named: Mapping[str, object] = price if isinstance(price, dict) else {"": price}
    for part, quote in named.items():
        where = f"{place}.{part}" if part else place
        found = _quote(quote, component, part)
        yield rate(*found) if isinstance(found, tuple) else Problem(place=where, value=repr(quote)[:60], expected=found)


def _quote(quote: object, component: Component, part: str) -> tuple[Unit, Decimal, int] | str:
    """The unit, dollars and count of a quote such as ``"0.40/1M tokens"``, or what was expected."""
    tokens = _TOKENS[component]
    match = _PRICE.fullmatch(quote.strip()) if isinstance(quote, str) else None
    if match is None:
        return 'a price such as "0.0043/min", "50/1M characters", "0.40/1M tokens" or "free"'
    word = match["word"].strip().lower()
    word = word[:-1] if len(word) > 1 and word.endswith("s") and word != "s" else word
    count = Decimal(match["count"] or 1) * _SCALE[match["scale"]]
    if word in _SECONDS and (timed := _TIMED[component]):
        unit, count = timed, count * _SECONDS[word]
    elif word in ("character", "char") and component is Component.TTS:
        unit = Unit.CHARACTER
    elif word in ("byte", "utf8_byte", "utf8 byte") and component is Component.TTS:
        unit = Unit.UTF8_BYTE
    elif word == "request":
        unit = Unit.REQUEST
    elif word == "token" and part in tokens:
        unit = tokens[part]
    else:
        return f"a unit of {component.value}" + (f", or tokens under {', '.join(tokens)}" if word == "token" else "")
    if (
        count != int(count)
        or count <= 0
        or (part and unit.measure is not Measure.TOKEN and part not in ("session", "audio"))
    ):
        return "a whole number of units above zero" if not part else f"tokens under {', '.join(tokens)}"
    return unit, Decimal(match["usd"]), int(count)
