"""Counts and log lines: one line per kind and place, without attribute values."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from time import monotonic

from ._runtime.locks import Gate, Inbox
from .errors import VoiceCostError

__all__ = ["FAILED", "Diagnostics", "Stats", "to_stats"]

FAILED = "failed"

_logger = logging.getLogger("otel_voice_cost")
_MAX_REMEMBERED = 500  # places of one kind; beyond, they are cleared once a minute
_FORGET_SECONDS = 60.0
_MAX_WAITING = 1_000


class Diagnostics:
    """Counts, and logs the first of each kind. Safe in threads, signal handlers and garbage collections.

    Exceptions of the application's log handlers and filters are suppressed.

    Attributes:
        debugging: True if `debug` logs.
        on_fault: Called with the type of each fault.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        """Start with all counts at zero.

        Args:
            gate: Lines are logged after this thread releases its lock, because the application's handlers take locks.
        """
        self._gate = gate or Gate()
        self._counts: Counter[str] = Counter()
        self.debugging = False
        self.on_fault: Callable[[str], None] | None = None
        self._counting = Inbox(self._add_one)
        self._said: dict[str, _Said] = {}

    def record_fault(self, error: BaseException, place: str) -> None:
        """Count an error and log the first of its kind at its place.

        For an error of this package the message is logged. Messages of others may quote an attribute, so their
        type and line are logged instead.
        """
        kind = type(error).__qualname__
        place = place if type(place) is str else f"a span whose name is no text but {type(place).__name__}"
        self.count(FAILED)
        if self.on_fault is not None:
            with suppress(Exception):
                self.on_fault(kind)
        if self._is_first(kind, place):
            is_own = isinstance(error, VoiceCostError)
            what = f"No cost for {place}: {error}" if is_own else f"Error in {place}: {kind}{_find_line(error)}"
            self._log(logging.WARNING, f"{what}. Logged once; further errors of this kind are only counted.")

    @contextmanager
    def guard(self, place: str) -> Iterator[None]:
        """Record every exception raised inside and continue after the block. Too slow for the hot path."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # nothing may propagate to the traced call
            self.record_fault(error, place)

    def warn_once(self, kind: str, message: str) -> None:
        """Log ``message`` unless the same message was logged before."""
        if self._is_first(kind, message):
            self._log(logging.WARNING, message)

    def info_once(self, kind: str, message: str) -> None:
        """Log ``message`` at level INFO unless the same message was logged before."""
        if self._is_first(kind, message):
            self._log(logging.INFO, message)

    def count(self, name: str) -> None:
        """Add one to ``counts``; it is added up when many wait, or when ``counts`` is read."""
        self._counting.items.append(name)
        if len(self._counting.items) >= _MAX_WAITING:
            self._counting.work()

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts by name."""
        self._counting.work()
        return self._counts

    def start_debugging(self) -> None:
        """Let `debug` log at level DEBUG, to standard error if no handler is set."""
        self.debugging = True
        _logger.setLevel(logging.DEBUG)
        if not _logger.hasHandlers():
            _logger.addHandler(logging.StreamHandler())

    def debug(self, message: str) -> None:
        """Log ``message`` at level DEBUG if `debugging`."""
        if self.debugging:
            self._log(logging.DEBUG, message)

    def _add_one(self, name: str) -> None:
        self._counts[name] += 1

    def _log(self, level: int, message: str) -> None:
        self._gate.outside(partial(_log, level, message))

    def _is_first(self, kind: str, place: str) -> bool:
        return self._said.setdefault(kind, _Said()).is_first(place)


def _log(level: int, message: str) -> None:
    with suppress(Exception):  # a filter may need a field that only the application's records have
        _logger.log(level, "%s", message)


class _Said:
    """The logged lines of one kind: limited in number, logged again after a while."""

    def __init__(self) -> None:
        self._places: dict[str, object] = {}
        self._forget_from = 0.0

    def is_first(self, place: str) -> bool:
        if place in self._places:
            return False
        if len(self._places) >= _MAX_REMEMBERED:
            if monotonic() < self._forget_from:
                return False
            self._places = {}
        if not self._places:
            self._forget_from = monotonic() + _FORGET_SECONDS
        mine = object()
        return self._places.setdefault(place, mine) is mine  # one step, so that it is thread-safe


def _find_line(error: BaseException) -> str:
    """Return the file and line that raised, from the frames only: source files are slow to read."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})" if trace is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the processor was built, also exported as OpenTelemetry metrics such as ``voice_cost.priced``.

    Attributes:
        priced: Usages with a cost: spans, and reports that no span carries. Includes estimates.
        estimated: Priced usages whose cost is an estimate.
        unpriced: Usages without a cost: no rate, no amounts, or unreadable metrics.
        failed: Faults, including unreadable metrics; a span or report with a fault has no cost, but is never lost.
        late: Reports after the end of their session.
        unmatched: Usages that no span of a framework carries, so they are on usage spans.
    """

    priced: int = 0
    estimated: int = 0
    unpriced: int = 0
    failed: int = 0
    late: int = 0
    unmatched: int = 0


def to_stats(counts: Mapping[str, int]) -> Stats:
    """Convert counts by name to `Stats`."""
    return Stats(**{field.name: counts.get(field.name, 0) for field in fields(Stats)})
