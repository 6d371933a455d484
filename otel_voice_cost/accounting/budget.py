"""Budgets: limits on the cost of a session, and callbacks for sessions that exceed them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from time import time_ns

from .._diagnostics import Diagnostics
from ..bill import SessionCost
from ..cost import EXACT
from ..errors import VoiceCostError
from .session import Session

__all__ = ["Budget", "BudgetCallback", "BudgetMonitor"]

BudgetCallback = Callable[[SessionCost], Awaitable[object] | object]
_SECONDS_PER_MINUTE = Decimal(60)
_NS_PER_SECOND = Decimal(10**9)
_PLACE = "a budget callback"
_REACHED = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on the cost of a session. If both are set, the lower one holds.

    Callbacks run once each, in the event loop of the session, with the cost so far; they may be coroutine
    functions. Their exceptions are logged and do not end the call.

    Attributes:
        usd_per_session: US dollars for a session.
        usd_per_minute: US dollars for each minute; the first minute counts in full from the start.
        warn_at: Fraction of the budget at which ``on_warning`` is called, 0 to 1.
        on_warning: Called when that fraction is spent.
        on_exceeded: Called when more than the budget is spent; `end_call` returns one that hangs up.

    Raises:
        VoiceCostError: A limit is not a number above zero, or ``warn_at`` is not between 0 and 1.
    """

    usd_per_session: Decimal | float | str | None = None
    usd_per_minute: Decimal | float | str | None = None
    warn_at: float = 0.8
    on_warning: BudgetCallback | None = None
    on_exceeded: BudgetCallback | None = None

    def __post_init__(self) -> None:
        for name in ("usd_per_session", "usd_per_minute"):
            object.__setattr__(self, name, _to_limit(name, getattr(self, name)))
        if not 0 < self.warn_at <= 1:
            raise VoiceCostError(f"Budget.warn_at: got {self.warn_at!r}, expected a part between 0 and 1")

    def usd_for(self, seconds: Decimal) -> Decimal | None:
        """Return the budget in US dollars for a session of this length, or None if there is no limit."""
        limits = [Decimal(self.usd_per_session)] if self.usd_per_session is not None else []
        if self.usd_per_minute is not None:
            minutes = EXACT.divide(max(seconds, _SECONDS_PER_MINUTE), _SECONDS_PER_MINUTE)
            limits.append(EXACT.multiply(Decimal(self.usd_per_minute), minutes))
        return min(limits, default=None)


def _to_limit(name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        limit = Decimal(str(value))
    except InvalidOperation:
        limit = Decimal("NaN")
    if not limit.is_finite() or limit <= 0 or isinstance(value, bool):
        raise VoiceCostError(f"Budget.{name}: got {value!r}, expected US dollars above zero")
    return limit


class BudgetMonitor:
    """Compares the cost of sessions with the budget, and schedules its callbacks. Never raises."""

    def __init__(self, budget: Budget, diagnostics: Diagnostics) -> None:
        self._budget = budget
        self._diagnostics = diagnostics
        self._warn_at = Decimal(str(budget.warn_at))
        self._tasks: set[asyncio.Task[None]] = set()  # the loop holds them only weakly

    def note_loop(self, session: Session) -> None:
        """Remember the event loop of a session, for callbacks."""
        try:
            session.loop, session.context = asyncio.get_running_loop(), copy_context()
        except RuntimeError:
            return

    def would_exceed(self, cost: SessionCost) -> bool:
        """Return True if a turn as expensive as the most expensive of the last three would exceed the budget."""
        limit = self._budget.usd_for(cost.seconds)
        return limit is not None and EXACT.add(cost.usd, cost.next_turn_usd) > limit

    def check(self, session: Session, current_cost: Callable[[Session, int], SessionCost]) -> None:
        """Schedule callbacks if the session exceeds a limit.

        Args:
            session: The session.
            current_cost: Returns its cost at a given time; called only if a callback is scheduled.
        """
        with self._diagnostics.guard("the budget"):
            now_ns = time_ns()
            seconds = EXACT.divide(Decimal(max(now_ns - session.start_ns, 0)), _NS_PER_SECOND)
            limit = self._budget.usd_for(seconds)
            if limit is None:
                return
            spent = session.usd
            if spent >= EXACT.multiply(limit, self._warn_at) and _pop_mark(session, "warning"):
                self._schedule(session, self._budget.on_warning, current_cost, now_ns)
            if spent > limit and _pop_mark(session, "exceeded"):
                message = f"A session has spent more than its budget of {limit:f} USD."
                self._diagnostics.warn_once("budget exceeded", message)
                self._schedule(session, self._budget.on_exceeded, current_cost, now_ns)

    def _schedule(
        self,
        session: Session,
        callback: BudgetCallback | None,
        current_cost: Callable[[Session, int], SessionCost],
        now_ns: int,
    ) -> None:
        if callback is None:
            return
        loop = session.loop
        if loop is None or loop.is_closed():
            message = "A budget callback was not called: its session has no event loop."
            self._diagnostics.warn_once("budget", message)
            return
        loop.call_soon_threadsafe(self._run, callback, current_cost(session, now_ns), context=session.context)

    def _run(self, callback: BudgetCallback, cost: SessionCost) -> None:
        """Run a callback in the event loop; an exception not caught here would end the loop."""
        try:
            result = callback(cost)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(self._finish(result))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the application's code
            self._diagnostics.record_fault(error, _PLACE)

    async def _finish(self, result: Awaitable[object]) -> None:
        try:
            await result
        except (Exception, SystemExit) as error:  # noqa: BLE001  # as in `_run`
            self._diagnostics.record_fault(error, _PLACE)


def _pop_mark(session: Session, mark: str) -> bool:
    """Return True if a mark is reached for the first time."""
    return session.marks.pop(mark, _REACHED) is not _REACHED
