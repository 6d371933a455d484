"""Lines of an invoice (values only), and the parts that readers of all formats share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...cost import EXACT
from ...errors import Problem
from ...prices.problems import expected_in, masked, shown
from ..reading import ReadError

__all__ = [
    "SECONDS_PER_HOUR",
    "SECONDS_PER_MINUTE",
    "Document",
    "Entry",
    "Invoice",
    "InvoiceLine",
    "Number",
    "day_of",
    "last_day_of",
    "parse",
    "read_documents",
    "refuse",
    "step_of",
    "to_number",
]

SECONDS_PER_MINUTE, SECONDS_PER_HOUR = Decimal(60), Decimal(3_600)
_JSON = "JSON as the vendor's API returns it"
_LONGEST, _LOOKED_AT = 200, 1_000  # characters of a value in a message
_COARSEST_STEP = Decimal("0.01")
_ONE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """The amount of one unit of one model that a vendor bills in a period.

    Attributes:
        place: File and entry, for messages.
        first: First day, as the vendor counts days.
        last: Last day; the same as ``first`` for a line of one day.
        model: Model in lower case. With ``*``, all models that match.
        unit: A unit of this package; until a mapping file is applied also one of the vendor; None if it is not stated.
        quantity: Amount in ``unit``, or None.
        quantity_step: Rounding of ``quantity``.
        usd: US dollars, or None.
        usd_step: Rounding of ``usd``.
        repeats_usage: True if an export of usage has the same quantity, which then counts instead.
    """

    place: str
    first: date
    last: date
    model: str
    unit: str | None = None
    quantity: Decimal | None = None
    quantity_step: Decimal = Decimal(0)
    usd: Decimal | None = None
    usd_step: Decimal = Decimal(0)
    repeats_usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """The lines of one or more files.

    Attributes:
        lines: The lines.
        first: First day of the invoice; None if the file does not state it.
        last: Last day; None likewise.
        units: Units whose quantities the invoice has for all models: what is not on it, the vendor does not bill.
        knows_all: False if lines overlap or belong to other products, so that only models of the calls are compared.
        notes: Remarks for the reader, as sentences.
    """

    lines: tuple[InvoiceLine, ...] = ()
    first: date | None = None
    last: date | None = None
    units: frozenset[str] = frozenset()
    knows_all: bool = True
    notes: tuple[str, ...] = ()

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last day that the invoice states or has a line for; None if there are none."""
        stated = [day for day in (self.first, self.last) if day is not None]
        days = [*stated, *(day for line in self.lines for day in (line.first, line.last))]
        return (min(days), max(days)) if days else None

    def plus(self, other: Invoice) -> Invoice:
        """Return both invoices as one."""
        days = [day for day in (self.first, self.last, other.first, other.last) if day is not None]
        return Invoice(
            lines=self.lines + other.lines,
            first=min(days, default=None),
            last=max(days, default=None),
            units=self.units | other.units,
            knows_all=self.knows_all and other.knows_all,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One JSON document of a file.

    Attributes:
        place: The file and, if it has several documents, the number of this one.
        content: The decoded document, numbers with a fraction as ``Decimal``.
        time_zone: The zone in which the vendor counts days.
    """

    place: str
    content: Any
    time_zone: tzinfo


_MOST = 10**12  # anything above is an error
Number = Annotated[Decimal, Field(ge=-_MOST, le=_MOST, max_digits=60)]
_NUMBER: TypeAdapter[Decimal] = TypeAdapter(Number)


class Entry(BaseModel):
    """Part of a document. Fields that the vendor adds later are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


_E = TypeVar("_E", bound=Entry)


def step_of(numbers: Iterable[Decimal | None], *, whole: int | Decimal = _COARSEST_STEP) -> Decimal:
    """Return the rounding of a column: the place of the last digit of its most precise number, 0.01 at most.

    Args:
        numbers: The numbers of the column as the file has them.
        whole: Rounding if all numbers are whole: 0 for what is counted, 1 for what is measured.
    """
    places = 0
    for number in numbers:
        if number is not None and isinstance(exponent := number.normalize(EXACT).as_tuple().exponent, int):
            places = min(places, exponent)
    return min(Decimal(1).scaleb(places), _COARSEST_STEP) if places else Decimal(whole)


def refuse(place: str, value: object, expected: str) -> ReadError:
    """Return an error about one value of an invoice. Text is shown without quotes, masked and truncated."""
    is_plain = isinstance(value, str) and value.isprintable()
    text = masked(str(value)[:_LOOKED_AT])[:_LONGEST] if is_plain else shown(value)
    return ReadError([Problem(place=place, value=text, expected=expected)])


def parse(kind: type[_E], content: object, place: str) -> _E:
    """Return a part of a document as an entry.

    Raises:
        ReadError: Fields are missing or have other values; it lists all of them.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ReadError(
            Problem(
                place=f"{place}, {'.'.join(map(str, found['loc'])) or 'the document'}",
                value="nothing" if found["type"] == "missing" else shown(found["input"]),
                expected=expected_in(found),
            )
            for found in error.errors()
        ) from None


def to_number(value: object, place: str) -> Decimal:
    """Return a number of a document or cell.

    Raises:
        ReadError: It is not a number, or above a million million.
    """
    try:
        return _NUMBER.validate_python(value)
    except ValidationError:
        raise refuse(place, value, "a number up to 1,000,000,000,000") from None


def read_documents(text: str, place: str, time_zone: tzinfo) -> Iterator[Document]:
    """Yield the JSON documents of a file: one, several one after another, or a list of them.

    Raises:
        ReadError: The text is not JSON.
    """
    decoder = json.JSONDecoder(parse_float=Decimal)
    found: list[Any] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        try:
            content, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError, ArithmeticError):
            line = text.count("\n", 0, position) + 1
            raise refuse(f"{place}:{line}", "no complete JSON", f"{_JSON}; a CSV needs a mapping file") from None
        found += content if isinstance(content, list) else [content]
    if not found:
        raise refuse(place, "an empty file", _JSON)
    for number, content in enumerate(found, 1):
        name = place if len(found) == 1 else f"{place}, document {number}"
        if not isinstance(content, dict):
            raise refuse(name, content, "an object, as the vendor's API returns it")
        yield Document(place=name, content=content, time_zone=time_zone)


def day_of(moment: int | datetime, time_zone: tzinfo) -> date:
    """Return the day of a moment, given as seconds since the epoch or as a time with or without a zone."""
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo is None else moment.astimezone(time_zone)).date()
    return datetime.fromtimestamp(moment, time_zone).date()


def last_day_of(end: int, time_zone: tzinfo) -> date:
    """Return the last day of a period that ends before a moment, in seconds since the epoch."""
    return (datetime.fromtimestamp(end, time_zone) - _ONE_SECOND).date()
