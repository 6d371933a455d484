"""Words and figures of a report, the same on a terminal and on a page."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ..cost import EXACT
from .past_calls import dollars

if TYPE_CHECKING:
    from ..analysis.findings import Call, Report, Unpriced, Unreported

__all__ = [
    "GROUPS",
    "calls",
    "days",
    "estimate",
    "incomplete",
    "likely",
    "minutes",
    "percent",
    "reasons",
    "summary",
    "used",
]

GROUPS = ("day", "component", "model", "agent", "revision")

_SECONDS_PER_MINUTE = 60
_HUNDRED = Decimal(100)
_REMARKABLE = Decimal("1.5")  # times the median


def calls(count: int) -> str:
    """Return a number of calls in words."""
    return f"{count:,} {'call' if count == 1 else 'calls'}"


def days(report: Report) -> str:
    """Return the day of the calls, or the first and the last; nothing if there is none."""
    if not report.first or not report.last:
        return ""
    first, last = (f"{each:%Y-%m-%d}" for each in (report.first, report.last))
    return first if first == last else f"{first} to {last}"


def minutes(seconds: Decimal | None, places: int = 0) -> str:
    """Return a length in minutes, rounded to decimal places; nothing if it is unknown."""
    return "" if seconds is None else f"{seconds / _SECONDS_PER_MINUTE:,.{places}f}"


def summary(report: Report) -> str:
    """Return a sentence with the number of calls, their days, their length and their cost."""
    length = minutes(report.seconds)
    parts = [calls(report.call_count), days(report), f"{length} {'minute' if length == '1' else 'minutes'}"]
    unit = "" if report.usd is None else " US dollars"
    return f"{', '.join(filter(None, parts))}: {dollars(report.usd)}{unit}."


def used(part: Unpriced | Unreported) -> str:
    """Return the component and the model of usage."""
    return f"{part.component or 'unknown'} {part.provider or 'unknown'}/{part.model or 'unknown'}"


def estimate(part: Unreported) -> str:
    """Return the likely cost of unreported work, or that there is no estimate."""
    return "no estimate" if part.likely_usd is None else dollars(part.likely_usd)


def likely(report: Report) -> str:
    """Return the likely cost of all unreported work."""
    return "without an estimate" if report.unreported_usd is None else f"likely {dollars(report.unreported_usd)}"


def percent(usd: Decimal | None, total: Decimal | None) -> str:
    """Return a part of a total as a percentage; nothing if there is no price."""
    return f"{EXACT.divide(EXACT.multiply(usd, _HUNDRED), total):.1f}" if usd is not None and total else ""


def incomplete(report: Report) -> str:
    """Return a sentence on calls that lost spans; nothing if there are none."""
    if not report.incomplete_count:
        return ""
    return f"The usage of {calls(report.incomplete_count)} does not add up to the recorded cost: spans are missing."


def reasons(call: Call) -> list[str]:
    """Return the reasons why a call is expensive: its length, its cost per minute, and its most expensive model."""
    found = []
    if call.length_ratio is not None and call.length_ratio >= _REMARKABLE:
        found.append(f"{call.length_ratio:.1f} times as long as the median")
    if call.rate_ratio is not None and call.rate_ratio >= _REMARKABLE:
        found.append(f"{call.rate_ratio:.1f} times the median cost per minute")
    if call.parts:
        most = call.parts[0]
        found.append(f"{percent(most.usd, call.usd)} % is {most.component} {most.model}")
    return found
