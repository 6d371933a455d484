"""Step 5: cost → attributes. One module per backend; its name is the name in ``VOICE_COST_DIALECTS``.

A dialect module has ``cost_attributes(cost, span, options)``. It may have ``repeat_attributes(span, options)``
for spans that only repeat a model, ``session_attributes(record, trace)`` for ``agent_session``, and ``CONFLICTS``,
names of dialects that it cannot run beside. A dialect adds beside what LiveKit and the agent set.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from ..bill import CallCost, TraceCost
from ..cost import Cost
from ..errors import Problem

__all__ = [
    "Dialects",
    "Options",
    "SpanFacts",
    "as_doubles",
    "available_dialects",
    "dialect_problems",
    "known_dialects",
]

Attributes = dict[str, Any]


class SpanFacts(NamedTuple):
    """What a dialect may want to know of the span it writes to."""

    name: str
    attributes: Mapping[str, Any]
    is_error: bool


class Options(NamedTuple):
    """Settings that concern dialects.

    Attributes:
        speech_as_tokens: Whether speech billed by characters or seconds counts as tokens too, for
            dashboards that read nothing else.
        langfuse_content: Whether Langfuse is shown what was said.
    """

    speech_as_tokens: bool = True
    langfuse_content: bool = False


def as_doubles(amounts: Mapping[str, Decimal | None]) -> Attributes:
    """The amounts that are known, as doubles."""
    return {key: float(usd) for key, usd in amounts.items() if usd is not None}


def available_dialects() -> frozenset[str]:
    """Names of the dialects that ship with the package."""
    return frozenset(module.name for module in pkgutil.iter_modules(__path__) if module.name != "voice_cost")


def dialect_problems(names: Iterable[str]) -> list[Problem]:
    """A problem for each name that is no dialect, and for each that another rules out."""
    names = tuple(names)
    available = available_dialects()
    expected = "one of " + ", ".join(sorted(available))
    problems = [
        Problem(place="VOICE_COST_DIALECTS", value=repr(name), expected=expected)
        for name in names
        if name not in available
    ]
    return problems + [
        Problem(
            place="VOICE_COST_DIALECTS",
            value=f"{name} beside {other}",
            expected="one of the two, for stores that nest keys reject both",
        )
        for name in names
        for other in _ruled_out(name, names)
    ]


def known_dialects(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are dialects, but for those that another of them rules out."""
    available = available_dialects()
    known = tuple(name for name in names if name in available)
    return tuple(name for name in known if not _ruled_out(name, known))


def _ruled_out(name: str, names: tuple[str, ...]) -> list[str]:
    """The dialects among ``names`` that a dialect cannot run beside."""
    conflicts = getattr(_module(name), "CONFLICTS", ()) if name in available_dialects() else ()
    return [other for other in conflicts if other in names]


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")


class Dialects:
    """The chosen dialects, and ours, as one."""

    def __init__(self, names: tuple[str, ...], options: Options) -> None:
        """Import the dialects.

        Args:
            names: From `known_dialects`.
            options: Settings that concern them.
        """
        self._options = options
        self._modules = [_module(name) for name in (*names, "voice_cost")]

    def cost_attributes(self, cost: Cost, span: SpanFacts) -> Attributes:
        """Attributes for a span that bills."""
        attributes: Attributes = {}
        for module in self._modules:
            attributes.update(module.cost_attributes(cost, span, self._options))
        return attributes

    def repeat_attributes(self, span: SpanFacts) -> Attributes:
        """Attributes for a span that names a model and bills nothing."""
        attributes: Attributes = {}
        for module in self._modules:
            if hasattr(module, "repeat_attributes"):
                attributes.update(module.repeat_attributes(span, self._options))
        return attributes

    def session_attributes(self, record: CallCost, trace: TraceCost) -> Attributes:
        """Attributes for the span of a session, with what the ended sessions of its trace cost together."""
        attributes: Attributes = {}
        for module in self._modules:
            if hasattr(module, "session_attributes"):
                attributes.update(module.session_attributes(record, trace))
        return attributes
