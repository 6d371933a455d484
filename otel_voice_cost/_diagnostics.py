"""Faults are counted always and logged once per kind and place, without attribute values."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock
from traceback import extract_tb

from .errors import VoiceCostError

__all__ = ["Diagnostics"]

_logger = logging.getLogger("otel_voice_cost")
_MAX_REMEMBERED = 1_000  # kinds and places; further ones are counted and not logged


class Diagnostics:
    """Counts what went wrong and logs it once. Safe to call from any thread."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._said: set[tuple[str, str]] = set()
        self._lock = Lock()

    def fault(self, error: Exception, place: str) -> None:
        """Count a fault of pricing and log the first of its kind at its place.

        Our own errors say what is wrong. Of any other, the message may quote an attribute, so its
        type and line are logged instead.
        """
        kind = type(error).__qualname__
        if self._first(kind, place):
            frames = extract_tb(error.__traceback__)
            where = f"{kind} in {frames[-1].name}, line {frames[-1].lineno}" if frames else kind
            what = str(error) if isinstance(error, VoiceCostError) else where
            _logger.warning("No cost for %s: %s. More of this kind are counted, not logged.", place, what)

    def warn(self, kind: str, message: str) -> None:
        """Count ``kind`` and log ``message`` unless the very same message was logged before."""
        if self._first(kind, message):
            _logger.warning("%s", message)

    def note(self, kind: str, message: str) -> None:
        """As `warn`, at level INFO: worth knowing, nothing to mend."""
        if self._first(kind, message):
            _logger.info("%s", message)

    def _first(self, kind: str, place: str) -> bool:
        with self._lock:
            self.counts[kind] += 1
            if (kind, place) in self._said or len(self._said) >= _MAX_REMEMBERED:
                return False
            self._said.add((kind, place))
            return True
