"""Compare two price lists: rates that were added, removed or changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from ..prices.rates import BILLING_RULES, Rate
from ..prices.vendor_rules import VendorRule
from ..usage import Component

__all__ = ["Change", "Entry", "compare_lists"]

Entry = Rate | VendorRule
Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference between two price lists in one thing that is billed.

    Attributes:
        kind: The kind of change.
        provider: Provider id.
        models: Ids and globs of the models that changed the same way; empty for all models.
        component: The component.
        case: The case it is for: ``streaming``, ``plan scale``, ``add-on diarize``, ``unfinished work``; or empty.
        old: Entries of the old list that the new one lacks, in order of their days.
        new: Entries of the new list that the old one lacks.
    """

    kind: Kind
    provider: str
    models: tuple[str, ...]
    component: Component
    case: str
    old: tuple[Entry, ...]
    new: tuple[Entry, ...]


def compare_lists(old: Iterable[Entry], new: Iterable[Entry]) -> list[Change]:
    """Return the changes from one list to another, by provider, component and model.

    Entries that differ only in page, day of reading, file or note are the same. Models with the same change are
    one change.
    """
    before, after = _by_model(old), _by_model(new)
    models: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    changed: dict[tuple[object, ...], Change] = {}
    for key in dict.fromkeys(chain(before, after)):
        model, *subject = key
        lost = {terms: entry for terms, entry in before[key].items() if terms not in after[key]}
        gained = {terms: entry for terms, entry in after[key].items() if terms not in before[key]}
        if not (lost or gained):
            continue
        kind: Kind = "added" if not before[key] else "removed" if not after[key] else "changed"
        same = (kind, *subject, tuple(lost), tuple(gained))
        models[same] += [str(model)] if model else []
        example = next(chain(lost.values(), gained.values()))
        changed[same] = Change(
            kind=kind,
            provider=example.provider,
            models=tuple(models[same]),
            component=example.component,
            case=_case(example),
            old=tuple(lost.values()),
            new=tuple(gained.values()),
        )
    return sorted(changed.values(), key=lambda c: (c.provider, c.component.value, c.models, c.case))


def _by_model(entries: Iterable[Entry]) -> defaultdict[tuple[object, ...], dict[tuple[object, ...], Entry]]:
    """Return entries by model and case, and by all that decides what is billed."""
    found: defaultdict[tuple[object, ...], dict[tuple[object, ...], Entry]] = defaultdict(dict)
    for entry in entries:
        for model in entry.model or ("",):
            found[(model, *_subject(entry))][_terms(entry)] = entry
    return found


def _subject(entry: Entry) -> tuple[object, ...]:
    if isinstance(entry, VendorRule):
        return entry.provider, entry.component
    return entry.provider, entry.component, entry.unit, entry.mode, entry.plan, entry.addon


def _terms(entry: Entry) -> tuple[object, ...]:
    if isinstance(entry, VendorRule):
        return entry.cancelled, entry.failed, entry.time, entry.connection_increment
    price = entry.native or (entry.usd,)
    days = (str(entry.since or ""), str(entry.until or ""))
    return (*days, price, entry.per, entry.estimated, *(getattr(entry, rule) for rule in BILLING_RULES), entry.fallback)


def _case(entry: Entry) -> str:
    if isinstance(entry, VendorRule):
        return "unfinished work"
    facts = [entry.mode.value if entry.mode else "", f"plan {entry.plan}" if entry.plan else ""]
    return ", ".join(filter(None, [*facts, f"add-on {entry.addon}" if entry.addon else ""]))
