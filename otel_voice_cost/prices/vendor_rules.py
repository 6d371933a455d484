"""Rules on what a vendor bills of work that was not finished: ``[[rule]]`` entries of a price sheet, and short ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..usage import Component
from .rate_entries import Name, Names, entry_problems, numbered_tables

__all__ = ["NO_RULE", "VendorRule", "pop_short_rules", "rule_entries"]

Cancelled = Literal["generated", "sent", "whole", "free", "unknown"]
Failed = Literal["free", "unknown"]
Time = Literal["audio", "open", "unknown"]

_SHORT = ("cancelled", "failed", "time", "connection_increment")
_NOT_DOCUMENTED = "not documented"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorRule:
    """The rule of one vendor on work that was not finished.

    Attributes:
        provider: Provider id.
        component: The component.
        model: Model ids and globs; all models if empty.
        cancelled: The billed part of work that was cut off: as much as was ``generated``, all that was ``sent``, the
            ``whole`` of it, nothing (``free``), or ``unknown``.
        failed: The same for work that failed: ``free`` or ``unknown``.
        time: The seconds that speech-to-text is billed by: ``audio`` sent, or the connection ``open``.
        connection_increment: Seconds to which each connection is rounded up; 0 for none.
        source: Page that states it.
        checked: Day on which it was read.
        loaded_from: File or variable.
    """

    provider: str = ""
    component: Component = Component.LLM
    model: tuple[str, ...] = ()
    cancelled: Cancelled = "unknown"
    failed: Failed = "unknown"
    time: Time = "unknown"
    connection_increment: Decimal = Decimal(0)
    source: str = ""
    checked: date | None = None
    loaded_from: str = ""

    @property
    def text(self) -> str:
        """The rule on work that was cut off, or ``not documented``."""
        return _NOT_DOCUMENTED if self.cancelled == "unknown" else self.cancelled

    @property
    def time_text(self) -> str:
        """The seconds that speech-to-text is billed by, or ``not documented``."""
        return _NOT_DOCUMENTED if self.time == "unknown" else self.time


NO_RULE = VendorRule()


class _Entry(BaseModel):
    """One ``[[rule]]`` of a price sheet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Name
    component: Component
    model: Names = []
    cancelled: Cancelled = "unknown"
    failed: Failed = "unknown"
    time: Time = "unknown"
    connection_increment: Annotated[Decimal, Field(ge=0, le=3_600)] = Decimal(0)
    source: str = ""
    checked: date | None = None
    note: str | None = None


def rule_entries(
    entries: object, defaults: Mapping[str, Any], origin: str
) -> Iterator[tuple[str, Callable[[], VendorRule]]]:
    """Yield the ``[[rule]]`` entries: the place of each, and a function that reads it or raises `PriceError`.

    Args:
        entries: The value of ``rule``.
        defaults: Values for keys that an entry lacks.
        origin: File or variable, for messages.
    """
    return numbered_tables("rule", entries, defaults, origin, partial(_read_rule, origin))


def pop_short_rules(document: dict[str, Any], origin: str) -> Iterator[tuple[str, Callable[[], VendorRule]]]:
    """Take the rules out of prices in the short form, and yield them as `rule_entries` does.

    ``{"cartesia/*": {"tts": {"cancelled": "free"}}}``; a price may be given with it.
    """
    for key, components in list(document.items()):
        provider, slash, model = key.partition("/")
        if not slash or not isinstance(components, dict):
            continue
        for name, price in list(components.items()):
            rule = {option: price[option] for option in _SHORT if option in price} if isinstance(price, dict) else {}
            if not rule:
                continue
            rest = {option: value for option, value in price.items() if option not in rule}
            components = {**components, name: rest} if rest else {k: v for k, v in components.items() if k != name}
            fields = {"provider": provider, "model": model, "component": name, "source": origin, **rule}
            place = f"{origin}, {key}.{name}"
            yield place, partial(_read_rule, origin, fields, place)
        if components:
            document[key] = components
        else:
            del document[key]


def _read_rule(origin: str, fields: Mapping[str, Any], place: str) -> VendorRule:
    try:
        entry = _Entry.model_validate(fields)
    except ValidationError as error:
        raise entry_problems(error, place, _Entry) from None
    kept = entry.model_dump(exclude={"provider", "model", "note"})
    model = tuple(model.lower() for model in entry.model)
    return VendorRule(provider=entry.provider.lower(), model=model, loaded_from=origin, **kept)
