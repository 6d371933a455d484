"""Cost as the attributes that one backend reads. Each module is one backend, or several with different keys only.

A module defines ``DIALECTS``: names for ``VOICE_COST_DIALECTS`` with functions that build them from `Options`.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from ...bill import SessionCost, TraceCost
from ...cost import Cost, CostNumbers, numbers_of, with_numbers
from ...errors import Problem
from ...sources import Role, Texts
from ...usage import Component

__all__ = [
    "Attributes",
    "CompiledDialect",
    "Dialect",
    "DialectChain",
    "Label",
    "Options",
    "SpanView",
    "Writer",
    "as_doubles",
    "find_builders",
    "resolve_dialects",
]

Attributes = dict[str, Any]


class SpanView(NamedTuple):
    """The parts of a span that a dialect may read.

    Attributes:
        attributes: Attributes of the span.
        role: Role of the span; None if this package created it.
        component: Component of the request, if the span is one.
        span: The span; None if this package created it.
        read_texts: Returns the spoken and transcribed text in the attributes.
    """

    attributes: Mapping[str, Any]
    role: Role | None
    component: Component | None
    span: ReadableSpan | None
    read_texts: Callable[[Mapping[str, Any]], Texts]

    @property
    def is_error(self) -> bool:
        """True if the span has error status."""
        return self.span is not None and self.span.status.status_code is StatusCode.ERROR


Writer = Callable[[CostNumbers, SpanView, Attributes], None]
"""Adds the attributes of a cost with these numbers, for the span of this view."""


class Label(NamedTuple):
    """An attribute for every span of a session that has none with this meaning.

    Attributes:
        key: Its name.
        value: Its value, the same for all spans of the session.
        synonyms: All keys that the backend reads for the same fact, this one included.
    """

    key: str
    value: str
    synonyms: frozenset[str]


class Options(NamedTuple):
    """Settings that dialects read.

    Attributes:
        speech_as_tokens: True to write characters and seconds of speech as tokens, for dashboards that read nothing
            else.
        langfuse_content: True to send the spoken and transcribed text to Langfuse.
        revision: Label of the deployment, or empty.
    """

    speech_as_tokens: bool = True
    langfuse_content: bool = False
    revision: str = ""


class Dialect:
    """Writes the attributes that one backend reads, in addition to those on the span.

    Each method returns no attributes unless a dialect overrides it.
    """

    def __init__(self, options: Options) -> None:
        """Keep the options."""
        self._options = options

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return attributes for a span that bills."""
        return {}

    def writer(self, example: Cost) -> Writer:
        """Return what writes the attributes of costs that differ from an example in numbers only.

        Args:
            example: Without discount or markup, or it is the only cost to be written.
        """

        def write(numbers: CostNumbers, span: SpanView, attributes: Attributes) -> None:
            attributes.update(self.cost_attributes(with_numbers(example, numbers, example.usage.at), span))

        return write

    def wrapper_attributes(self, span: SpanView) -> Attributes:
        """Return attributes for a span that bills nothing but may name a model."""
        return {}

    def unreported_attributes(self, reason: str, span: SpanView) -> Attributes:
        """Return attributes for a request without usage, in addition to those of a span that bills nothing."""
        return {}

    def session_attributes(self, session: SessionCost, trace: TraceCost) -> Attributes:
        """Return attributes for the span of a session, with the cost of all ended sessions of its trace."""
        return {}

    def session_labels(self, known: Mapping[str, Any], session_id: str, title: str | None) -> list[Label]:
        """Return what tells a backend the session of each span.

        Args:
            known: Attributes of the session's span, and ids on other spans of it.
            session_id: Id of the session, as in its record.
            title: A name for its trace; None if the trace has one or belongs to somebody else.
        """
        return []


class CompiledDialect(Dialect, ABC):
    """A dialect whose writer works out beforehand what does not depend on amounts. For dialects on every span."""

    @abstractmethod
    def writer(self, example: Cost) -> Writer:
        """As `Dialect.writer`."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return what the writer writes."""
        attributes: Attributes = {}
        self.writer(cost)(numbers_of(cost), span, attributes)
        return attributes


def as_doubles(amounts: Mapping[str, Decimal | None]) -> Attributes:
    """Return the known amounts as doubles."""
    return {key: float(usd) for key, usd in amounts.items() if usd is not None}


@cache
def find_builders() -> Mapping[str, Callable[[Options], Dialect]]:
    """Return every shipped dialect by name."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {name: build for module in modules for name, build in module.DIALECTS.items()}


def resolve_dialects(names: Iterable[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the known dialect names, and a problem for each unknown one."""
    available = find_builders()
    expected = "one of " + ", ".join(sorted(available))
    known = tuple(name for name in names if name in available)
    problems = [
        Problem(place="VOICE_COST_DIALECTS", value=repr(name), expected=expected)
        for name in names
        if name not in available
    ]
    return known, problems


class DialectChain(Dialect):
    """Several dialects as one. Attributes of later dialects take precedence."""

    def __init__(self, names: Iterable[str], options: Options, *further: Dialect) -> None:
        """Build the dialects.

        Args:
            names: From `resolve_dialects`.
            options: For each of them.
            further: Dialects that come last.
        """
        super().__init__(options)
        self._dialects = [*(find_builders()[name](options) for name in names), *further]

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the attributes of all dialects."""
        attributes: Attributes = {}
        for dialect in self._dialects:
            attributes.update(dialect.cost_attributes(cost, span))
        return attributes

    def writer(self, example: Cost) -> Writer:
        """Return what lets each dialect write."""
        writers = [dialect.writer(example) for dialect in self._dialects]

        def write(numbers: CostNumbers, span: SpanView, attributes: Attributes) -> None:
            for write_one in writers:
                write_one(numbers, span, attributes)

        return write

    def wrapper_attributes(self, span: SpanView) -> Attributes:
        """Return the attributes of all dialects."""
        attributes: Attributes = {}
        for dialect in self._dialects:
            attributes.update(dialect.wrapper_attributes(span))
        return attributes

    def unreported_attributes(self, reason: str, span: SpanView) -> Attributes:
        """Return the attributes of all dialects."""
        attributes: Attributes = {}
        for dialect in self._dialects:
            attributes.update(dialect.unreported_attributes(reason, span))
        return attributes

    def session_attributes(self, session: SessionCost, trace: TraceCost) -> Attributes:
        """Return the attributes of all dialects."""
        attributes: Attributes = {}
        for dialect in self._dialects:
            attributes.update(dialect.session_attributes(session, trace))
        return attributes

    def session_labels(self, known: Mapping[str, Any], session_id: str, title: str | None) -> list[Label]:
        """Return the labels of all dialects."""
        return [label for dialect in self._dialects for label in dialect.session_labels(known, session_id, title)]
