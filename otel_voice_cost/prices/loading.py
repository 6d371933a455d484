"""Reads and checks price files. The only module that opens files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from ..errors import PriceError, Problem
from ..usage import Component, Mode, Unit
from .rates import Confidence, Rate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["load_rates", "load_shipped_rates", "parse_rates", "read_rates"]

_MAX_BYTES = 4_000_000  # a price file is data people read; more is a mistake


def _number(value: object) -> object:
    """Refuse what pydantic would quietly take for a number: text and booleans."""
    if isinstance(value, (str, bool)):
        raise ValueError("a number without quotes")
    return value


_Amount = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]


class _RateEntry(BaseModel):
    """One ``[[rate]]`` of a price file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Annotated[str, Field(min_length=1)]
    model: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    component: Component
    unit: Unit
    usd: _Amount
    per: Annotated[int, Field(gt=0, strict=True)] = 1
    mode: Mode | None = None
    since: date | None = None
    until: date | None = None
    source: str = ""
    checked: date | None = None
    confidence: Confidence = "high"
    minimum: _Amount = Decimal(0)
    increment: _Amount = Decimal(0)
    fallback: bool = False
    regular_usd: _Amount | None = None  # the price after a promotion, for people
    name: str | None = None
    note: str | None = None

    @field_validator("model", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    def to_rate(self, origin: str) -> Rate:
        return Rate(
            provider=self.provider.lower(),
            model=tuple(model.lower() for model in self.model),
            origin=origin,
            **self.model_dump(exclude={"provider", "model", "regular_usd", "note"}),
        )


def load_rates(path: Path) -> list[Rate]:
    """Read a price file of the user.

    Raises:
        PriceError: As `read_rates` finds problems; all of them are named.
    """
    rates, problems = read_rates(path)
    if problems:
        raise PriceError(problems)
    return rates


def read_rates(path: Path) -> tuple[list[Rate], list[Problem]]:
    """Return the sound rates of a price file and every problem with it.

    A file that is missing, larger than 4 MB or no TOML is one problem.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            return [], [Problem(place=str(path), value="a larger file", expected="4 MB at most")]
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(place=str(path), value=type(error).__name__, expected="a readable file in UTF-8")]
    return parse_rates(text, str(path))


@cache
def load_shipped_rates() -> tuple[Rate, ...]:
    """Read the price files that ship with the package, once per process."""
    rates: list[Rate] = []
    for entry in sorted(files(__package__).joinpath("data").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            found, problems = parse_rates(entry.read_text(encoding="utf-8"), entry.name)
            if problems:
                raise PriceError(problems)
            rates.extend(found)
    return tuple(rates)


def parse_rates(text: str, origin: str) -> tuple[list[Rate], list[Problem]]:
    """Return the sound rates of a price file and every problem with the others.

    Args:
        text: TOML. ``provider``, ``source`` and ``checked`` at the top hold for every rate.
        origin: Name of the file, for messages and for `Rate.origin`.
    """
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return [], [Problem(place=origin, value="no TOML", expected=f"TOML: {error}")]
    defaults = {key: document.pop(key) for key in ("provider", "source", "checked") if key in document}
    entries = document.pop("rate", [])
    problems = [
        Problem(place=f"{origin}, {key}", value="an unknown key", expected="provider, source, checked or [[rate]]")
        for key in document
    ]
    if not isinstance(entries, list):
        return [], [*problems, Problem(place=f"{origin}, rate", value="one table", expected="[[rate]] entries")]
    rates = []
    for number, entry in enumerate(entries, start=1):
        try:
            rates.append(_RateEntry.model_validate({**defaults, **entry}).to_rate(origin))
        except ValidationError as error:
            problems += _problems(error, f"{origin}, rate {number}{_title(entry)}")
        except TypeError:
            problems.append(Problem(place=f"{origin}, rate {number}", value=repr(entry)[:60], expected="a table"))
    return rates, problems


def _title(entry: Mapping[str, Any]) -> str:
    model = entry.get("model")
    return f" ({model if isinstance(model, str) else ', '.join(map(str, model or ['no model']))})"[:80]


def _problems(error: ValidationError, place: str) -> Sequence[Problem]:
    return [
        Problem(
            place=f"{place}, {'.'.join(str(part) for part in detail['loc'])}",
            value="nothing" if detail["type"] == "missing" else repr(detail["input"])[:60],
            expected=detail["msg"].removeprefix("Value error, "),
        )
        for detail in error.errors(include_url=False)
    ]
