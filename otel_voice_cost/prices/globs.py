"""Match globs, and find the matching ones among many without trying each.

The syntax is that of `fnmatch`: ``*`` for any text, ``?`` for a character, ``[ab]`` and ``[!ab]`` for a
character set. Matching is case-sensitive.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["GlobIndex", "fits", "is_glob"]

_WILDCARDS = re.compile(r"[*?\[]+")


def is_glob(text: str) -> bool:
    """Return True if a text has wildcards."""
    return _WILDCARDS.search(text) is not None


def fits(text: str, glob: str) -> bool:
    """Return True if a glob matches a whole text, as `fnmatch.fnmatchcase` does.

    A glob without ``?`` and ``[`` is compared piece by piece: `fnmatch` compiles each to a regular expression and
    caches a limited number (32,768 on Python 3.11); with more globs, each look-up would compile all of them again.
    """
    if "?" in glob or "[" in glob:
        return fnmatchcase(text, glob)
    first, *middle = glob.split("*")
    if not middle:
        return text == glob
    last = middle.pop()
    start, end = len(first), len(text) - len(last)
    if start > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        found = text.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


class GlobIndex:
    """Finds the globs that match a text.

    Each glob is indexed by its rarest literal piece; only globs whose piece occurs in a text are tried. Immutable.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        """Index the globs.

        Args:
            globs: Globs, and texts without wildcards, which match themselves. Duplicates are kept.
        """
        self._globs = tuple(globs)
        pieces = [_pieces(glob) for glob in self._globs]
        shared = Counter(piece for found in pieces for piece in found)
        self._whole: defaultdict[str, list[int]] = defaultdict(list)
        self._filed: defaultdict[str, list[int]] = defaultdict(list)
        self._wild: list[int] = []
        for number, (glob, found) in enumerate(zip(self._globs, pieces, strict=True)):
            if _WILDCARDS.search(glob) is None:
                self._whole[glob].append(number)
            else:
                rarest = min(found, key=lambda piece: (shared[piece], -len(piece), piece), default="")
                self._filed[rarest].append(number)
                self._wild.append(number)
        self._lengths = sorted({len(piece) for piece in self._filed})

    def candidates(self, text: str) -> list[int]:
        """Return the positions of the globs that may match a text, ascending, including every glob that does."""
        found = set(self._whole.get(text, ()))
        if len(self._wild) <= len(self._lengths) * len(text):  # with few globs or a long text, trying each is faster
            found.update(self._wild)
        else:
            for length in self._lengths:
                for start in range(len(text) - length + 1 if length else 1):
                    found.update(self._filed.get(text[start : start + length], ()))
        return sorted(found)

    def fitting(self, text: str) -> list[int]:
        """Return the positions of the globs that match a text, ascending."""
        return [number for number in self.candidates(text) if fits(text, self._globs[number])]


def _pieces(glob: str) -> set[str]:
    """Return texts that every match of a glob contains: the text outside of wildcards and ``[...]``."""
    before, _, rest = glob.partition("[")
    return {*_WILDCARDS.split(before), *_WILDCARDS.split(rest.rpartition("]")[2])} - {""}
