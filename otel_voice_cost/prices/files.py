"""Read price files. The only module that opens files of users."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..errors import PriceError, Problem
from .price_sheet import PriceSheet, parse_sheet
from .shipped import shipped_texts

__all__ = ["load_sheet", "load_shipped_sheets", "read_sheet", "read_text"]

_MAX_BYTES = 4_000_000  # people read price files; a larger file is an error


def load_sheet(path: Path) -> PriceSheet:
    """Read a user's price file.

    Raises:
        PriceError: `read_sheet` finds problems; all of them are listed.
    """
    sheet = read_sheet(path)
    if sheet.problems:
        raise PriceError(sheet.problems)
    return sheet


def read_sheet(path: Path) -> PriceSheet:
    """Read a price file with all its problems.

    A file that is missing, irregular, larger than 4 MB or neither TOML nor JSON is one problem.
    """
    text = read_text(path)
    return PriceSheet(problems=(text,)) if isinstance(text, Problem) else parse_sheet(text, str(path))


def read_text(path: Path) -> str | Problem:
    """Return the text of a price file in UTF-8, with or without a byte order mark, or a problem."""
    try:
        if path.exists() and not path.is_file():  # a device or pipe has no end
            return _refused(path, "no regular file", "a readable file in UTF-8")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            return _refused(path, "a larger file", "4 MB at most")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: the text is not UTF-8, or the path contains NUL
        return _refused(path, type(error).__name__, "a readable file in UTF-8")


@cache
def load_shipped_sheets() -> tuple[PriceSheet, ...]:
    """Read the price files that ship with the package, once per process."""
    sheets = []
    for name, text in shipped_texts():
        sheet = parse_sheet(text, name)
        if sheet.problems:
            raise PriceError(sheet.problems)
        sheets.append(sheet)
    return tuple(sheets)


def _refused(path: Path, value: str, expected: str) -> Problem:
    return Problem(place=str(path), value=value, expected=expected)
