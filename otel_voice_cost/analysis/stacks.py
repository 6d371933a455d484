"""Stacks of models to compare past calls with, and their check against the catalog before any file is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ..errors import Problem
from ..prices.catalog import PriceCatalog
from ..prices.globs import is_glob
from ..prices.names import nearest_models, split_name
from ..usage import Component

__all__ = ["Stack", "Swap", "check_stacks", "nearest"]

_ONE_COMPONENT = "models of one component"


class Swap(NamedTuple):
    """A model in place of another. Both are ``provider/model`` in lower case, as the catalog spells them.

    Attributes:
        old: The model of the calls, or a glob: ``elevenlabs/*``.
        new: The model in its place.
    """

    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Swaps that are made together.

    Attributes:
        name: Shown above its costs.
        swaps: The swaps; each model of the calls is swapped by the first that fits.
        place: The option that it was read from, for messages.
    """

    name: str
    swaps: tuple[Swap, ...]
    place: str


def check_stacks(stacks: Sequence[Stack], catalog: PriceCatalog, at: datetime) -> list[Problem]:
    """Return the swaps that no call can be priced by: an unknown model, or one of another component.

    Args:
        stacks: The stacks.
        catalog: The prices.
        at: The time whose prices must know the models.
    """
    problems = [problem for stack in stacks for swap in stack.swaps for problem in _check(stack, swap, catalog, at)]
    for stack in stacks:
        twice = {swap.old for swap in stack.swaps if [other.old for other in stack.swaps].count(swap.old) > 1}
        problems += [Problem(stack.place, f"{name} twice", "one swap for each model") for name in sorted(twice)]
    names = [stack.name for stack in stacks]
    twice = {name for name in names if names.count(name) > 1}
    return problems + [Problem("--stack", f"{name} twice", "a name for each stack") for name in sorted(twice)]


def _check(stack: Stack, swap: Swap, catalog: PriceCatalog, at: datetime) -> Iterator[Problem]:
    new = catalog.components_of(*split_name(swap.new), at)
    if not new:
        names = catalog.names()
        if swap.new in names:
            yield Problem(stack.place, swap.new, f"a model that has a price on {at.date()}")
        else:
            yield Problem(stack.place, swap.new, f"a model of the catalog{nearest(swap.new, names)}")
        return
    old = set() if is_glob(swap.old) else catalog.components_of(*split_name(swap.old), at)
    if old and not old & new:
        value = f"{swap.old} ({_list(old)}) = {swap.new} ({_list(new)})"
        yield Problem(stack.place, value, _ONE_COMPONENT)


def _list(components: Iterable[Component]) -> str:
    return ", ".join(sorted(component.value for component in components))


def nearest(name: str, names: Collection[str]) -> str:
    """Return the names closest to another as the end of a sentence."""
    found = nearest_models(name, names)
    return f", such as {', '.join(found)}" if found else ""
