"""All rates, and which of them holds for a usage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path

from ..usage import Component, Mode, Unit, Usage
from .loading import load_rates, load_shipped_rates
from .rates import Rate, RateCard, Tier
from .tokens import TokenRates

__all__ = ["PriceCatalog", "Rate", "RateCard", "Tier"]

_MAX_REMEMBERED = 4_096  # looked-up cards; more are looked up anew
_EXACT = 1_000_000  # above the length of any glob


class PriceCatalog:
    """Finds the rates of a model: your rates first, then shipped voice rates, then genai-prices.

    The first of the three that knows the model answers for it alone; rates of two are never mixed.
    Within one, the exact id beats a glob, the longer glob the shorter, a rate with first or last
    day one without, and a rate for the mode one for any.

    Safe to read from any thread; immutable after construction.
    """

    def __init__(self, layers: Iterable[Sequence[Rate]], tokens: TokenRates | None = None) -> None:
        """Build from layers of rates, first wins, and the token rates to ask last.

        Most callers want `default` or `load`.
        """
        self._layers = tuple(_index(layer) for layer in layers)
        self._tokens = tokens
        self._found: dict[tuple[str, str, Component, Mode | None, date], RateCard | None] = {}

    @classmethod
    def default(cls) -> PriceCatalog:
        """The shipped voice rates and the token rates of genai-prices.

        Reads files: build it before the event loop runs, as the processor's constructor does.
        """
        return cls([load_shipped_rates()], TokenRates())

    @classmethod
    def load(cls, *paths: str | Path) -> PriceCatalog:
        """The default catalogue with the rates of your price files before it.

        Raises:
            PriceError: With every mistake in every file: file, entry, value and expectation.
        """
        return cls.default().with_rates([rate for path in paths for rate in load_rates(Path(path))])

    def with_rates(self, rates: Sequence[Rate]) -> PriceCatalog:
        """This catalogue with ``rates`` before all others."""
        catalog = PriceCatalog([], self._tokens)
        catalog._layers = (_index(rates), *self._layers)
        return catalog

    def rates(self) -> Iterator[Rate]:
        """All rates of price files and variables, the ones that win first. Token rates are looked up, not listed."""
        for layer in self._layers:
            for rates in layer.values():
                yield from rates

    def card_for(self, usage: Usage) -> RateCard | None:
        """All rates that hold for a usage, or None where the model is not known."""
        key = (usage.provider, usage.model, usage.component, usage.mode, usage.at.date())
        try:
            card = self._found[key]
        except KeyError:
            card = self._remember(key)
        if card is None and self._tokens is not None:
            card = self._tokens.card_for(usage)
        return card

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
        """The rate of one unit of a model, or None.

        Args:
            provider: Provider id (``deepgram``), any case.
            model: Model id as LiveKit reports it, any case.
            component: ``stt``, ``tts``, ``llm`` or ``realtime``.
            unit: What is billed, e.g. ``audio_second``.
            mode: ``streaming`` or ``batch``; speech-to-text has a price for each.
            at: Moment of the usage; now where left out.

        Raises:
            ValueError: ``component``, ``unit`` or ``mode`` is none of theirs.
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

    def _remember(self, key: tuple[str, str, Component, Mode | None, date]) -> RateCard | None:
        if len(self._found) >= _MAX_REMEMBERED:
            self._found.clear()
        provider, model, component, mode, day = key
        for layer in self._layers:
            card = _best(layer.get((provider, component), ()), model, mode, day)
            if card is not None:
                break
        else:
            card = None
        self._found[key] = card
        return card


_Index = dict[tuple[str, Component], list[Rate]]


def _index(rates: Sequence[Rate]) -> _Index:
    index: _Index = defaultdict(list)
    for rate in rates:
        index[rate.provider, rate.component].append(rate)
    return dict(index)


def _best(rates: Iterable[Rate], model: str, mode: Mode | None, day: date) -> RateCard | None:
    """The card of the closest match, one rate per unit, or None."""
    matches: dict[Unit, tuple[tuple[int, int, int], Rate]] = {}
    closest = 0
    for rate in rates:
        closeness = _closeness(rate.model, model)
        if not closeness or not _holds(rate, mode, day):
            continue
        closest = max(closest, closeness)
        order = (closeness, int(rate.since is not None) + int(rate.until is not None), int(rate.mode is not None))
        seen = matches.get(rate.unit)
        if seen is None or order > seen[0]:
            matches[rate.unit] = (order, rate)
    chosen = {unit: rate for unit, (order, rate) in matches.items() if order[0] == closest}
    return RateCard(rates=chosen) if chosen else None


def _closeness(patterns: tuple[str, ...], model: str) -> int:
    """0 for no match, more for a closer one: literal characters of the glob, plus one."""
    if model in patterns:
        return _EXACT
    return max((len(p.replace("*", "")) + 1 for p in patterns if "*" in p and fnmatchcase(model, p)), default=0)


def _holds(rate: Rate, mode: Mode | None, day: date) -> bool:
    return (rate.mode is None or mode is None or rate.mode is mode) and rate.holds_on(day)
