"""Decode the text of a price sheet: TOML or JSON, with exact numbers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .problems import masked, refuse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_document", "to_json"]

_BYTE_ORDER_MARK = "\ufeff"
_MOST_PARTS = 16  # of a dotted key; prices need at most 5
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*')"""
# Strings and comments, whose dots do not count, keys with too many parts, and other text. An unmatched quote ends
# the search: parsers stop there too.
_TOKENS = re.compile(
    r'"{3}(?:[^\\]|\\.)*?"{3,5}' + r"|'{3}.*?'{3,5}|#[^\n]*"
    r"""|(?P<end>"{3}|'{3})"""
    rf"|(?P<deep>{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{_MOST_PARTS}}})"
    rf"""|{_PART}|(?P<open>["'])|[^"'#A-Za-z0-9_-]+""",
    re.DOTALL,
)


def read_document(text: str, origin: str) -> dict[str, Any]:
    """Decode a text.

    A byte order mark is skipped. A dotted TOML key of more than 16 parts is rejected: `tomllib` takes time
    quadratic in its length.

    Args:
        text: A JSON object, or TOML.
        origin: Name of the file or variable, for the message.

    Raises:
        PriceError: The text cannot be parsed.
    """
    text = text.lstrip(_BYTE_ORDER_MARK)
    form = "JSON" if text.lstrip().startswith("{") else "TOML"
    try:
        if form == "JSON":
            document: dict[str, Any] = json.loads(text, parse_float=Decimal, object_pairs_hook=_unique)
            return document
        deep = _deep_key(text)
        if deep is not None:
            line = text.count("\n", 0, deep) + 1
            value = f"a dotted key of more than {_MOST_PARTS} parts in line {line}"
            refuse(origin, value, "provider/model in quotes, and one or two names")
        return tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        refuse(origin, f"no {form}", f"{form}: {masked(str(error)[:400])}")
    except ArithmeticError:
        refuse(origin, "a number out of range", "exponents of at most 18 digits")


def to_json(prices: Mapping[str, Any]) -> str:
    """Return a mapping as JSON text, dates as ``2026-10-01``.

    Raises:
        ValueError: The mapping contains itself or a key that JSON does not support; the message says what was expected.
    """
    try:
        return json.dumps(dict(prices), default=_plain)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("a mapping that can be written as JSON") from None


def _plain(value: object) -> object:
    """Return a float for a Decimal that it holds exactly, a dict or list for similar types, else text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal) and value.is_finite() and Decimal(repr(float(value))) == value:
        return float(value)
    return str(value)


def _deep_key(text: str) -> int | None:
    """Return the position of a key with too many parts, or None."""
    if not any(len(line) > 2 * _MOST_PARTS and line.count(".") >= _MOST_PARTS for line in text.split("\n")):
        return None
    for token in _TOKENS.finditer(text):
        if token["deep"] is not None:
            return token.start()
        if token["end"] is not None or token["open"] is not None:
            return None
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} is there twice")
        found[key] = value
    return found
