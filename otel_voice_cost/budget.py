"""A hand on the brake: what a call may cost, and what happens when it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from threading import Lock

from ._diagnostics import Diagnostics
from ._forks import reset_after_fork
from .bill import CallCost
from .cost import EXACT
from .errors import VoiceCostError
from .sessions import Session

__all__ = ["Brake", "Budget", "OnBudget"]

OnBudget = Callable[[CallCost], Awaitable[object] | object]
_SIXTY = Decimal(60)


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
        self._tasks: set[asyncio.Future[object]] = set()  # the loop itself holds them weakly
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self._lock = Lock()

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
        with self._lock:
            exceeded = spent > limit and not session.budget_exceeded
            warned = not exceeded and not session.budget_warned and spent >= EXACT.multiply(limit, self._share)
            session.budget_exceeded |= exceeded
            session.budget_warned |= exceeded or warned
        if exceeded:
            self._diagnostics.note("budget exceeded", f"A session has spent more than its budget of {limit:f} USD.")
            self._call(session, self.budget.on_exceeded, record)
        elif warned:
            self._call(session, self.budget.warn, record)

    def _call(self, session: Session, callback: OnBudget | None, record: Callable[[], CallCost]) -> None:
        if callback is None:
            return
        record_now, loop = record(), session.loop
        if loop is None or loop.is_closed():
            self._diagnostics.warn("budget", "A budget's callback was not called: its session has no event loop.")
            return
        loop.call_soon_threadsafe(self._run, callback, record_now, context=session.context)

    def _run(self, callback: OnBudget, record: CallCost) -> None:
        try:
            result = callback(record)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._tasks.add(task)
                task.add_done_callback(self._done)
        except Exception as error:  # noqa: BLE001  # somebody else's code in the session's loop
            self._diagnostics.fault(error, "a budget's callback")

    def _done(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._diagnostics.fault(error, "a budget's callback")
