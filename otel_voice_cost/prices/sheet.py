"""A price sheet, from a file or a variable: rates in both forms, and terms.

A sheet is TOML or JSON. ``[[rate]]`` entries are checked in `entries`, prices in the short form in
`short_form`; this module reads the document and the terms.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from ..errors import Problem
from .entries import read_entries
from .rates import EXACT, Rate
from .short_form import read_short_form
from .terms import Share, Terms

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PriceSheet", "parse_sheet"]

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DEFAULTS = ("provider", "source", "checked")
_TERMS = ("addon", "alias", "currency", "discount", "markup", "name", "plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """What one file or variable states.

    Attributes:
        rates: Its sound rates.
        terms: Its sound terms.
        problems: Every mistake in it; what is wrong is left out of the others.
    """

    rates: tuple[Rate, ...] = ()
    terms: Terms = field(default_factory=Terms)
    problems: tuple[Problem, ...] = ()


def parse_sheet(text: str, origin: str) -> PriceSheet:
    """Read a sheet; never raises.

    Args:
        text: A JSON object, or TOML. ``provider``, ``source`` and ``checked`` at the top hold for every ``rate``.
        origin: Name of the file or variable, for messages and for `Rate.origin`.
    """
    if not text.strip():
        return PriceSheet()
    form = "JSON" if text.lstrip().startswith("{") else "TOML"
    try:
        document = _decoded(text, form)
    except (ValueError, RecursionError) as error:
        return PriceSheet(problems=(Problem(place=origin, value=f"no {form}", expected=f"{form}: {error}"),))
    problems: list[Problem] = []
    defaults = {key: document.pop(key) for key in _DEFAULTS if key in document}
    terms = _terms({key: document.pop(key) for key in _TERMS if key in document}, origin, problems)
    rates = read_entries(document.pop("rate", []), defaults, terms.currencies, origin, problems)
    rates += read_short_form(document, terms.currencies, origin, problems)
    return PriceSheet(rates=tuple(rates), terms=terms, problems=tuple(problems))


def _decoded(text: str, form: str) -> dict[str, Any]:
    if form == "TOML":
        return tomllib.loads(text, parse_float=Decimal)
    document: dict[str, Any] = json.loads(text, parse_float=Decimal, object_pairs_hook=_unique)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} is there twice")
        found[key] = value
    return found


def _terms(sections: Mapping[str, Any], origin: str, problems: list[Problem]) -> Terms:
    def read(section: str, reader: Callable[[str, Any], Any]) -> dict[str, Any]:
        entries = sections.get(section, {})
        if not isinstance(entries, dict):
            problems.append(Problem(place=f"{origin}, {section}", value=_shown(entries), expected="a table"))
            return {}
        found = {}
        for key, value in entries.items():
            try:
                found[key.lower()] = reader(key, value)
            except ValueError as error:
                problems.append(Problem(place=f"{origin}, {section}.{key}", value=_shown(value), expected=str(error)))
        return found

    return Terms(
        discounts=read("discount", partial(_shares, limit=Decimal(1))),
        markups=read("markup", partial(_shares, limit=None)),
        names=read("name", _model_name),
        aliases=read("alias", _alias),
        plans=read("plan", _word),
        addons=read("addon", _words),
        currencies={code.upper(): n for code, n in read("currency", _per_usd).items()},
    )


def _shares(_: str, value: object, *, limit: Decimal | None) -> tuple[Share, ...]:
    return tuple(_share(item, limit) for item in (value if isinstance(value, list) else [value]))


def _share(value: object, limit: Decimal | None) -> Share:
    fields = value if isinstance(value, dict) else {"percent": value}
    text = fields.get("percent")
    match = _PERCENT.fullmatch(text.strip()) if isinstance(text, str) else None
    part = EXACT.divide(Decimal(match[1]), Decimal(100)) if match else None
    if part is None or (limit is not None and part > limit) or set(fields) - {"percent", "since", "until"}:
        most = "" if limit is None else ", 100% at most"
        raise ValueError(f'a share such as "20%"{most}, or {{percent = "20%", since = 2026-10-01}}')
    return Share(part=part, since=_day(fields.get("since")), until=_day(fields.get("until")))


def _day(value: object) -> date | None:
    if value is None or type(value) is date:
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("a day such as 2026-10-01")


def _model_name(key: str, value: object) -> str:
    if "/" not in key or not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError('provider/model = "the name to show"')
    return value.strip()


def _alias(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or ("/" in value and "/" not in key):
        raise ValueError("a provider for a provider, or provider/model for provider/model")
    if "*" in value and not (value.endswith("*") and key.endswith("*") and value.count("*") == key.count("*") == 1):
        raise ValueError("one * at the end of both, or of the reported name alone")
    return value.strip().lower()


def _word(_: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a name")
    return value.strip().lower()


def _words(key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not value:
        raise ValueError('a list of features, such as ["diarize"]')
    return frozenset(_word(key, item) for item in value)


def _per_usd(_: str, value: object) -> Decimal:
    number = None if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)) else value
    try:
        amount = Decimal(number) if number is not None else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise ValueError("how much of the currency one US dollar buys, above zero")
    return amount


def _shown(value: object) -> str:
    return repr(value)[:60]
