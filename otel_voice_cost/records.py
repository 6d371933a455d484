"""Records of ended calls: handed to a callback and written to a file, in a thread of their own.

A line is one call as a JSON object; each of its ``Charges`` is one line of the bill. Columns of FOCUS have its
names, others begin with ``x_``. Money and amounts are text, digit for digit.

Source:
    FOCUS 1.2, FinOps Open Cost and Usage Specification, cost and usage dataset, columns.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

from ._diagnostics import Diagnostics
from ._forks import reset_after_fork
from .bill import CallCost, CostPart
from .cost import EXACT, CostLine
from .dialects.voice_cost import to_text

__all__ = ["Outbox", "as_focus", "file_of_day"]

_TWELVE = Decimal(1).scaleb(-12)
_MAX_WAITING = 10_000  # records; more are lost and said to be


def as_focus(record: CallCost) -> dict[str, Any]:
    """Return a record under FOCUS' names: JSON types alone."""
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
        "x_UnpricedUsages": record.unpriced,
        "x_SessionId": record.session_id,
        "x_TraceId": record.trace_id,
        "x_SpanId": record.span_id,
        "x_AgentName": record.agent,
        "x_Seconds": to_text(record.seconds),
        "x_CostPerMinute": None if per_minute is None else to_text(per_minute.quantize(_TWELVE, context=EXACT)),
        "Charges": [charge for part in record.parts for charge in _charges(part)],
        "x_Turns": [
            {
                "x_Number": turn.number,
                "EffectiveCost": to_text(turn.usd),
                **{f"x_{component.value}_Cost": to_text(usd) for component, usd in turn.by_component.items()},
                "x_UnpricedUsages": turn.unpriced,
                "x_Estimated": turn.estimated,
            }
            for turn in record.turns
        ],
    }


def _charges(part: CostPart) -> list[dict[str, Any]]:
    common = {
        "ChargeCategory": "Usage",
        "ProviderName": part.provider,
        "ResourceName": part.name or part.model,
        "ServiceName": part.model,
        "x_Component": part.component.value,
    }
    charges = [common | _line(line) for line in part.lines]
    if not part.lines and part.usages > part.unpriced:  # the costs came with the spans
        charges.append(common | {"EffectiveCost": to_text(part.usd), "x_RateSource": "span"})
    charges += [
        common
        | {
            "ConsumedQuantity": to_text(amount),
            "ConsumedUnit": unit.value,
            "EffectiveCost": None,
            "x_Unpriced": part.reason,
        }
        for unit, amount in part.unpriced_quantities.items()
    ]
    return charges


def _line(line: CostLine) -> dict[str, Any]:
    return {
        "ConsumedQuantity": to_text(line.amount),
        "ConsumedUnit": line.unit.value,
        "EffectiveCost": to_text(line.usd),
        "ListCost": to_text(line.list_usd),
        "ListUnitPrice": to_text(line.rate.usd),
        "PricingUnit": f"{line.rate.per} {line.rate.unit.value}",
        "x_RateSource": line.rate.stated,
        "x_Estimated": line.rate.estimated,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_of_day(path: Path, day: datetime) -> Path:
    """Return the file for a day: ``calls.jsonl`` becomes ``calls-2026-11-24.jsonl``."""
    return path.with_name(f"{path.stem}-{day.astimezone(timezone.utc):%Y-%m-%d}{path.suffix}")


class Outbox:
    """Hands records over in a thread of its own, begun with the first. Never raises, never blocks a call."""

    def __init__(
        self, diagnostics: Diagnostics, on_session_end: Callable[[CallCost], object] | None, path: Path | None
    ) -> None:
        """Say where records go.

        Args:
            diagnostics: Counts and logs what fails.
            on_session_end: Called with each record.
            path: File to add to; the day is put into its name, so that no process rotates another's file.
        """
        self._diagnostics = diagnostics
        self._on_session_end = on_session_end
        self._path = path
        self._torn: Path | None = None  # a file whose last line is not whole
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Begin anew, in a forked child: the parent hands over what it has."""
        self._waiting: queue.Queue[CallCost | None] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, record: CallCost) -> None:
        """Hand a record over, soon."""
        if self._on_session_end is None and self._path is None:
            return
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._diagnostics.warn("record lost", "Records of calls are lost: too many wait to be handed over.")
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="voice-cost-records", daemon=True)
                self._thread.start()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all are handed over; False where time ran out."""
        deadline = monotonic() + timeout_seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                left = deadline - monotonic()
                if left <= 0:
                    return False
                self._waiting.all_tasks_done.wait(left)
        return True

    def close(self, timeout_seconds: float) -> None:
        """Hand over what waits and end the thread."""
        if self.flush(timeout_seconds):
            with self._lock:
                thread, self._thread = self._thread, None
            if thread is not None:
                self._waiting.put_nowait(None)

    def _work(self) -> None:
        waiting = self._waiting
        while True:
            record = waiting.get()
            try:
                if record is None:
                    return
                self._hand_over(record)
            finally:
                waiting.task_done()

    def _hand_over(self, record: CallCost) -> None:
        if self._path is not None:
            try:
                self._write(record, self._path)
            except Exception as error:  # noqa: BLE001  # a full disk, or what JSON cannot hold
                self._diagnostics.fault(error, "the file of records")
        if self._on_session_end is not None:
            try:
                self._on_session_end(record)
            except Exception as error:  # noqa: BLE001  # somebody else's code
                self._diagnostics.fault(error, "on_session_end")

    def _write(self, record: CallCost, path: Path) -> None:
        """Add a line with one write, so that lines of several processes do not mix."""
        file = file_of_day(path, record.ended_at)
        line = (json.dumps(as_focus(record), ensure_ascii=False) + "\n").encode("utf-8", "replace")
        if file == self._torn:
            line = b"\n" + line
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            written = os.write(descriptor, line)
            self._torn = file if written < len(line) else None
        finally:
            os.close(descriptor)
        if written < len(line):
            self._diagnostics.warn("record lost", "A record of a call is lost: its file takes no more.")
