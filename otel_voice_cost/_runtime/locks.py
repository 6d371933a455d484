"""State that the thread which changes it may be asked for again, in the middle of that change.

A garbage collection ends the spans of tasks that nobody kept, and a signal handler flushes: both run on a thread
that may be inside this package. A plain lock would wait for itself there for ever, and one that lets its own thread
in would show it a change half done. So what comes from inside waits until the thread is through.

Another thread may have the lock and wait, in such a collection, for a lock of the application's that this thread
has: a log handler's, say. So nobody waits for it without a limit either.
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
_WAIT_SECONDS = 0.1  # for another thread: it is through in microseconds, unless it stands still itself
_SHORT_WAIT_SECONDS = 0.005  # once somebody has waited in vain


class _Later(Enum):
    LATER = "later"


Later = Literal[_Later.LATER]
LATER: Final = _Later.LATER
"""Returned in place of a result: the step was not taken."""

FollowUp = Callable[[], object]
Work = Callable[[], "FollowUp | None"]


class Gate:
    """A lock for state, with a queue for the work that could not have it.

    Attributes:
        lock: Held while the state changes.
        is_held_here: Returns whether this thread holds it.
        waiting: Work for whoever has the lock next. Each piece is called with the lock and returns what is to be
            called without it. Neither may raise.
    """

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self.lock = RLock()
        self.is_held_here = _get_ownership(self.lock)
        self.waiting: deque[Work] = deque()
        self._context = Context()
        self._stands_still = False

    def do(self, step: Callable[..., _T], *args: Any, seconds: float = _WAIT_SECONDS) -> _T | Later:
        """Take a step with the lock, after the work that waits for it.

        It runs in a separate context: decimal sets a context variable in every thread that it is new to, and up to
        Python 3.11 a garbage collection in the middle of `ContextVar.set` must set none (CPython gh-148891).

        Args:
            step: Called with the arguments; what it raises goes on.
            args: The arguments.
            seconds: How long to wait for another thread; less if somebody has waited in vain.

        Returns:
            The result; `LATER` if this comes from inside, or another thread does not let go of the lock.
        """
        if self.is_held_here():
            return LATER
        follow_ups: deque[FollowUp] | None = None
        try:  # with nothing in between at which an interrupt could leave the lock held
            if not self.lock.acquire(blocking=False) and not self._wait(seconds):
                return LATER
            if self.waiting:
                self._take_all(follow_ups := deque())
            result = self._context.run(step, *args)
            if self.waiting:
                self._take_all(follow_ups := follow_ups or deque())
        finally:
            try:  # noqa: SIM105  # a context manager would be a call, and an interrupt could come before it
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
        """Queue a piece of work that could not have the lock."""
        self.waiting.append(work)
        self.catch_up()  # it may be free by now

    def outside(self, follow_up: FollowUp) -> None:
        """Call something without the lock: at once, or when this thread leaves it."""
        if self.is_held_here():
            self.waiting.append(partial(_given, follow_up))
        else:
            follow_up()

    def catch_up(self) -> None:
        """Do the work that waits, unless somebody has the lock: they do it."""
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
        finally:  # after an interrupt, the rest is for the next
            self.waiting.extend(partial(_given, follow_up) for follow_up in follow_ups)


def _given(follow_up: FollowUp) -> FollowUp:
    return follow_up


class Inbox(Generic[_T]):
    """Does something with items, one at a time, when somebody asks for it.

    Attributes:
        items: What waits. Appending to it is safe anywhere.
    """

    def __init__(self, do: Callable[[_T], None]) -> None:
        """Begin empty.

        Args:
            do: Called with each item; must not raise.
        """
        self._do = do
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock and forget the items, in a forked child: the parent has them."""
        self._lock = RLock()
        self._is_held_here = _get_ownership(self._lock)
        self.items: deque[_T] = deque()

    def work(self, seconds: float = _WAIT_SECONDS) -> None:
        """Do something with all items, or leave them to a thread that is at it and is not through in time."""
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
    """The way to ask whether this thread holds a lock, as threading does."""
    is_owned: Callable[[], bool] = lock._is_owned
    return is_owned


def run_in_thread(step: Callable[[], object]) -> Callable[[float], bool]:
    """Take a step in a daemon thread, and return the way to wait for it: for so many seconds; whether it is done.

    ``threading.Thread.start`` holds a lock while it waits for the new thread, which needs that lock. A signal handler
    that starts another thread in that moment never returns, so this is done without it.

    Args:
        step: Must not raise.

    Raises:
        RuntimeError: No thread can be had: a limit, or the interpreter ends.
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
