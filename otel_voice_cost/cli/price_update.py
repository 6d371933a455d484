"""``prices update``: write list prices of a newer release or file, once a person has approved them."""

from __future__ import annotations

import getpass
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import tomli_w
import typer
from rich.text import Text

from ..errors import PriceError, Problem
from ..prices.approval import SECTION, Approval
from ..prices.documents import read_document
from ..prices.files import load_sheet, read_text
from ..prices.price_sheet import PriceSheet, parse_sheet
from ..prices.problems import refuse
from ..prices.rates import BILLING_RULES, Rate
from ..prices.texts import rate_text
from ..prices.vendor_rules import VendorRule
from ..settings import Settings
from .app import fail, output, print_errors, print_json
from .past_calls import printable
from .price_changes import Change, Entry, compare_lists
from .price_sources import MAX_PRICE_FILE, Document, ListSource, read_source, shipped_documents
from .rates import rate_fields

__all__ = ["update_prices"]

_MOST_PROBLEMS = 10
_DEFAULTS = ("provider", "source", "checked")  # at the top of a price file
_HEADER = """\
# List prices, written by `voice-cost prices update`. They replace those that ship with the package, once
# VOICE_COST_PRICES_FILE names this file. Prices of your own belong in a file of their own, named before this one.

"""


def update_prices(source: str, file: Path, *, yes: bool, as_json: bool) -> None:
    """Show how list prices differ in a newer release or file, and write them to a file if they are approved.

    Args:
        source: The wheel or price file, a path or a URL.
        file: File to write.
        yes: True to approve without a question.
        as_json: True to print JSON, and to write only with ``yes``.
    """
    try:
        _refuse_other_file(file)
        origin, current = _current()
        newer = read_source(source)
        document = _merge(newer, current)
        old, new = _parse(_merge_all(current), origin), _parse(document, str(file))
    except PriceError as error:
        print_errors(error.problems[:_MOST_PROBLEMS])
        fail([f"... and {len(error.problems) - _MOST_PROBLEMS} more"] if error.problems[_MOST_PROBLEMS:] else [])
    changes = compare_lists(_entries(old), _entries(new))
    if as_json:
        written = yes and _is_new(old, new)
        if written:
            _write(file, document, newer, "--yes")
        print_json(_fields(newer, origin, changes, str(file) if written else None))
        return
    _show(newer, origin, changes)
    if not _is_new(old, new):
        typer.echo("These are the prices that you have. Nothing was written.")
        return
    if not yes:
        typer.confirm(f"Approve these prices, and write them to {file}?", abort=True)
    _write(file, document, newer, "--yes" if yes else "answered yes")
    typer.echo(f"Written. To use it: export VOICE_COST_PRICES_FILE={file.resolve()}")


def _refuse_other_file(file: Path) -> None:
    """Refuse to write over a file that is not of list prices: it may have a team's own prices."""
    if file.exists():
        text = read_text(file)
        if isinstance(text, Problem) or SECTION not in read_document(text, str(file)):
            refuse(str(file), "a file that this command did not write", "another --output")


def _current() -> tuple[str, list[Document]]:
    """Return the origin of the list prices that the processor would use now, and their price files."""
    settings, problems = Settings.from_environment()
    if problems:
        raise PriceError(problems)
    for path in filter(None, settings.prices_file.split(os.pathsep)):
        if not Path(path).exists():  # it may be the one to be written
            continue
        sheet = load_sheet(Path(path))
        if sheet.is_list:
            document = read_document(Path(path).read_text(encoding="utf-8-sig"), path)
            del document[SECTION]
            return path, [document]
    return shipped_documents()


def _merge(newer: ListSource, current: Iterable[Document]) -> Document:
    """Return one price file with the newer prices, and the current ones of vendors that the newer lack."""
    merged = _merge_all(newer.documents)
    if newer.is_complete:
        return merged
    sheet = _parse(merged, newer.location)
    replaced = {entry.provider for entry in _entries(sheet)}
    kept = _merge_all(current)
    for section in ("rate", "rule"):
        kept[section] = [entry for entry in kept[section] if entry["provider"].lower() not in replaced]
    kept = {key: value for key, value in kept.items() if key.partition("/")[0].lower() not in replaced}
    if not any("/" in key for key in kept):  # prices in the short form may use any currency
        used = {entry["currency"].upper() for entry in kept["rate"] if "currency" in entry}
        kept["currency"] = {code: per_usd for code, per_usd in kept["currency"].items() if code.upper() in used}
    return _merge_all([kept, merged])


