"""Problems in prices. Quoted values are truncated, and text that looks like a key, password or token is masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

from ..errors import PriceError, Problem

__all__ = ["collect", "expected_in", "masked", "nearest", "refuse", "shown"]

_T = TypeVar("_T")
_BEFORE_EXPECTED = re.compile(r"Value error, |\w+ should (?:be|have) ")
_DAY, _FLAG, _NUMBER, _WHOLE = "a day such as 2026-10-01", "true or false", "a number", "a whole number"
_DIGITS = "a number of at most 60 digits, 40 of them after the point"
# Expectations by type of error; in the words of its message if the type is not here.
_EXPECTED = {
    **dict.fromkeys(("bool_parsing", "bool_type"), _FLAG),
    **dict.fromkeys(("date_from_datetime_inexact", "date_from_datetime_parsing", "date_parsing", "date_type"), _DAY),
    **dict.fromkeys(("decimal_max_digits", "decimal_max_places", "decimal_whole_digits"), _DIGITS),
    **dict.fromkeys(("decimal_parsing", "decimal_type", "finite_number"), _NUMBER),
    **dict.fromkeys(("int_from_float", "int_parsing", "int_parsing_size", "int_type"), _WHOLE),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), "text"),
    "dict_type": "a table",
    "list_type": "a list",
    "missing": "a value",
    "string_too_short": "text that is not empty",
    "too_short": "at least one",
    "tuple_type": "a list",
}

_LONGEST = 60
_LOOKED_AT = 1_000  # characters; the mask must see the whole key before the text is truncated
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])[sp]k[-_][^\s'\",;]*"  # of Langfuse, OpenAI, ElevenLabs, Stripe
    r"|\b(?:bearer|basic)\s\S{16,}"
    r"|(?<=://)[^/\s@]+@"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    re.IGNORECASE,
)
_HINTS = ("k-", "k_", "bearer", "basic", "://")  # without one of these or four hyphens, `_KEYS` finds nothing
_RUNS = re.compile(r"[A-Za-z0-9]{20,}")


def collect(entries: Iterable[tuple[str, Callable[[], _T]]], problems: list[Problem]) -> Iterator[tuple[str, _T]]:
    """Read entries: yield each valid one with its name, and collect the problems of the others.

    Args:
        entries: The name of each, and a function that reads it or raises `PriceError`.
        problems: List that receives the problems.
    """
    for name, read in entries:
        try:
            yield name, read()
        except PriceError as error:
            problems += error.problems


def refuse(place: str, value: str, expected: str) -> NoReturn:
    """Raise a `PriceError` with one problem."""
    raise PriceError([Problem(place=place, value=value, expected=expected)])


def expected_in(detail: Mapping[str, Any]) -> str:
    """Return what was expected by an error of pydantic, in words for readers who know no Python."""
    known, message = _EXPECTED.get(detail["type"]), str(detail["msg"])
    start = _BEFORE_EXPECTED.match(message)
    return known or (message[start.end() :] if start else message)


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """Return the known name closest to a name, or all of them if none is close."""
    near = get_close_matches(name[:_LONGEST], known, n=1)
    return f"{prefix}{near[0]}" if near else "one of " + ", ".join(f"{prefix}{other}" for other in sorted(known))


def masked(text: str) -> str:
    """Return a text with ``***`` in place of secrets: keys, credentials in URLs, long random tokens."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS) or lower.count("-") >= 4:
        text = _KEYS.sub("***", text)
    return _RUNS.sub(_mask_random, text)


def shown(value: object) -> str:
    """Return a value as it is written in a price file, masked and truncated to 60 characters."""
    try:
        text = repr(_as_written(value))
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "a value nested too deeply"
    return masked(text[:_LOOKED_AT])[:_LONGEST]


class _Word:
    """A value that is shown as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _as_written(value: object) -> object:
    """Return a value whose notation has no names of types in it."""
    if isinstance(value, dict):
        return {key: _as_written(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_written(inner) for inner in value]
    if isinstance(value, (bool, Decimal, date)) or value is None:
        return _Word("nothing" if value is None else str(value).lower())
    return value


def _mask_random(run: re.Match[str]) -> str:
    """Mask a run of 20 or more characters with both letters and digits: it is neither a word nor a number."""
    text = run[0]
    return text if text.isalpha() or text.isdigit() else "***"
