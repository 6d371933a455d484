"""Locks for state that the thread changing it may use again during that change.

A garbage collection ends the spans of abandoned tasks, and a signal handler flushes: both may run on a thread that
is inside this package. There a plain lock would deadlock, and a reentrant one would expose a half-done change. So
work that arrives from inside is postponed until the thread leaves.

Another thread may hold the lock and wait, in such a collection, for an application lock that this thread holds,
such as a log handler's. So every wait has a limit.
"""

from __future__ import annotations

import _thread
from collections import deque
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from functools import partial
from threading import RLock
from typing import Any, Final, Generic, Literal, TypeVar

from .forks import reset_after_fork

__all__ = ["LATER", "FollowUp", "Gate", "Inbox", "Later", "run_in_thread"]

_T = TypeVar("_T")
_WAIT_SECONDS = 0.1  # for another thread: it needs microseconds unless it is blocked
_SHORT_WAIT_SECONDS = 0.005  # after a wait has timed out


class _Later(Enum):
    LATER = "later"


Later = Literal[_Later.LATER]
LATER: Final = _Later.LATER
"""Returned in place of a result: the step was not taken."""

FollowUp = Callable[[], object]
Work = Callable[[], "FollowUp | None"]


class Gate:
    """A lock for state, with a queue of postponed work.

    Attributes:
        lock: Held while the state changes.
        is_held_here: Returns True if this thread holds it.
        waiting: Work for the next holder of the lock. Each item is called with the lock held and returns a
            follow-up to call without it. Neither may raise.
    """

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Create a new lock in a forked child."""
        self.lock = RLock()
        self.is_held_here = _get_ownership(self.lock)
        self.waiting: deque[Work] = deque()
        self._context = Context()
        self._stands_still = False

    def do(self, step: Callable[..., _T], *args: Any, seconds: float = _WAIT_SECONDS) -> _T | Later:
        """Run a step with the lock held, after the postponed work.

        It runs in a separate context: decimal sets a context variable on first use in a thread, and up to
        Python 3.11 a garbage collection during `ContextVar.set` must set none (CPython gh-148891).

        Args:
            step: Called with the arguments; its exceptions propagate.
            args: The arguments.
            seconds: Longest wait for another thread; shorter after a wait has timed out.

        Returns:
            The result; `LATER` if this thread holds the lock, or another thread does not release it in time.
        """
        if self.is_held_here():
            return LATER
        follow_ups: deque[FollowUp] | None = None
        try:  # directly after acquiring, so that no interrupt can leave the lock held
            if not self.lock.acquire(blocking=False) and not self._wait(seconds):
                return LATER
            if self.waiting:
                self._take_all(follow_ups := deque())
            result = self._context.run(step, *args)
            if self.waiting:
                self._take_all(follow_ups := follow_ups or deque())
        finally:
            try:  # noqa: SIM105  # a context manager is a call, and an interrupt could come before it
                self.lock.release()
            except RuntimeError:  # it was not taken
                pass
            if follow_ups:
                self._follow_up(follow_ups)
        if self.waiting:
            self.catch_up()
        return result

    def _wait(self, seconds: float) -> bool:
        self._stands_still = not self.lock.acquire(timeout=_SHORT_WAIT_SECONDS if self._stands_still else seconds)
        return not self._stands_still

    def postpone(self, work: Work) -> None:
        """Queue work that could not get the lock."""
        self.waiting.append(work)
        self.catch_up()  # it may be free by now

    def outside(self, follow_up: FollowUp) -> None:
        """Call a follow-up without the lock: now, or when this thread releases it."""
        if self.is_held_here():
            self.waiting.append(partial(_given, follow_up))
        else:
            follow_up()

    def catch_up(self) -> None:
        """Run the postponed work, unless the lock is held: then its holder does."""
        while self.waiting and not self.is_held_here():
            follow_ups: deque[FollowUp] = deque()
            try:  # as in `do`
                if not self.lock.acquire(blocking=False):
                    return
                self._take_all(follow_ups)
            finally:
                try:  # noqa: SIM105
                    self.lock.release()
                except RuntimeError:
                    pass
                if follow_ups:
                    self._follow_up(follow_ups)

    def _take_all(self, follow_ups: deque[FollowUp]) -> None:
        while self.waiting:
            follow_up = self._context.run(self.waiting.popleft())
            if follow_up is not None:
                follow_ups.append(follow_up)

    def _follow_up(self, follow_ups: deque[FollowUp]) -> None:
        try:
            while follow_ups:
                follow_ups.popleft()()
        finally:  # after an interrupt, the next holder runs the rest
            self.waiting.extend(partial(_given, follow_up) for follow_up in follow_ups)


def _given(follow_up: FollowUp) -> FollowUp:
    return follow_up


class Inbox(Generic[_T]):
    """Queues items and processes them one at a time on request.

    Attributes:
        items: The waiting items. Appending is safe anywhere.
    """

    def __init__(self, do: Callable[[_T], None]) -> None:
        """Start empty.

        Args:
            do: Called with each item; must not raise.
        """
        self._do = do
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Create a new lock and drop the items in a forked child; the parent processes them."""
        self._lock = RLock()
        self._is_held_here = _get_ownership(self._lock)
        self.items: deque[_T] = deque()

    def work(self, seconds: float = _WAIT_SECONDS) -> None:
        """Process all items, or leave them to another thread that does not finish in time."""
        if self._is_held_here():
            return
        try:  # as in `Gate.do`
            if self._lock.acquire(timeout=seconds):
                while self.items:
                    self._do(self.items.popleft())
        finally:
            try:  # noqa: SIM105
                self._lock.release()
            except RuntimeError:
                pass


def _get_ownership(lock: Any) -> Callable[[], bool]:
    """Return a function that checks if this thread holds a lock, as threading does."""
    is_owned: Callable[[], bool] = lock._is_owned
    return is_owned


def run_in_thread(step: Callable[[], object]) -> Callable[[float], bool]:
    """Run a step in a daemon thread; return a function that waits some seconds for it and returns True if it is done.

    ``threading.Thread.start`` holds a lock while it waits for the new thread, which needs that lock. A signal handler
    that starts another thread at that moment never returns, so this does not use it.

    Args:
        step: Must not raise.

    Raises:
        RuntimeError: No thread can start: a limit is exceeded or the interpreter exits.
    """
    unfinished = _thread.allocate_lock()
    unfinished.acquire()

    def run() -> None:
        try:
            step()
        finally:
            unfinished.release()

    def wait(seconds: float) -> bool:
        if not unfinished.acquire(timeout=max(0.0, seconds)):
            return False
        unfinished.release()
        return True

    _thread.start_new_thread(run, ())
    return wait
