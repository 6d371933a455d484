"""The price files that ship with the package, as text, and the nearest of their models."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from .documents import read_document

__all__ = ["nearest_model", "shipped_texts"]

_LONGEST = 60
_CLOSE = 0.8
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def shipped_texts() -> Iterator[tuple[str, str]]:
    """Yield name and text of each price file."""
    for entry in sorted(files(__package__).joinpath("data").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            yield entry.name, entry.read_text(encoding="utf-8")


def nearest_model(name: str) -> str | None:
    """Return ``provider/model`` of the shipped models that a name such as ``deepgram_nova2`` may mean, or None."""
    known, plain = _models(), _SEPARATORS.sub("", name[:_LONGEST].lower())
    near = get_close_matches(plain, known, n=1, cutoff=_CLOSE)
    return " or ".join(known[near[0]]) if near else None


@cache
def _models() -> Mapping[str, dict[str, None]]:
    """Return the vendors' own models without globs, by letters and digits of model, and of provider and model."""
    known: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for origin, text in shipped_texts():
        document = read_document(text, origin)
        for rate in document.get("rate", []):
            model, provider = rate["model"], rate.get("provider", document.get("provider"))
            for one in [model] if isinstance(model, str) else model:
                if not set(one) & set("*?[/"):
                    for name in (one, f"{provider}{one}"):
                        known[_SEPARATORS.sub("", name.lower())][f"{provider}/{one}"] = None
    return known
