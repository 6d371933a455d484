"""A price sheet, from a file or a variable: rates in both forms, and overrides.

A sheet is TOML or JSON, decoded in `documents`. ``[[rate]]`` entries are validated in `rate_entries`, prices in the
short form in `short_form`; this module reads the overrides and combines all parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import chain
from typing import Any

from ..cost import EXACT
from ..errors import PriceError, Problem
from .approval import SECTION, approval_problems
from .documents import read_document
from .overrides import DatedPercentage, Overrides
from .problems import collect, masked, refuse, shown
from .rate_entries import rate_entries
from .rates import Rate
from .short_form import short_form_entries
from .vendor_rules import VendorRule, pop_short_rules, rule_entries

__all__ = ["PriceSheet", "parse_sheet"]

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DEFAULTS = ("provider", "source", "checked")
_LONGEST = 200  # of the name of an entry in a message
_SECTIONS = ("addon", "alias", "currency", "discount", "markup", "name", "plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """The contents of one price file or variable.

    Attributes:
        rates: Its valid rates.
        overrides: Its valid overrides.
        rules: Its valid rules for unfinished work.
        is_list: True for list prices, signed off by ``[list_prices]``: all of them, in place of those that ship.
        problems: All its mistakes; invalid entries are left out of the others, duplicates give way to earlier ones.
    """

    rates: tuple[Rate, ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    rules: tuple[VendorRule, ...] = ()
    is_list: bool = False
    problems: tuple[Problem, ...] = ()


def parse_sheet(text: str, origin: str) -> PriceSheet:
    """Read a sheet; never raises.

    Args:
        text: A JSON object, or TOML. ``provider``, ``source`` and ``checked`` at the top apply to every ``rate``.
        origin: Name of the file or variable, for messages and for `Rate.loaded_from`.
    """
    try:
        document = read_document(text, origin)
    except PriceError as error:
        return PriceSheet(problems=error.problems)
    if not document:
        return PriceSheet()
    problems: list[Problem] = []
    is_list = SECTION in document
    if is_list:
        problems += approval_problems(document.pop(SECTION), origin)
    defaults = {key: document.pop(key) for key in _DEFAULTS if key in document}
    overrides = _overrides({key: document.pop(key) for key in _SECTIONS if key in document}, origin, problems)
    rules = [*rule_entries(document.pop("rule", []), defaults, origin), *pop_short_rules(document, origin)]
    entries = chain(
        rate_entries(document.pop("rate", []), defaults, overrides.currencies, origin),
        short_form_entries(document, overrides.currencies, origin),
    )
    rates = [(place, rate) for place, stated in collect(entries, problems) for rate in stated]
    sound_rules = tuple(rule for _, rule in collect(rules, problems))
    problems += _repeats(rates)
    return PriceSheet(
        rates=tuple(rate for _, rate in rates),
        overrides=overrides,
        rules=sound_rules,
        is_list=is_list,
        problems=tuple(_short(problem, origin) for problem in problems),
    )


def _short(problem: Problem, origin: str) -> Problem:
    """Return a problem with the entry's name, which is user text, masked and truncated."""
    entry = problem.place.removeprefix(origin)[:_LONGEST]
    return Problem(place=f"{origin}{masked(entry)}", value=problem.value, expected=problem.expected)


def _repeats(placed: Iterable[tuple[str, Rate]]) -> Iterator[Problem]:
    """Yield a problem for each rate that repeats an earlier one; the earlier one holds.

    Prices with other days, modes, plans or add-ons are not repeats, nor is a glob that matches an id.
    """
    first: dict[tuple[object, ...], tuple[str, Rate]] = {}
    for place, rate in placed:
        same = (rate.provider, rate.component, rate.unit, rate.mode, rate.plan, rate.addon, rate.since, rate.until)
        earlier = {model: first.setdefault((model, *same), (place, rate)) for model in rate.model}
        repeated = [model for model, (_, other) in earlier.items() if other is not rate]
        if repeated:
            other_place, other = earlier[repeated[0]]
            more = f" and {len(repeated) - 1} more" if len(repeated) > 1 else ""
            yield Problem(
                place=place,
                value=f"a second price of {shown(repeated[0])}{more}, {str(rate)[:_LONGEST]}",
                expected=f"one for a unit and its days; {masked(other_place[:_LONGEST])} has {str(other)[:_LONGEST]}",
            )


def _overrides(sections: Mapping[str, Any], origin: str, problems: list[Problem]) -> Overrides:
    def read(section: str, reader: Callable[[str, Any], Any]) -> dict[str, Any]:
        entries = _override_entries(section, sections.get(section, {}), reader, origin)
        return dict(collect(entries, problems))

    return Overrides(
        discounts=read("discount", partial(_shares, limit=Decimal(1))),
        markups=read("markup", partial(_shares, limit=None)),
        names=read("name", _model_name),
        aliases=read("alias", _alias),
        plans=read("plan", _word),
        addons=read("addon", _words),
        currencies={code.upper(): n for code, n in read("currency", _per_usd).items()},
    )


def _override_entries(
    section: str, entries: object, reader: Callable[[str, Any], Any], origin: str
) -> Iterator[tuple[str, Callable[[], Any]]]:
    place = f"{origin}, {section}"
    if not isinstance(entries, dict):
        yield place, partial(refuse, place, shown(entries), "a table")
        return
    for key, value in entries.items():
        yield key.lower(), partial(_read_override, reader, key, value, f"{place}.{key}")


def _read_override(reader: Callable[[str, Any], Any], key: str, value: object, place: str) -> Any:
    try:
        return reader(key, value)
    except ValueError as error:
        refuse(place, shown(value), str(error))


def _shares(_: str, value: object, *, limit: Decimal | None) -> tuple[DatedPercentage, ...]:
    return tuple(_share(item, limit) for item in (value if isinstance(value, list) else [value]))


def _share(value: object, limit: Decimal | None) -> DatedPercentage:
    fields = value if isinstance(value, dict) else {"percent": value}
    text = fields.get("percent")
    match = _PERCENT.fullmatch(text.strip()) if isinstance(text, str) else None
    part = EXACT.divide(Decimal(match[1]), Decimal(100)) if match else None
    if part is None or (limit is not None and part > limit) or set(fields) - {"percent", "since", "until"}:
        most = "" if limit is None else ", 100% at most"
        raise ValueError(f'a share such as "20%"{most}, or {{percent = "20%", since = 2026-10-01}}')
    return DatedPercentage(part=part, since=_day(fields.get("since")), until=_day(fields.get("until")))


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
