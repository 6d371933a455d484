"""Validate the ``[[rate]]`` entries of a price sheet and convert them to rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from ..cost import EXACT
from ..errors import PriceError, Problem
from ..usage import Component, Mode, Unit
from .problems import expected_in, nearest, refuse, shown
from .rates import BILLING_RULES, Confidence, Native, Rate

__all__ = ["Name", "Names", "RateEntry", "entry_problems", "numbered_tables", "rate_entries", "read_rate"]

_T = TypeVar("_T")
RateEntry = tuple[str, Callable[[], tuple[Rate, ...]]]  # its place, and a reader that may raise `PriceError`


def _number(value: object) -> object:
    """Reject text and booleans, which pydantic would accept as numbers."""
    if isinstance(value, (str, bool)):
        raise ValueError("a number without quotes")
    return value


_MOST = 10**12  # highest number in a price; anything above is an error
_Amount = Annotated[
    Decimal, BeforeValidator(_number), Field(ge=0, le=_MOST, max_digits=60, decimal_places=40, allow_inf_nan=False)
]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class _Stated(BaseModel):
    """One ``[[rate]]`` of a price sheet, without its billing rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Name
    model: Annotated[Names, Field(min_length=1)]
    component: Component
    unit: Unit
    usd: _Amount | None = None
    price: _Amount | None = None
    currency: Name | None = None
    per: Annotated[int, Field(gt=0, le=_MOST, strict=True)] = 1
    mode: Mode | None = None
    since: date | None = None
    until: date | None = None
    source: str = ""
    checked: date | None = None
    confidence: Confidence = "high"
    fallback: bool = False
    plan: Name | None = None
    addon: Name | None = None
    name: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _has_one_price(self) -> _Stated:
        if (self.usd is None) == (self.price is None) or (self.price is None) != (self.currency is None):
            raise ValueError("usd, or price and currency")
        if self.since and self.until and self.since > self.until:
            raise ValueError("a first day that is not after the last")
        return self


_rules: Any = dict.fromkeys(BILLING_RULES, (_Amount, Decimal(0)))
_Entry = create_model("_Entry", __base__=_Stated, **_rules)


def rate_entries(
    entries: object, defaults: Mapping[str, Any], currencies: Mapping[str, Decimal], origin: str
) -> Iterator[RateEntry]:
    """Yield the ``[[rate]]`` entries.

    Args:
        entries: The value of ``rate``.
        defaults: Values for keys that an entry lacks.
        currencies: Amount of each currency that one US dollar buys, by code.
        origin: File or variable, for messages and for `Rate.loaded_from`.
    """
    return numbered_tables("rate", entries, defaults, origin, partial(_read_entry, currencies, origin), title=_title)


def numbered_tables(
    section: str,
    entries: object,
    defaults: Mapping[str, Any],
    origin: str,
    read: Callable[[Mapping[str, Any], str], _T],
    title: Callable[[Mapping[str, Any]], str] = lambda _: "",
) -> Iterator[tuple[str, Callable[[], _T]]]:
    """Yield the tables of a section such as ``[[rate]]``: the place of each, and a function that reads it.

    Args:
        section: Its name.
        entries: Its value.
        defaults: Values for keys that an entry lacks.
        origin: File or variable, for messages.
        read: Reads an entry at a place, or raises `PriceError`.
        title: Returns what tells an entry from others, for messages.
    """
    if not isinstance(entries, list):
        place = f"{origin}, {section}"
        yield place, partial(refuse, place, "one table", f"[[{section}]] entries")
        return
    for number, entry in enumerate(entries, start=1):
        place = f"{origin}, {section} {number}"
        if isinstance(entry, dict):
            place += title(entry)
            yield place, partial(read, {**defaults, **entry}, place)
        else:
            yield place, partial(refuse, place, shown(entry), "a table")


def _read_entry(
    currencies: Mapping[str, Decimal], origin: str, fields: Mapping[str, Any], place: str
) -> tuple[Rate, ...]:
    return (read_rate(fields, currencies, origin, place),)


def read_rate(fields: Mapping[str, Any], currencies: Mapping[str, Decimal], origin: str, place: str) -> Rate:
    """Return the rate in an entry.

    Raises:
        PriceError: The entry has mistakes; it carries a problem for each.
    """
    try:
        entry = _Entry.model_validate(fields)
    except ValidationError as error:
        raise entry_problems(error, place, _Entry) from None
    native, usd = None, entry.usd
    if entry.price is not None and entry.currency is not None:
        code = entry.currency.upper()
        if code not in currencies:
            expected = f"[currency] with {code}: how much of it one US dollar buys"
            refuse(f"{place}, currency", shown(entry.currency), expected)
        native = Native(currency=code, amount=entry.price, per_usd=currencies[code])
        usd = EXACT.divide(native.amount, native.per_usd)
    kept = entry.model_dump(exclude={"provider", "model", "usd", "price", "currency", "plan", "addon", "name"})
    return Rate(
        provider=entry.provider.lower(),
        model=tuple(model.lower() for model in entry.model),
        usd=usd if usd is not None else Decimal(0),
        native=native,
        plan=entry.plan.lower() if entry.plan else None,
        addon=entry.addon.lower() if entry.addon else None,
        display_name=entry.name,
        loaded_from=origin,
        **kept,
    )


def _title(entry: Mapping[str, Any]) -> str:
    model = entry.get("model", "no model")
    return f" ({', '.join(map(str, model)) if isinstance(model, list) else model})"[:80]


def entry_problems(error: ValidationError, place: str, entry: type[BaseModel]) -> PriceError:
    """Return an error with a problem for each mistake in an entry."""
    known = list(entry.model_fields)
    return PriceError([_problem(detail, place, known) for detail in error.errors(include_url=False)])


def _problem(detail: Any, place: str, known: list[str]) -> Problem:
    keys = [str(key) for key in detail["loc"]]
    place, expected = ", ".join([place, ".".join(keys)] if keys else [place]), expected_in(detail)
    if detail["type"] == "extra_forbidden":
        return Problem(place=place, value="an unknown key", expected=nearest(keys[0], known))
    if detail["type"] == "missing":
        return Problem(place=place, value="nothing", expected=expected)
    return Problem(place=place, value=shown(detail["input"]) if keys else "another combination", expected=expected)
