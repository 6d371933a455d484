"""Match each usage report with the span that carries the same report, so that it is priced once.

Reports and spans come in any order, and either may be missing. In one session:

=============================  ==========================================  ========================
Event                          State of the key                            Outcome
=============================  ==========================================  ========================
a report arrives               unknown                                     it awaits its span
a report arrives               its span was seen first                     it is dropped: the span is priced
a span ends                    a report awaits it                          the span is priced, the report is dropped
a span ends                    unknown                                     the span is priced, its report is dropped
a span ends                    its report was priced without it            the span is not priced
a span ends that lost its key  a waiting report has all its fragments      the span is priced by that report
a span ends that lost its key  no report has them                          the span is priced by its other attributes
a report arrives               it has the fragments of such a span         it is dropped: the span is priced
too many reports wait          -                                           the oldest is priced without its span
the session ends               a report awaits its span                    it is priced without its span
=============================  ==========================================  ========================

Keys are counted: two equal requests count twice.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator

from ..sources import UsageReport
from ..usage import Component

__all__ = ["Matching", "Repeats"]

_MAX_WAITING = 32  # reports of one session
_MAX_REMEMBERED = 4_096  # keys and requests
_REPEAT_NS = 2 * 10**9  # a class that wraps a component repeats its report within this time


class _BoundedCounter:
    """A bounded multiset of strings that drops its oldest."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, key: str) -> None:
        self._counts[key] = self._counts.pop(key, 0) + 1
        if len(self._counts) > _MAX_REMEMBERED:
            self._counts.popitem(last=False)

    def pop(self, key: str) -> bool:
        """Remove one ``key``; return True if there was one."""
        count = self._counts.get(key, 0)
        if count > 1:
            self._counts[key] = count - 1
        elif count:
            del self._counts[key]
        return count > 0


class Matching:
    """The reports of one session that await their span, and the keys of spans that ended before their report."""

    def __init__(self) -> None:
        self._awaiting_span: OrderedDict[str, deque[UsageReport]] = OrderedDict()
        self._count = 0
        self._span_seen_first = _BoundedCounter()
        self._priced_without_span = _BoundedCounter()
        self._priced_without_key: list[tuple[Component, tuple[str, ...]]] = []

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, report: UsageReport) -> UsageReport | None:
        """Keep a report for its span. If too many wait, return the oldest, to be priced without its span."""
        if self._span_seen_first.pop(report.match_key) or self._is_priced_without_key(report):
            return None
        self._awaiting_span.setdefault(report.match_key, deque()).append(report)
        self._count += 1
        return self._pop_oldest() if self._count > _MAX_WAITING else None

    def match(self, key: str) -> bool:
        """Record the end of the span that carries a report. Return True if the span must be priced."""
        if key in self._awaiting_span:
            self._pop(key)
            return True
        if self._priced_without_span.pop(key):
            return False
        self._span_seen_first.add(key)
        return True

    def match_by_fragments(self, component: Component, fragments: tuple[str, ...]) -> UsageReport | None:
        """Return the oldest report whose key contains all the fragments, for a span that lost its key."""
        for key, reports in self._awaiting_span.items():
            if reports[0].component is component and all(fragment in key for fragment in fragments):
                self._priced_without_span.add(key)  # the span that carries it may end later
                return self._pop(key)
        return None

    def remember(self, component: Component, fragments: tuple[str, ...]) -> None:
        """Record that a span without its key was priced by its other attributes: its report may come later."""
        self._priced_without_key.append((component, fragments))
        del self._priced_without_key[:-_MAX_WAITING]

    def pop_unmatched(self) -> Iterator[UsageReport]:
        """Remove and yield the waiting reports, the oldest first."""
        while self._awaiting_span:
            yield self._pop_oldest()

    def _is_priced_without_key(self, report: UsageReport) -> bool:
        for index, (component, fragments) in enumerate(self._priced_without_key):
            if component is report.component and all(fragment in report.match_key for fragment in fragments):
                del self._priced_without_key[index]
                return True
        return False

    def _pop(self, key: str) -> UsageReport:
        self._count -= 1
        reports = self._awaiting_span[key]
        return reports.popleft() if len(reports) > 1 else self._awaiting_span.pop(key)[0]

    def _pop_oldest(self) -> UsageReport:
        key = next(iter(self._awaiting_span))
        self._priced_without_span.add(key)
        return self._pop(key)


class Repeats:
    """Finds reports of the same work by a class that wraps another component.

    Such a class reports the same request and amounts at the same time. If there is no request id, the amounts alone
    are not enough: one of the two objects must also have the other as an attribute.
    """

    def __init__(self) -> None:
        self._reports: OrderedDict[Hashable, list[list[UsageReport]]] = OrderedDict()  # each of the same work

    def is_repeat(self, report: UsageReport) -> bool:
        """Record a report, and return True if another object reported the same work just before."""
        if report.work is None:
            return False
        key, since_ns = (report.component, report.work), report.time_ns - _REPEAT_NS
        recent = [reports for reports in self._reports.get(key, ()) if reports[0].time_ns >= since_ns][-_MAX_WAITING:]
        known = next((reports for reports in recent if _repeats(report, reports)), None)
        if known is None:
            recent.append([report])
        else:
            known.append(report)
        self._reports[key] = recent
        self._reports.move_to_end(key)
        if len(self._reports) > _MAX_REMEMBERED:
            self._reports.popitem(last=False)
        return known is not None


def _repeats(report: UsageReport, others: list[UsageReport]) -> bool:
    """Return True if a report repeats others: of a request with an id, or of an object that wraps or is wrapped."""
    if any(report.reporter == other.reporter for other in others):
        return False
    if report.work is not None and report.work[0]:
        return True
    if any(other.reporter in report.holds for other in others):
        return True
    holders = [other for other in others if report.reporter in other.holds]
    inside = {other.reporter for other in others}
    return any(not holder.holds & inside for holder in holders)  # a wrapping object repeats the one inside
