"""OpenTelemetry metrics of all counts, sent to the meter provider if one is set.

They are counted when usage is priced, not from spans, so they are complete if traces are sampled. They are passed to
the metrics SDK at collection: its instruments have locks, and a garbage collection may end and price a span on a
thread that holds them.

Source:
    ``gen_ai.client.operation.cost``: open-telemetry/semantic-conventions-genai, the proposal for cost; its
    buckets are this package's: the SDK's begin at 5. ``otel.metric.overflow``: OpenTelemetry specification,
    metrics SDK, cardinality limits. opentelemetry-sdk 1.34 to 1.45,
    ``metrics/_internal/measurement_consumer.py``: callbacks of asynchronous instruments are called before the
    measurements of the others are collected.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter, get_meter_provider
from opentelemetry.metrics import _internal as _api

from .._diagnostics import FAILED, Diagnostics
from .._runtime.forks import reset_after_fork
from .._runtime.locks import Inbox, run_in_thread
from ..bill import SessionCost
from ..usage import Unit, Usage
from .attributes import COMPONENT, REVISION
from .dialects.genai import OPERATION_NAME, OPERATIONS, PROVIDER_NAME, REQUEST_MODEL

__all__ = ["LATE", "UNMATCHED", "UNREPORTED", "Instruments"]

ESTIMATED = "estimated"
LATE = "late"
PRICED = "priced"
UNMATCHED = "unmatched"
UNPRICED = "unpriced"
UNREPORTED = "unreported"

AGENT_NAME = "gen_ai.agent.name"
ERROR_TYPE = "error.type"
UNIT = "voice_cost.unit"

Labels = dict[str, Any]

_BUCKETS = [0.000_01, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
_SESSION_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
_COUNTERS = {
    ESTIMATED: "Usages whose cost is an estimate",
    FAILED: "Faults that cost a span or report its price",
    LATE: "Reports of usage after the end of their session",
    PRICED: "Usages with a cost, estimates included",
    UNMATCHED: "Usages that no span of a framework carries",
    UNPRICED: "Usages without a cost",
    UNREPORTED: "Requests, and tries of them, whose usage was not reported",
}
_MAX_WAITING = 250  # uncollected usages; then a thread of this package adds them up
_MAX_LABELS = 1_000  # sets of labels; later ones are counted as overflow
_UNITS = {unit: {UNIT: unit.value} for unit in Unit}
_OVERFLOW: Labels = {"otel.metric.overflow": True}


class Countable(Protocol):
    """The part of a cost that is counted. ``usage`` is read when the metrics are collected."""

    @property
    def usage(self) -> Usage:
        """As of `Cost`, like all that follow."""

    @property
    def usd(self) -> Decimal | None:
        """US dollars."""

    @property
    def estimated(self) -> bool:
        """True for an estimate."""


class _Sum:
    __slots__ = ("amount", "labels")

    def __init__(self, labels: Labels) -> None:
        self.amount: float = 0
        self.labels = labels


class Instruments:
    """Counts for `Stats` and for OpenTelemetry. Never raises, and takes no lock of the metrics SDK to count."""

    def __init__(
        self, diagnostics: Diagnostics, meter_provider: MeterProvider | None = None, revision: str = ""
    ) -> None:
        """Create the instruments.

        Args:
            diagnostics: Counts and logs faults.
            meter_provider: Receives the metrics; the default is the global one, even if it is set later.
            revision: Label of the deployment, on all of them.
        """
        meter = get_meter("otel_voice_cost", meter_provider=meter_provider)
        self._diagnostics = diagnostics
        self._cost = meter.create_histogram(
            "gen_ai.client.operation.cost",
            unit="{USD}",
            description="What one operation cost",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._session = meter.create_histogram(
            "voice_cost.session.cost",
            unit="{USD}",
            description="What one call cost",
            explicit_bucket_boundaries_advisory=_SESSION_BUCKETS,
        )
        self._per_minute = meter.create_histogram(
            "voice_cost.session.cost_per_minute",
            unit="{USD}",
            description="What one call cost for each of its minutes",
            explicit_bucket_boundaries_advisory=_SESSION_BUCKETS,
        )
        self._unreported = meter.create_histogram(
            "voice_cost.session.unreported_cost",
            unit="{USD}",
            description="Estimate of what one call cost and nobody reported",
            explicit_bucket_boundaries_advisory=_SESSION_BUCKETS,
        )
        self._usage = meter.create_counter("voice_cost.usage", description="Usage by unit")
        self._counters = {
            name: meter.create_counter(f"voice_cost.{name}", description=text) for name, text in _COUNTERS.items()
        }
        self._revision: Labels = {REVISION: revision} if revision else {}
        self._labels: dict[tuple[str, ...], Labels] = {}
        self._recording = Inbox(self._record)
        self._provider = meter_provider
        self._seen_provider: MeterProvider | None = None
        self._is_idle = False
        diagnostics.on_fault = self._failed
        with suppress(Exception):  # a provider without it: counts are added up when many wait
            meter.create_observable_gauge(
                "voice_cost.uncollected", callbacks=[_add_up_all], description="Never observed: tells of a collection"
            )
        _all.add(self)
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Note that no thread adds up in a forked child, and leave the sums to the parent."""
        self._adds_up = False
        self._sums: dict[tuple[str, int], _Sum] = {}  # by counter or unit, and id of the labels

    def add_up(self) -> None:
        """Pass the counts to the metrics SDK. The calling thread must not hold its locks."""
        if self._recording.items or self._sums:
            self._recording.items.append(self._flush_sums)
        self._recording.work()
        self._adds_up = False

    def flush(self, timeout_millis: int) -> None:
        """Export the counts if the provider can: the SDK's does, the API's has nothing to export."""
        self.add_up()
        flush = getattr(self._provider or get_meter_provider(), "force_flush", None)
        if flush is not None:
            flush(timeout_millis)

    def add(self, cost: Countable, agent: str | None) -> None:
        """Count a usage, once, when it is priced.

        Args:
            cost: Cost of the usage.
            agent: Name of the agent, if known.
        """
        names = (UNPRICED,) if cost.usd is None else (PRICED, ESTIMATED) if cost.estimated else (PRICED,)
        for name in names:
            self._diagnostics.count(name)
        if self._has_provider():
            self._count(partial(self._add, names, cost, agent))

    def count(self, name: str, usage: Usage, agent: str | None) -> None:
        """Count a late or unmatched usage."""
        self._diagnostics.count(name)
        self._count(lambda: self._counters[name].add(1, self._to_labels(usage, agent)))

    def add_session(self, record: SessionCost) -> None:
        """Count a session that has ended."""
        self._count(partial(self._add_session, record))

    def _has_provider(self) -> bool:
        if self._is_idle and _api._METER_PROVIDER is None and self._provider is None:
            return False  # what follows takes longer than a price: the API looks into the environment each time
        provider = self._provider or get_meter_provider()
        if provider is not self._seen_provider:  # the application may set the global one at any time
            self._seen_provider, self._is_idle = provider, _is_noop(provider)
        return not self._is_idle

    def _count(self, step: Callable[[], None]) -> None:
        if not self._has_provider():
            return
        waiting = self._recording.items
        waiting.append(step)
        if len(waiting) >= _MAX_WAITING and not self._adds_up:
            self._adds_up = True
            try:
                run_in_thread(self.add_up)
            except RuntimeError:  # no thread can start: the next usage tries again
                self._adds_up = False

    def _add(self, names: tuple[str, ...], cost: Countable, agent: str | None) -> None:
        usage = cost.usage
        labels = self._to_labels(usage, agent)
        for name in names:
            self._sum(name, labels, 1)
        for unit, amount in usage.quantities.items():
            self._sum(unit, labels, float(amount))
        if cost.usd is not None:
            self._cost.record(float(cost.usd), labels)

    def _sum(self, name: str, labels: Labels, amount: float) -> None:
        """Add to a counter, or to the usage of a unit: a counter of the metrics SDK takes as long as a price."""
        total = self._sums.get((name, id(labels)))
        if total is None:
            total = self._sums[name, id(labels)] = _Sum(labels)
        total.amount += amount

    def _flush_sums(self) -> None:
        while self._sums:
            (name, _), total = self._sums.popitem()
            if isinstance(name, Unit):
                step = partial(self._usage.add, total.amount, total.labels | _UNITS[name])
            else:
                step = partial(self._counters[name].add, total.amount, total.labels)
            self._record(step)

    def _add_session(self, record: SessionCost) -> None:
        labels = {**self._revision, AGENT_NAME: record.agent} if record.agent else self._revision
        self._session.record(float(record.usd), labels)
        if record.usd_per_minute is not None:
            self._per_minute.record(float(record.usd_per_minute), labels)
        if record.unreported:
            self._unreported.record(float(record.unreported_usd), labels)

    def _failed(self, kind: str) -> None:
        self._count(partial(self._add_failed, kind))

    def _add_failed(self, kind: str) -> None:
        with suppress(Exception):  # a fault here would call this again
            self._counters[FAILED].add(1, {**self._revision, ERROR_TYPE: kind})

    def _record(self, step: Callable[[], None]) -> None:
        """Run a step of the metrics SDK; its faults are recorded and do not affect prices."""
        try:
            step()
        except Exception as error:  # noqa: BLE001  # third-party code
            self._diagnostics.record_fault(error, "metrics")

    def _to_labels(self, usage: Usage, agent: str | None) -> Labels:
        key = (usage.component, usage.provider, usage.model, agent or "")
        labels = self._labels.get(key)
        if labels is None:
            if len(self._labels) >= _MAX_LABELS:
                return _OVERFLOW
            model = {PROVIDER_NAME: usage.provider, REQUEST_MODEL: usage.model}
            labels = {COMPONENT: usage.component.value, **model, **self._revision}
            if usage.component in OPERATIONS:
                labels[OPERATION_NAME] = OPERATIONS[usage.component]
            if agent:
                labels[AGENT_NAME] = agent
            self._labels[key] = labels
        return labels


def _is_noop(provider: MeterProvider) -> bool:
    """Return True for the providers of OpenTelemetry's API: they stand in until the application sets one."""
    return type(provider).__module__.split(".")[:2] == ["opentelemetry", "metrics"]


_all: weakref.WeakSet[Instruments] = weakref.WeakSet()


def _add_up_all(_options: CallbackOptions) -> Iterable[Observation]:
    """Pass all counts to the metrics SDK. It calls this before it collects."""
    with suppress(RuntimeError):  # another thread is creating one: the rest is added up next time
        for meters in list(_all):
            meters.add_up()
    return ()
