"""Checks of the shipped price files. Each check returns descriptions of its findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import combinations, pairwise

from otel_voice_cost import Rate

ALWAYS, EVER = date.min, date.max


def title(rate: Rate) -> str:
    facts = (rate.unit.value, rate.mode and rate.mode.value, rate.plan, rate.addon, rate.since, rate.until)
    return " ".join([rate.loaded_from, rate.component.value, rate.model[0], *(str(fact) for fact in facts if fact)])


def without_page_or_day(rates: Iterable[Rate]) -> list[str]:
    return [
        title(rate)
        for rate in rates
        if not rate.source.startswith("https://") or rate.checked is None or rate.checked < date(2024, 1, 1)
    ]


def in_another_file(rates: Iterable[Rate]) -> list[str]:
    return [title(rate) for rate in rates if rate.loaded_from != f"{rate.provider}.toml"]


def unsorted(rates: Sequence[Rate]) -> list[str]:
    """Return rates out of order: component, add-on, model, unit, plan, mode, days."""
    return [title(second) for first, second in pairwise(rates) if _order(first) > _order(second)]


def overlapping(rates: Iterable[Rate]) -> list[str]:
    """Return two prices for the same thing on the same day; one with days may precede one without."""
    return [
        f"{title(a)} and {title(b)}"
        for group in _same_thing(rates)
        for a, b in combinations(group, 2)
        if set(a.model) & set(b.model)
        and _bounds(a) == _bounds(b)
        and max(a.since or ALWAYS, b.since or ALWAYS) <= min(a.until or EVER, b.until or EVER)
    ]


def with_gap(rates: Iterable[Rate]) -> list[str]:
    """Return days without a price between two prices of a model."""
    found = []
    for group in _same_thing(rates):
        for model in {model for rate in group for model in rate.model}:
            history = sorted((r for r in group if model in r.model), key=lambda rate: rate.since or ALWAYS)
            if any(not _bounds(rate) for rate in history):
                continue
            found += [
                f"{title(first)} to {title(second)}"
                for first, second in pairwise(history)
                if first.until and second.since and second.since > first.until + timedelta(days=1)
            ]
    return found


def _bounds(rate: Rate) -> int:
    return (rate.since is not None) + (rate.until is not None)


def _same_thing(rates: Iterable[Rate]) -> Iterable[list[Rate]]:
    groups = defaultdict(list)
    for rate in rates:
        groups[rate.provider, rate.component, rate.unit, rate.mode, rate.plan, rate.addon].append(rate)
    return groups.values()


def _order(rate: Rate) -> tuple[str, ...]:
    return (
        rate.component.value,
        rate.addon or "",
        rate.model[0],
        rate.unit.value,
        rate.plan or "",
        rate.mode.value if rate.mode else "",
        str(rate.since or ""),
        str(rate.until or "9"),
    )
