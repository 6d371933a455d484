"""Find rates by provider, component and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..usage import Component
from .globs import GlobIndex
from .overrides import Overrides
from .rates import Rate

__all__ = ["Layer", "ModelIndex"]

_EXACT_ID = 1_000_000  # specificity of an exact id, higher than that of any glob


class ModelIndex:
    """The rates of one provider and component, found by model. Immutable.

    Attributes:
        rates: All rates in order of precedence.
    """

    def __init__(self, rates: Iterable[Rate]) -> None:
        """Index the rates by their ids and globs."""
        self.rates = tuple(rates)
        self._ids: defaultdict[str, list[int]] = defaultdict(list)
        globs = []
        for number, rate in enumerate(self.rates):
            for name in rate.model:
                self._ids[name].append(number)
                if "*" in name:
                    globs.append((name, number))
        self._globs = tuple(globs)
        self._index = GlobIndex(name for name, _ in globs)

    def matches(self, model: str) -> list[tuple[int, Rate]]:
        """Return the rates that match a model, in their order, each after its specificity.

        Specificity is the number of literal characters of a glob; it is highest for the exact id.
        """
        found: dict[int, int] = {}
        for position in self._index.fitting(model):
            name, number = self._globs[position]
            found[number] = max(found.get(number, 0), len(name.replace("*", "")) + 1)
        found.update(dict.fromkeys(self._ids.get(model, ()), _EXACT_ID))
        return [(found[number], self.rates[number]) for number in sorted(found)]


_EMPTY = ModelIndex(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The rates of one source.

    Attributes:
        index: By provider and component.
        is_list: True if they are list prices, which discounts apply to.
    """

    index: Mapping[tuple[str, Component], ModelIndex]
    is_list: bool

    @classmethod
    def of(cls, rates: Iterable[Rate], *, is_list: bool) -> Layer:
        """Return a layer of rates; the first of equal rates takes precedence."""
        groups: defaultdict[tuple[str, Component], list[Rate]] = defaultdict(list)
        for rate in rates:
            groups[rate.provider, rate.component].append(rate)
        return cls(index={key: ModelIndex(found) for key, found in groups.items()}, is_list=is_list)

    def rates(self) -> Iterator[Rate]:
        """Yield all rates, by provider and component."""
        for index in self.index.values():
            yield from index.rates

    def of_provider(self, provider: str, component: Component) -> ModelIndex:
        """Return the rates of a provider's component; empty if there are none."""
        return self.index.get((provider, component), _EMPTY)

    def converted(self, overrides: Overrides) -> Layer:
        """Return the layer converted by these exchange rates, or itself if none applies."""
        if not any(rate.native and rate.native.currency in overrides.currencies for rate in self.rates()):
            return self
        return Layer.of(map(overrides.converted, self.rates()), is_list=self.is_list)
