"""What was counted, and what is logged: once per kind and place, without attribute values."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from threading import Lock
from traceback import extract_tb

from ._forks import reset_after_fork
from .errors import VoiceCostError

__all__ = ["FAILED", "Diagnostics"]

FAILED = "failed"

_logger = logging.getLogger("otel_voice_cost")
_MAX_REMEMBERED = 1_000  # kinds and places; further ones are counted and not logged


class Diagnostics:
    """Counts, and logs the first of each kind. Safe to call from any thread.

    Attributes:
        counts: By name.
        debugging: Whether `debug` logs.
        on_fault: Called with the type of each fault.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.debugging = False
        self.on_fault: Callable[[str], None] | None = None
        self._said: set[tuple[str, str]] = set()
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self._lock = Lock()

    def fault(self, error: Exception, place: str) -> None:
        """Count a fault of pricing and log the first of its kind at its place.

        Our own errors say what is wrong. Of any other, the message may quote an attribute, so its
        type and line are logged instead.
        """
        kind = type(error).__qualname__
        self.count(FAILED)
        if self.on_fault is not None:
            self.on_fault(kind)
        if self._first(kind, place):
            frames = extract_tb(error.__traceback__)
            where = f"{kind} in {frames[-1].name}, line {frames[-1].lineno}" if frames else kind
            what = str(error) if isinstance(error, VoiceCostError) else where
            _logger.warning("No cost for %s: %s. More of this kind are counted, not logged.", place, what)

    def warn(self, kind: str, message: str) -> None:
        """Log ``message`` unless the very same message was logged before."""
        if self._first(kind, message):
            _logger.warning("%s", message)

    def note(self, kind: str, message: str) -> None:
        """As `warn`, at level INFO: worth knowing, nothing to mend."""
        if self._first(kind, message):
            _logger.info("%s", message)

    def count(self, name: str) -> None:
        """Add one to ``counts``."""
        with self._lock:
            self.counts[name] += 1

    def start_debugging(self) -> None:
        """Let `debug` log: at level DEBUG, on standard error where no handler is set."""
        self.debugging = True
        _logger.setLevel(logging.DEBUG)
        if not _logger.hasHandlers():
            _logger.addHandler(logging.StreamHandler())

    def debug(self, message: str) -> None:
        """Log ``message`` at level DEBUG if `debugging`."""
        if self.debugging:
            _logger.debug("%s", message)

    def _first(self, kind: str, place: str) -> bool:
        with self._lock:
            if (kind, place) in self._said or len(self._said) >= _MAX_REMEMBERED:
                return False
            self._said.add((kind, place))
            return True
