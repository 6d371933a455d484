"""ElevenLabs: the answers of the API on the usage of a workspace.

``POST /v1/workspace/analytics/query/usage-by-product-over-time`` returns a table with the unit of each
column; it must be grouped by ``model``. Money is in a column in ``usd``. Credits are not characters: a mapping file
states how many characters a credit of a model buys, or else only the money is compared.

``GET /v1/usage/character-stats``, which is deprecated, does not state its unit: a mapping file does (``unit``).

Source:
    ElevenLabs API reference, "Get workspace usage" (``columns``, ``column_types``, ``column_units``, ``rows``) and "Get
    characters usage metrics" (``time`` in milliseconds, ``usage`` by name); elevenlabs-python,
    ``workspace/usage/client.py`` and ``usage/client.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from ...cost import EXACT
from ...usage import Unit
from .lines import (
    SECONDS_PER_MINUTE,
    Document,
    Entry,
    Invoice,
    InvoiceLine,
    Number,
    day_of,
    parse,
    refuse,
    step_of,
    to_number,
)

__all__ = ["STATED_BY_MAPPING", "read"]

STATED_BY_MAPPING = "unit of the file"  # until the mapping file states it
_MILLI = Decimal("0.001")
_MS_PER_SECOND = 1_000
_CURRENCIES = {"eur", "inr", "pln", "gbp"}
_SECONDS = {"ms": _MILLI, "s": Decimal(1), "min": SECONDS_PER_MINUTE}


class _Table(Entry):
    columns: list[str]
    column_types: list[str]
    column_units: list[str | None]
    rows: list[list[Any]]


class _Stats(Entry):
    time: list[int]
    usage: dict[str, list[Number]]


def read(document: Document) -> Invoice:
    """Return the lines of one answer.

    Raises:
        ReadError: The answer has another form, is not grouped by model, or has no column with a known unit.
    """
    if "columns" in document.content:
        return _read_table(parse(_Table, document.content, document.place), document)
    return _read_stats(parse(_Stats, document.content, document.place), document)


def _read_table(table: _Table, document: Document) -> Invoice:
    place, width = document.place, len(table.columns)
    if not len(table.column_types) == len(table.column_units) == width:
        raise refuse(place, "column_types or column_units of another length", f"{width} of each, as there are columns")
    if "DateTime" not in table.column_types:
        raise refuse(f"{place}, column_types", table.column_types, "a column of type DateTime")
    if "model" not in table.columns:
        raise refuse(f"{place}, columns", table.columns, "a column model: usage that is grouped by model")
    for unit in table.column_units:
        if unit in _CURRENCIES:
            raise refuse(f"{place}, column_units", unit, "usd")
    measures = {
        index: unit for index, unit in enumerate(table.column_units) if unit in ("usd", "credits") or unit in _SECONDS
    }
    if not measures:
        raise refuse(f"{place}, column_units", table.column_units, "one of usd, credits, min, s, ms")
    time, model = table.column_types.index("DateTime"), table.columns.index("model")
    cells = [_numbers(row, measures, f"{place}, rows.{number}", width) for number, row in enumerate(table.rows)]
    steps = {index: step_of((row[index] for row in cells), whole=_whole(unit)) for index, unit in measures.items()}
    lines = []
    for number, (row, found) in enumerate(zip(table.rows, cells, strict=True)):
        at = f"{place}, rows.{number}"
        day = _day(row[time], f"{at}.{time}", document.time_zone)
        line = InvoiceLine(place=at, first=day, last=day, model=str(row[model] or "unknown").lower())
        lines += [_measured(line, unit, found[index], steps[index]) for index, unit in measures.items() if found[index]]
    return Invoice(lines=tuple(lines), units=frozenset(line.unit for line in lines if line.unit))


def _whole(unit: str) -> Decimal:
    return Decimal(1) if unit in _SECONDS else Decimal(0) if unit == "credits" else _MILLI * 10


def _measured(line: InvoiceLine, unit: str, number: Decimal, step: Decimal) -> InvoiceLine:
    if unit == "usd":
        return replace(line, usd=number, usd_step=step)
    if unit == "credits":
        return replace(line, unit=unit, quantity=number, quantity_step=step)
    factor = _SECONDS[unit]
    return replace(
        line,
        unit=Unit.AUDIO_SECOND.value,
        quantity=EXACT.multiply(number, factor),
        quantity_step=EXACT.multiply(step, factor),
    )


def _numbers(row: list[Any], measures: Mapping[int, str], place: str, width: int) -> dict[int, Decimal]:
    if len(row) != width:
        raise refuse(place, f"{len(row)} cells", f"{width}, as there are columns")
    return {index: to_number(0 if row[index] is None else row[index], f"{place}.{index}") for index in measures}


def _day(cell: object, place: str, time_zone: tzinfo) -> date:
    """Return the day of a time in ISO 8601, or in milliseconds as in the query."""
    if isinstance(cell, (int, Decimal)):
        return day_of(int(cell) // _MS_PER_SECOND, time_zone)
    try:
        return day_of(datetime.fromisoformat(str(cell).replace("Z", "+00:00")), time_zone)
    except ValueError:
        raise refuse(place, cell, "a time such as 2026-11-24T00:00:00Z") from None


def _read_stats(stats: _Stats, document: Document) -> Invoice:
    days = [day_of(milliseconds // _MS_PER_SECOND, document.time_zone) for milliseconds in stats.time]
    step = step_of((number for numbers in stats.usage.values() for number in numbers), whole=0)
    lines = []
    for name, numbers in stats.usage.items():
        place = f"{document.place}, usage.{name}"
        if len(numbers) != len(days):
            raise refuse(place, f"{len(numbers)} numbers", f"{len(days)}, as in time")
        lines += [
            InvoiceLine(
                place=place,
                first=day,
                last=day,
                model=name.lower(),
                unit=STATED_BY_MAPPING,
                quantity=number,
                quantity_step=step,
            )
            for day, number in zip(days, numbers, strict=True)
            if number
        ]
    return Invoice(
        lines=tuple(lines),
        first=min(days, default=None),
        last=max(days, default=None),
        units=frozenset({STATED_BY_MAPPING}),
    )
