"""Step 5: cost → attributes. One module per backend; its name is the name in ``VOICE_COST_DIALECTS``.

A dialect module has ``cost_attributes`` and, where spans that only repeat a model need something
said, ``repeat_attributes``. A dialect adds beside what LiveKit and the agent set.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ..cost import Cost
from ..errors import Problem

__all__ = ["Dialects", "SpanFacts", "available_dialects", "dialect_problems"]

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFacts:
    """What a dialect may want to know of the span it writes to."""

    name: str
    attributes: Mapping[str, Any]
    is_error: bool


def available_dialects() -> frozenset[str]:
    """Names of the dialects that ship with the package."""
    return frozenset(module.name for module in pkgutil.iter_modules(__path__) if module.name != "voice_cost")


def dialect_problems(names: Iterable[str]) -> list[Problem]:
    """A problem for each name that is no dialect."""
    available = available_dialects()
    expected = "one of " + ", ".join(sorted(available))
    return [
        Problem(place="VOICE_COST_DIALECTS", value=repr(name), expected=expected)
        for name in names
        if name not in available
    ]


class Dialects:
    """The chosen dialects, and ours, as one."""

    def __init__(self, names: tuple[str, ...], *, speech_as_tokens: bool) -> None:
        """Import the dialects.

        Args:
            names: From `available_dialects`.
            speech_as_tokens: Whether speech billed by characters or seconds is written as tokens
                too, for dashboards that read nothing else.
        """
        self._speech_as_tokens = speech_as_tokens
        self._modules: list[ModuleType] = [import_module(f"{__name__}.{name}") for name in (*names, "voice_cost")]

    def cost_attributes(self, cost: Cost, span: SpanFacts) -> Attributes:
        """Attributes for a span that bills."""
        attributes: Attributes = {}
        for module in self._modules:
            attributes.update(module.cost_attributes(cost, span, speech_as_tokens=self._speech_as_tokens))
        return attributes

    def repeat_attributes(self, span: SpanFacts) -> Attributes:
        """Attributes for a span that names a model and bills nothing."""
        attributes: Attributes = {}
        for module in self._modules:
            if hasattr(module, "repeat_attributes"):
                attributes.update(module.repeat_attributes(span))
        return attributes
