"""Records of ended calls: passed to a callback and written to a file, each in a separate thread.

Each line is one call as a JSON object; each of its ``Charges`` is one line of the bill. FOCUS columns keep their
names, others begin with ``x_``. Money and amounts are text with the exact digits.

Source:
    FOCUS 1.2, FinOps Open Cost and Usage Specification, cost and usage dataset, columns.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any

from .._diagnostics import Diagnostics
from .._runtime.forks import reset_after_fork
from .._runtime.locks import run_in_thread
from ..bill import CostPart, SessionCost, UnreportedPart
from ..cost import EXACT, CostLine, exact_sum, to_text

with suppress(ImportError):  # not on Windows
    import fcntl

__all__ = ["RecordWriter", "as_focus", "file_of_day"]

_PICO = Decimal(1).scaleb(-12)
_MAX_WAITING = 10_000  # records for one receiver; more are dropped, with a warning
_POLL_SECONDS = 0.001
_LOCK_TRIES = 1_000  # one a millisecond
_NO_LOCKS = (OSError, NameError)  # raised by file systems without locks, and on Windows, which has no fcntl
_SAFE_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")  # each is missing on some systems
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | sum(getattr(os, flag, 0) for flag in _SAFE_FLAGS)


def as_focus(record: SessionCost) -> dict[str, Any]:
    """Return a record with FOCUS column names, in JSON types only."""
    per_minute = record.usd_per_minute
    return {
        "BilledCost": to_text(record.usd),
        "BillingCurrency": record.currency,
        "ChargePeriodStart": _moment(record.started_at),
        "ChargePeriodEnd": _moment(record.ended_at),
        "EffectiveCost": to_text(record.usd),
        "ListCost": to_text(record.list_usd),
        "x_MarkupCost": to_text(record.markup_usd),
        "x_EstimatedCost": to_text(record.estimated_usd),
        "x_UnpricedUsages": record.unpriced_count,
        "x_UnreportedCost": to_text(record.unreported_usd),
        "x_CostWithUnreported": to_text(record.usd_with_unreported),
        "x_SessionId": record.session_id,
        "x_TraceId": record.trace_id,
        "x_SpanId": record.span_id,
        "x_AgentName": record.agent,
        "x_Revision": record.revision,
        "x_Seconds": to_text(record.seconds),
        "x_CostPerMinute": None if per_minute is None else to_text(per_minute.quantize(_PICO, context=EXACT)),
        "Charges": [charge for part in record.parts for charge in _charges(part)],
        "x_Turns": [
            {
                "x_Number": turn.number,
                "EffectiveCost": to_text(turn.usd),
                **{f"x_{component.value}_Cost": to_text(usd) for component, usd in turn.by_component.items()},
                "x_UnpricedUsages": turn.unpriced_count,
                "x_Estimated": turn.estimated,
                "x_UnreportedCost": to_text(turn.unreported_usd),
            }
            for turn in record.turns
        ],
        "x_Unreported": [_unreported(part) for part in record.unreported],
    }


def _unreported(part: UnreportedPart) -> dict[str, Any]:
    estimates = {"x_LikelyCost": part.usd, "x_LowCost": part.low_usd, "x_HighCost": part.high_usd}
    return {
        "ProviderName": part.provider,
        "ServiceName": part.model,
        "x_Component": part.component.value,
        "x_Reason": part.reason,
        "x_Requests": part.request_count,
        "x_Quantities": {unit.value: to_text(amount) for unit, amount in part.quantities.items()},
        **{name: None if usd is None else to_text(usd) for name, usd in estimates.items()},
        "x_Method": part.method,
        "x_Rule": part.rule,
        "x_IsLowerBound": part.is_lower_bound,
    }


def _charges(part: CostPart) -> list[dict[str, Any]]:
    common = {
        "ChargeCategory": "Usage",
        "ProviderName": part.provider,
        "ResourceName": part.display_name or part.model,
        "ServiceName": part.model,
        "x_Component": part.component.value,
    }
    carried_usd = EXACT.subtract(part.usd, exact_sum([line.usd for line in part.lines]))
    charges = [common | _line(line) | _used(line, part, carried_usd) for line in part.lines]
    if carried_usd or (not part.lines and part.usage_count > part.unpriced_count):  # spans carried their costs
        charges.append(common | {"EffectiveCost": to_text(carried_usd), "x_RateSource": "span"})
    charges += [
        common
        | {
            "ConsumedQuantity": to_text(amount),
            "ConsumedUnit": unit.value,
            "EffectiveCost": None,
            "x_Unpriced": part.unpriced_reason,
        }
        for unit, amount in part.unpriced_quantities.items()
    ]
    if part.unpriced_count and not part.unpriced_quantities:  # the amounts are unknown
        charges.append(
            common
            | {"EffectiveCost": None, "x_Unpriced": part.unpriced_reason, "x_UnpricedUsages": part.unpriced_count}
        )
    return charges


def _used(line: CostLine, part: CostPart, carried_usd: Decimal) -> dict[str, Any]:
    """Return the amount before minimum, increment and free amount, if a single rate priced all of the unit."""
    rates = [other for other in part.lines if other.unit is line.unit and other.rate.addon is None]
    is_known = len(rates) == 1 and not carried_usd
    return {"x_UsedQuantity": to_text(part.quantities.get(line.unit, line.amount)) if is_known else None}


def _line(line: CostLine) -> dict[str, Any]:
    return {
        "ConsumedQuantity": to_text(line.amount),
        "ConsumedUnit": line.unit.value,
        "EffectiveCost": to_text(line.usd),
        "ListCost": to_text(line.list_usd),
        "ListUnitPrice": to_text(line.rate.usd),
        "PricingUnit": f"{line.rate.per} {line.rate.unit.value}",
        "x_AddOn": line.rate.addon,
        "x_Mode": line.rate.mode.value if line.rate.mode else None,
        "x_RateSource": line.rate.citation,
        "x_Estimated": line.rate.estimated,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_of_day(path: Path, day: datetime) -> Path:
    """Return the file for a day: ``calls.jsonl`` becomes ``calls-2026-11-24.jsonl``."""
    return path.with_name(f"{path.stem}-{day.astimezone(timezone.utc).date().isoformat()}{path.suffix}")


class RecordWriter:
    """Passes each record to a callback and to a file, which do not wait for each other.

    Never raises and never blocks a call, whether called from threads, signal handlers or garbage collections.
    """

    def __init__(
        self, diagnostics: Diagnostics, on_session_end: Callable[[SessionCost], object] | None, path: Path | None
    ) -> None:
        """Set the receivers of records.

        Args:
            diagnostics: Counts and logs faults.
            on_session_end: Called with each record.
            path: File to append to. The day is added to its name, so that no process rotates another's file.
        """
        self._diagnostics = diagnostics
        self._on_session_end = on_session_end
        self._path = path
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start empty in a forked child; the parent hands over its records."""
        self._workers: list[_Worker] = []
        if self._path is not None:
            receiver = f"the file of records {self._path}"
            self._workers.append(_Worker(receiver, partial(self._write, self._path), self._diagnostics))
        if self._on_session_end is not None:
            self._workers.append(_Worker("on_session_end", self._on_session_end, self._diagnostics))

    def prepare(self) -> None:
        """Start the threads now: Python 3.12 starts none when the interpreter exits, and a callback may hang."""
        for worker in self._workers:
            worker.ensure_thread()

    def put(self, record: SessionCost) -> None:
        """Queue a record; at interpreter exit, if no thread can start, hand it over before this returns."""
        for worker in self._workers:
            worker.put(record)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all records are handed over; return False if time ran out or no thread can start."""
        deadline = monotonic() + timeout_seconds
        return all(worker.flush(deadline - monotonic()) for worker in self._workers)

    def close(self, timeout_seconds: float) -> None:
        """Hand over all records, here if no thread can start, and end the threads; log the number of lost records."""
        deadline = monotonic() + timeout_seconds
        left = [(worker.close(deadline - monotonic()), worker.receiver) for worker in self._workers]
        if counts := ", ".join(f"{count} for {receiver}" for count, receiver in left if count):
            message = f"Records of calls were not handed over in time at shutdown: {counts}."
            self._diagnostics.warn_once("record lost", f"{message} If the process ends now, they are lost.")

    def _write(self, path: Path, record: SessionCost) -> None:
        file = file_of_day(path, record.ended_at)
        line = json.dumps(as_focus(record), ensure_ascii=False) + "\n"
        try:
            _append_line(file, line.encode("utf-8", "replace"))
        except OSError as error:
            reason = f"{error.strerror}; expected a regular file, not a link, to read and write"
            self._diagnostics.record_fault(error, f"the file of records {file} ({reason})")


class _Worker:
    """Passes records to one receiver, in a thread that starts with the first record.

    A garbage collection or signal handler may call this on the same thread while any line here runs. So
    nothing waits for a lock: the queue and the deque are reentrant, and the lock is taken without blocking.
    """

    def __init__(self, receiver: str, hand_over: Callable[[SessionCost], object], diagnostics: Diagnostics) -> None:
        self.receiver = receiver
        self._hand_over = hand_over
        self._diagnostics = diagnostics
        self._waiting: SimpleQueue[SessionCost | None] = SimpleQueue()  # None ends the thread
        self._unfinished: deque[None] = deque()  # one for each record that is not handed over yet
        self._running = threading.Lock()  # held from the start of the thread to its end

    def put(self, record: SessionCost) -> None:
        if self._waiting.qsize() >= _MAX_WAITING:
            message = f"Records of calls are dropped: {_MAX_WAITING} already wait for {self.receiver}."
            self._diagnostics.warn_once("record lost", message)
            return
        self._unfinished.append(None)
        self._waiting.put(record)
        self.ensure_thread()

    def flush(self, timeout_seconds: float) -> bool:
        deadline = monotonic() + timeout_seconds
        runs = not self._unfinished or self.ensure_thread()
        while self._unfinished:
            if not runs or monotonic() >= deadline:
                return False
            sleep(_POLL_SECONDS)
        return True

    def close(self, timeout_seconds: float) -> int:
        """End the thread; return the number of records not handed over."""
        if not self.flush(timeout_seconds) and not self.ensure_thread():
            self._hand_over_here()
        self._waiting.put(None)
        return len(self._unfinished)

    def ensure_thread(self) -> bool:
        """Start a thread if none runs; return True if one runs."""
        if sys.is_finalizing():  # other threads are frozen, and waiting for a new one would never end
            self._hand_over_here()
            return False
        if not self._running.acquire(blocking=False):
            return True
        try:
            run_in_thread(self._work)
            return True
        except Exception as error:  # noqa: BLE001  # a limit, no memory, or the interpreter exits
            self._running.release()
            if threading.main_thread().is_alive():  # this may be an event loop, which a callback would block
                self._diagnostics.warn_once(
                    "no thread", f"Records of calls wait for a thread ({type(error).__name__})."
                )
            else:  # at exit, when Python 3.12 starts no threads
                self._hand_over_here()
            return False

    def _work(self) -> None:
        while True:
            try:
                for record in iter(self._waiting.get, None):
                    self._finish(record)
            finally:
                self._running.release()
            # a record queued while the lock was held has started no thread
            if self._waiting.empty() or not self._running.acquire(blocking=False):
                return

    def _hand_over_here(self) -> None:
        with suppress(Empty):
            while True:
                if (record := self._waiting.get_nowait()) is not None:
                    self._finish(record)

    def _finish(self, record: SessionCost) -> None:
        try:
            self._hand_over(record)
        except BaseException as error:  # noqa: BLE001  # not even a callback's SystemExit may end the thread
            self._diagnostics.record_fault(error, self.receiver)
        finally:
            self._unfinished.pop()


def _append_line(file: Path, line: bytes) -> None:
    """Append a line with one write, after ending a line that a killed writer or a full disk left incomplete.

    Raises:
        OSError: The file is not a regular file, or the line cannot be written whole.
    """
    descriptor = os.open(file, _OPEN_FLAGS, 0o640)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        _lock(descriptor)
        if os.lseek(descriptor, 0, os.SEEK_END) > 0:
            os.lseek(descriptor, -1, os.SEEK_END)
            line = line if os.read(descriptor, 1) == b"\n" else b"\n" + line
        if os.write(descriptor, line) < len(line):
            os.write(descriptor, b"\n")  # raises the cause unless there is space again
            raise OSError(errno.EIO, "The line was cut off")
    finally:
        with suppress(*_NO_LOCKS):  # closing does not unlock if a child was forked in the meantime
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock out other writers, whose unfinished lines look incomplete. Wait at most a second: one may be suspended."""
    with suppress(*_NO_LOCKS):
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                sleep(_POLL_SECONDS)