def _merge_all(documents: Iterable[Document]) -> Document:
    """Return several price files as one, in which each entry names its vendor and page.

    Raises:
        PriceError: Files differ in the exchange rate of a currency, or in a price in the short form.
    """
    merged: Document = {"currency": {}, "rate": [], "rule": []}
    for document in map(_without_nulls, documents):
        defaults = {key: document.pop(key) for key in _DEFAULTS if key in document}
        for section in ("rate", "rule"):
            merged[section] += [{**defaults, **entry} for entry in document.pop(section, [])]
        for key, value in {**document.pop("currency", {}), **document}.items():
            place = merged if "/" in key else merged["currency"]
            if place.setdefault(key, value) != value:
                refuse(key, "two different values", "one, the same in all price files of a source")
    return merged


def _without_nulls(value: Any) -> Any:
    """Return a decoded value without the nulls of JSON, which TOML lacks; an absent key means the same."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _parse(document: Document, origin: str) -> PriceSheet:
    text = tomli_w.dumps(document)
    if len(text.encode()) > MAX_PRICE_FILE:
        refuse(origin, "a larger price list", f"{MAX_PRICE_FILE // 1_000_000} MB at most")
    sheet = parse_sheet(text, origin)
    if sheet.problems:
        raise PriceError(sheet.problems)
    return sheet


def _entries(sheet: PriceSheet) -> list[Entry]:
    return [*sheet.rates, *sheet.rules]


def _is_new(old: PriceSheet, new: PriceSheet) -> bool:
    """Return True if two lists differ, be it in a page or a day of reading alone."""
    one, other = ({_without_file(entry) for entry in _entries(each)} for each in (old, new))
    return one != other


def _without_file(entry: Entry) -> Entry:
    source = "" if entry.source == entry.loaded_from else entry.source  # the short form has no page
    return replace(entry, loaded_from="", source=source)


def _write(file: Path, document: Document, newer: ListSource, approved_with: str) -> None:
    """Write the price file with its approval; the file is replaced at once or not at all."""
    approval = Approval(
        source=newer.location,
        release=newer.release,
        sha256=newer.sha256,
        approved_at=datetime.now(timezone.utc).replace(microsecond=0),
        approved_by=_user(),
        approved_with=approved_with,
    )
    text = _HEADER + tomli_w.dumps({SECTION: approval.model_dump(), **document})
    target = file.resolve()  # a link stays a link
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        fail([Problem(place=str(file), value=type(error).__name__, expected="a file that can be written")])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container without an account for its user id
        return f"user id {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _show(newer: ListSource, origin: str, changes: list[Change]) -> None:
    console = output()

    def line(text: str) -> None:
        console.print(Text(printable(text)))

    line(f"Prices now: {origin}")
    line(f"Newer: {', '.join(filter(None, (newer.release, newer.location)))}")
    line(f"  sha256 {newer.sha256}")
    for change in changes:
        console.print()
        line(f"{change.kind}: {_title(change)}")
        for entry in change.old:
            line(f"  old  {_text(entry)}")
        for entry in change.new:
            line(f"  new  {_text(entry)}")
        for page in dict.fromkeys(map(_page, change.new or change.old)):
            line(f"  {page}")
    console.print()
    counts = Counter(change.kind for change in changes)
    line(", ".join(f"{counts[kind]} {kind}" for kind in ("added", "removed", "changed")) + ".")


def _title(change: Change) -> str:
    models = ", ".join(f"{change.provider}/{model}" for model in change.models) or change.provider
    return ", ".join(filter(None, (f"{models} {change.component.value}", change.case)))


def _text(entry: Entry) -> str:
    if isinstance(entry, VendorRule):
        facts = [f"cancelled {entry.cancelled}", f"failed {entry.failed}", f"time {entry.time}"]
        return ", ".join([*facts, f"connection increment {entry.connection_increment}"])
    facts = [f"{rule} {getattr(entry, rule)}" for rule in BILLING_RULES if getattr(entry, rule)]
    facts += [f"from {entry.since}"] if entry.since else []
    facts += [f"until {entry.until}"] if entry.until else []
    price = rate_text(entry) if entry.native is None else str(entry)
    return ", ".join([price, *facts, *(["estimate"] if entry.estimated else [])])


def _page(entry: Entry) -> str:
    return ", ".join(filter(None, (entry.source, f"read {entry.checked}" if entry.checked else "")))


def _fields(newer: ListSource, origin: str, changes: list[Change], written: str | None) -> dict[str, Any]:
    return {
        "current": origin,
        "source": newer.location,
        "release": newer.release or None,
        "sha256": newer.sha256,
        "written": written,
        "changes": [
            {
                "change": change.kind,
                "provider": change.provider,
                "models": list(change.models),
                "component": change.component.value,
                "case": change.case or None,
                "old": [_entry_fields(entry) for entry in change.old],
                "new": [_entry_fields(entry) for entry in change.new],
            }
            for change in changes
        ],
    }


def _entry_fields(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Rate):
        return rate_fields(entry)
    return {key: value if value is None else str(value) for key, value in asdict(entry).items() if key != "model"}
