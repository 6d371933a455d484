"""A hand on the brake: what a call may cost, and what happens when it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ._diagnostics import Diagnostics
from .bill import CallCost
from .cost import EXACT
from .errors import VoiceCostError
from .sessions import Session

__all__ = ["Brake", "Budget", "OnBudget"]

OnBudget = Callable[[CallCost], Awaitable[object] | object]
_SIXTY = Decimal(60)
_PLACE = "a budget's callback"
_REACHED = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a call may cost. Where both limits are given, the lower one holds.

    Callbacks run in the event loop of the session, once each, with the record so far; they may be coroutine
    functions. What they raise is logged and ends no call.

    Attributes:
        per_session: US dollars for a call.
        per_minute: US dollars for each minute, the first in full from the start.
        on_warning: The part of the budget at which ``warn`` is called, 0 to 1.
        warn: Called when that much is spent.
        on_exceeded: Called when more than the budget is spent; `end_call` makes one that hangs up.

    Raises:
        VoiceCostError: A limit is no number above zero, or ``on_warning`` is not between 0 and 1.
    """

    per_session: Decimal | float | str | None = None
    per_minute: Decimal | float | str | None = None
    on_warning: float = 0.8
    warn: OnBudget | None = None
    on_exceeded: OnBudget | None = None

    def __post_init__(self) -> None:
        for name in ("per_session", "per_minute"):
            object.__setattr__(self, name, _limit(name, getattr(self, name)))
        if not 0 < self.on_warning <= 1:
            raise VoiceCostError(f"Budget.on_warning: got {self.on_warning!r}, expected a part between 0 and 1")

    def usd_for(self, seconds: Decimal) -> Decimal | None:
        """What a call of this length may have cost, US dollars; None for any amount."""
        limits = [Decimal(self.per_session)] if self.per_session is not None else []
        if self.per_minute is not None:
            minutes = EXACT.divide(max(seconds, _SIXTY), _SIXTY)
            limits.append(EXACT.multiply(Decimal(self.per_minute), minutes))
        return min(limits, default=None)


def _limit(name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        limit = Decimal(str(value))
    except InvalidOperation:
        limit = Decimal("NaN")
    if not limit.is_finite() or limit <= 0 or isinstance(value, bool):
        raise VoiceCostError(f"Budget.{name}: got {value!r}, expected US dollars above zero")
    return limit


class Brake:
    """Watches what sessions spend, and calls back. Never raises."""

    def __init__(self, budget: Budget, diagnostics: Diagnostics) -> None:
        self.budget = budget
        self._diagnostics = diagnostics
        self._share = Decimal(str(budget.on_warning))
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly

    def check(self, session: Session, spent: Decimal, seconds: Decimal, record: Callable[[], CallCost]) -> None:
        """Call back if the session has spent too much.

        Args:
            session: The session.
            spent: US dollars so far.
            seconds: Length so far.
            record: Makes the record so far; asked for only where somebody is called.
        """
        limit = self.budget.usd_for(seconds)
        if limit is None:
            return
        if spent >= EXACT.multiply(limit, self._share) and _take(session, "warned"):
            self._call(session, self.budget.warn, record)
        if spent > limit and _take(session, "exceeded"):
            self._diagnostics.warn("budget exceeded", f"A session has spent more than its budget of {limit:f} USD.")
            self._call(session, self.budget.on_exceeded, record)

    def _call(self, session: Session, callback: OnBudget | None, record: Callable[[], CallCost]) -> None:
        if callback is None:
            return
        record_now, loop = record(), session.loop
        if loop is None or loop.is_closed():
            self._diagnostics.warn("budget", "A budget's callback was not called: its session has no event loop.")
            return
        loop.call_soon_threadsafe(self._run, callback, record_now, context=session.context)

    def _run(self, callback: OnBudget, record: CallCost) -> None:
        """In the event loop, which what leaves here would end."""
        try:
            result = callback(record)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(self._finished(result))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # somebody else's code
            self._diagnostics.fault(error, _PLACE)

    async def _finished(self, result: Awaitable[object]) -> None:
        try:
            await result
        except (Exception, SystemExit) as error:  # noqa: BLE001  # as in `_run`
            self._diagnostics.fault(error, _PLACE)


def _take(session: Session, mark: str) -> bool:
    """Whether a mark is reached for the first time. In one step: another thread may be here too."""
    return session.marks.pop(mark, _REACHED) is not _REACHED
