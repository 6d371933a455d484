"""Mapping files: which column of a CSV is what, and which name of the vendor is which of this package.

A mapping file is TOML. With ``columns`` it reads the CSV of any vendor; without, it adds names, units and the time zone
to a format that this package knows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...cost import EXACT
from ...errors import PriceError, Problem
from ...prices.documents import read_document
from ...prices.problems import expected_in, nearest, shown
from ...usage import Unit
from ..reading import ReadError
from .elevenlabs import STATED_BY_MAPPING
from .lines import Invoice, InvoiceLine, day_of, refuse, step_of, to_number

__all__ = ["MappingFile", "read_mapping", "to_time_zone"]

_UNITS = [unit.value for unit in Unit]
_TIME_UNITS = {unit.value for unit in Unit if unit.is_seconds}
_Factor = Annotated[Decimal, Field(gt=0, le=10**9)]
_Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Columns(_Strict):
    """Names of columns. A row has either one quantity with its unit, or a column for each unit."""

    day: _Text
    last_day: _Text | None = None
    model: _Text | None = None
    unit: _Text | None = None
    quantity: _Text | None = None
    usd: _Text | None = None
    quantities: dict[_Text, _Text] = {}


class _UnitOfVendor(_Strict):
    unit: Unit
    factor: _Factor = Decimal(1)


class _ModelOfVendor(_Strict):
    model: _Text
    factor: _Factor = Decimal(1)


class MappingFile(_Strict):
    """A mapping file.

    Attributes:
        columns: Columns of the CSV.
        model: Model of all rows, if no column has it.
        unit: Unit of all rows, if no column has it: of this package, or a key of ``units``.
        units: Units of the vendor: this package's, and how many of it are one of the vendor's.
        models: Models of the vendor: this package's, with ``*`` for several, and a factor for its quantities.
        only: Columns with the values of rows that are read; other rows are left out.
        time_zone: Zone in which the vendor counts days.
        day_format: Format of days, as in `datetime.strptime`; ISO 8601 by default.
        delimiter: Between cells.
        decimal: Sign before the decimal places.
    """

    columns: _Columns | None = None
    model: _Text | None = None
    unit: _Text | None = None
    units: dict[_Text, _UnitOfVendor] = {}
    models: dict[_Text, _Text | _ModelOfVendor] = {}
    only: dict[_Text, _Text | list[_Text]] = {}
    time_zone: _Text | None = None
    day_format: _Text | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."

    def read_csv(self, text: str, place: str, time_zone: tzinfo) -> Invoice:
        """Return the lines of a CSV.

        Args:
            text: The file, with a row of names first.
            place: Its name, for messages.
            time_zone: Zone in which the vendor counts days.

        Raises:
            ReadError: Columns are missing, or cells have other values; it lists all of them.
        """
        if self.columns is None:
            raise refuse(place, "a CSV", "a mapping file with columns")
        rows = csv.DictReader(io.StringIO(text), delimiter=self.delimiter)
        try:
            header, cells = list(rows.fieldnames or []), list(rows)
        except csv.Error as error:
            raise refuse(f"{place}:{rows.line_num}", str(error), "CSV") from None
        self._check_header(header, place)
        lines: list[InvoiceLine] = []
        problems: list[Problem] = []
        for number, row in enumerate(cells, 2):  # the first row has the names
            if not any(row.values()) or not self._is_wanted(row):
                continue
            try:
                lines += self._row_lines(self.columns, row, f"{place}, row {number}", time_zone)
            except ReadError as error:
                problems += error.problems
        if problems:
            raise ReadError(problems)
        units = frozenset(line.unit for line in lines if line.unit and line.quantity is not None)
        return Invoice(lines=tuple(self._with_steps(lines)), units=units | set(self.columns.quantities.values()))

    def _with_steps(self, lines: list[InvoiceLine]) -> Iterator[InvoiceLine]:
        """Yield lines with the rounding of their columns. A quantity is rounded as others of its unit are."""
        usd_step = step_of(line.usd for line in lines)
        steps = {}
        for unit in {line.unit for line in lines}:
            is_time = unit is not None and self._own_unit(unit) in _TIME_UNITS
            steps[unit] = step_of((line.quantity for line in lines if line.unit == unit), whole=1 if is_time else 0)
        for line in lines:
            yield replace(line, usd_step=usd_step, quantity_step=steps[line.unit])

    def apply(self, invoice: Invoice) -> Invoice:
        """Return an invoice in this package's names and units.

        Quantities in units that neither this package nor the mapping file has are left out, with a note.

        Raises:
            ReadError: The unit of a line is not stated.
        """
        lines = [self._in_own_units(line) for line in invoice.lines]
        strange = {line.unit for line in lines if line.unit and line.unit not in _UNITS}
        known = [
            replace(line, unit=None, quantity=None, quantity_step=Decimal(0)) if line.unit in strange else line
            for line in lines
        ]
        notes = [
            f"Quantities in {unit} are not compared: a mapping file can state what they are."
            for unit in sorted(strange)
        ]
        return replace(
            invoice,
            lines=tuple(line for line in known if line.quantity is not None or line.usd is not None),
            units=frozenset(map(self._own_unit, invoice.units)) & frozenset(_UNITS),
            notes=invoice.notes + tuple(notes),
        )

    def _own_unit(self, unit: str) -> str:
        """Return the unit of this package for one of the vendor, or the same if the file has none."""
        stated = self.unit if unit == STATED_BY_MAPPING and self.unit else unit
        return self.units[stated].unit.value if stated in self.units else stated

    def _in_own_units(self, line: InvoiceLine) -> InvoiceLine:
        named = {name.lower(): value for name, value in self.models.items()}.get(line.model)
        model = _ModelOfVendor(model=named) if isinstance(named, str) else named
        if line.unit == STATED_BY_MAPPING and self.unit is None:
            raise refuse(line.place, "a quantity", "a mapping file with its unit, such as unit = 'character'")
        stated = self.unit if line.unit == STATED_BY_MAPPING else line.unit
        factor = self.units[stated].factor if stated in self.units else Decimal(1)
        if model is not None:
            factor = EXACT.multiply(factor, model.factor)
        return replace(
            line,
            model=line.model if model is None else model.model.lower(),
            unit=None if line.unit is None else self._own_unit(line.unit),
            quantity=None if line.quantity is None else EXACT.multiply(line.quantity, factor),
            quantity_step=EXACT.multiply(line.quantity_step, factor),
        )

    def _check_header(self, header: list[str], place: str) -> None:
        columns = self.columns or _Columns(day="day")
        named = [columns.day, columns.last_day, columns.model, columns.unit, columns.quantity, columns.usd]
        wanted = [name for name in [*named, *columns.quantities, *self.only] if name is not None]
        missing = [name for name in dict.fromkeys(wanted) if name not in header]
        if missing:
            known = nearest(missing[0], header) if header else "a first row with the names"
            raise refuse(place, f"no column {', '.join(map(repr, missing))}", f"columns of the mapping file: {known}")

    def _is_wanted(self, row: Mapping[str, str]) -> bool:
        return all(
            (row[column] or "").strip() in ([values] if isinstance(values, str) else values)
            for column, values in self.only.items()
        )

    def _row_lines(
        self, columns: _Columns, row: Mapping[str, str], place: str, time_zone: tzinfo
    ) -> Iterator[InvoiceLine]:
        first = self._day(row, columns.day, place, time_zone)
        last = self._day(row, columns.last_day, place, time_zone) if columns.last_day else first
        if last < first:
            raise refuse(f"{place}, {columns.last_day}", str(last), f"a day from {first} on")
        name = row[columns.model] if columns.model else self.model
        if not name or not name.strip():
            raise refuse(f"{place}, {columns.model or 'model'}", "nothing", "the name of a model")
        line = partial(InvoiceLine, place=place, first=first, last=last, model=name.strip().lower())
        usd = self._number(row, columns.usd, place)
        if columns.quantity:
            unit = (row[columns.unit] or "").strip() if columns.unit else self.unit
            quantity = self._number(row, columns.quantity, place)
            if quantity is not None or usd is not None:
                yield line(unit=self._known(unit, place, columns), quantity=quantity, usd=usd)
            return
        for column, unit in columns.quantities.items():
            if quantity := self._number(row, column, place):
                yield line(unit=self._known(unit, place, columns), quantity=quantity)
        if usd is not None:
            yield line(unit=self.unit and self._known(self.unit, place, columns), usd=usd)

    def _known(self, unit: str | None, place: str, columns: _Columns) -> str:
        """Return a unit of this package, or a key of `units`."""
        if unit in self.units or unit in _UNITS:
            return unit or ""
        expected = f"a key of units in the mapping file, or {nearest(unit or '', _UNITS)}"
        raise refuse(f"{place}, {columns.unit or 'unit'}", unit or "nothing", expected)

    def _day(self, row: Mapping[str, str], column: str, place: str, time_zone: tzinfo) -> date:
        text = (row[column] or "").strip()
        try:
            if self.day_format:
                return day_of(datetime.strptime(text, self.day_format), time_zone)  # noqa: DTZ007
            return day_of(datetime.fromisoformat(text.replace("Z", "+00:00")), time_zone)
        except ValueError:
            expected = f"a day in the format {self.day_format}" if self.day_format else "a day such as 2026-11-24"
            raise refuse(f"{place}, {column}", text or "nothing", expected) from None

    def _number(self, row: Mapping[str, str], column: str | None, place: str) -> Decimal | None:
        text = (row[column] or "").strip() if column else ""
        if not text:
            return None
        thousands = "," if self.decimal == "." else "."
        plain = text.replace(thousands, "").replace(" ", "").replace("$", "").replace(self.decimal, ".")
        return to_number(plain, f"{place}, {column}")


def read_mapping(text: str, place: str) -> MappingFile:
    """Return a mapping file.

    Args:
        text: TOML.
        place: Name of the file, for messages.

    Raises:
        ReadError: It is not TOML, or has mistakes; it lists all of them.
    """
    try:
        return MappingFile.model_validate(read_document(text, place))
    except PriceError as error:
        raise ReadError(error.problems) from None
    except ValidationError as error:
        known = [*MappingFile.model_fields, *_Columns.model_fields]
        raise ReadError(
            Problem(
                place=f"{place}, {'.'.join(map(str, found['loc']))}",
                value={"missing": "nothing", "extra_forbidden": "an unknown key"}.get(
                    found["type"], shown(found["input"])
                ),
                expected=nearest(str(found["loc"][-1]), known)
                if found["type"] == "extra_forbidden"
                else expected_in(found),
            )
            for found in error.errors()
        ) from None


def to_time_zone(name: str, place: str) -> ZoneInfo:
    """Return a time zone by its name, such as ``America/New_York``.

    Raises:
        ReadError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise refuse(place, name, "a time zone such as UTC or America/New_York") from None
