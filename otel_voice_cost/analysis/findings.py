"""The findings of a report on past calls (values only). All money is in US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

__all__ = ["Band", "Call", "CallPart", "DayPart", "Report", "Share", "Unpriced", "Unreported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The cost of a day, component, model, agent or revision.

    Attributes:
        name: Its name; None if the files do not have it.
        call_count: Number of calls that used it.
        usd: US dollars; None if nothing of it has a price.
        estimated_usd: The part of ``usd`` by prices of low confidence or for a stand-in unit.
        median_usd_per_minute: Half of its calls cost at most this per minute. None if no length is known, and for
            days, components and models, which are not facts of a whole call.
    """

    name: str | None
    call_count: int
    usd: Decimal | None
    estimated_usd: Decimal
    median_usd_per_minute: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPart:
    """The cost of one component on one day.

    Attributes:
        day: The day, UTC.
        component: The component; None if the files do not have it.
        usd: US dollars; None if nothing of it has a price.
    """

    day: date
    component: str | None
    usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The number of calls whose cost per minute is in a range.

    Attributes:
        low_usd: US dollars per minute that each of them costs at least.
        high_usd: US dollars per minute that each of them costs less than; None for the most expensive, without a limit.
        call_count: Number of calls.
    """

    low_usd: Decimal
    high_usd: Decimal | None
    call_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPart:
    """The cost of one model in a call."""

    component: str
    provider: str
    model: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One of the most expensive calls.

    Attributes:
        session: Id of the session.
        trace: Trace id.
        agent: Name of the agent, or None.
        started_at: Start, UTC.
        seconds: Length; None if it is unknown.
        usd: US dollars.
        usd_per_minute: US dollars per minute; None if the length is unknown.
        length_ratio: Its length, in medians of all calls.
        rate_ratio: Its cost per minute, in medians of all calls.
        parts: Its models, the most expensive first.
    """

    session: str
    trace: str
    agent: str | None
    started_at: datetime
    seconds: Decimal | None
    usd: Decimal
    usd_per_minute: Decimal | None
    length_ratio: Decimal | None
    rate_ratio: Decimal | None
    parts: tuple[CallPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpriced:
    """Usage without a price, which is in no sum."""

    component: str | None
    provider: str | None
    model: str | None
    reason: str
    call_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreported:
    """Work that vendors bill and nobody reported, as an estimate that is in no other sum.

    Attributes:
        component: The component that used it.
        provider: Provider id.
        model: Model id.
        reason: ``cut off``, ``failed``, ``no report``, ``tail`` or ``connection``.
        call_count: Number of calls with such work.
        likely_usd: The likely US dollars; None if there is no estimate.
    """

    component: str | None
    provider: str | None
    model: str | None
    reason: str
    call_count: int
    likely_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The cost of past calls.

    Attributes:
        call_count: Number of calls.
        first: Start of the first, UTC.
        last: Start of the last.
        seconds: Length of all calls whose length is known.
        usd: US dollars of what was reported; None if nothing has a price.
        estimated_usd: The part of ``usd`` by prices of low confidence or for a stand-in unit.
        unreported_usd: The likely US dollars of what nobody reported, not in ``usd``; None if nothing of it has an
            estimate.
        median_usd_per_minute: Half of the calls cost at most this per minute; None if no length is known.
        p95_usd_per_minute: 95 of 100 calls cost at most this per minute.
        incomplete_count: Number of calls whose rows do not add up to their recorded cost: spans are missing.
        by_day: Cost of each day, by time of the usage or, of a record, by start of the call.
        by_component: Cost of each component.
        by_model: Cost of each model.
        by_agent: Cost of each agent.
        by_revision: Cost of each revision of the deployment; empty if the files name none.
        by_day_and_component: Cost of each component on each day.
        per_minute: Distribution of the cost per minute, in bands of equal width; empty if no length is known.
        calls: The most expensive calls.
        unpriced: Usage without a price.
        unreported: Work that nobody reported.
    """

    call_count: int
    first: datetime | None
    last: datetime | None
    seconds: Decimal
    usd: Decimal | None
    estimated_usd: Decimal
    unreported_usd: Decimal | None
    median_usd_per_minute: Decimal | None
    p95_usd_per_minute: Decimal | None
    incomplete_count: int
    by_day: tuple[Share, ...]
    by_component: tuple[Share, ...]
    by_model: tuple[Share, ...]
    by_agent: tuple[Share, ...]
    by_revision: tuple[Share, ...]
    by_day_and_component: tuple[DayPart, ...]
    per_minute: tuple[Band, ...]
    calls: tuple[Call, ...]
    unpriced: tuple[Unpriced, ...]
    unreported: tuple[Unreported, ...]
