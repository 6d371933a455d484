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
from enum import Enum
from threading import RLock
from typing import Any, Final, Generic, Literal, TypeVar

from ._forks import reset_after_fork

__all__ = ["LATER", "Gate", "Inbox", "Later", "run_in_thread"]

_T = TypeVar("_T")
_WAIT_SECONDS = 0.1  # for another thread: it is through in microseconds, unless it stands still itself
_SHORT_WAIT_SECONDS = 0.005  # once somebody has waited in vain


class _Later(Enum):
    LATER = "later"


Later = Literal[_Later.LATER]
LATER: Final = _Later.LATER
"""Returned in place of a result: the step has not been taken."""


class Gate:
    """A lock for state, and the work that could not have it.

    Attributes:
        lock: Held while the state changes.
        is_held_here: Whether this thread holds it.
        waiting: Work, none of which raises, for when the lock is free: see `catch_up`.
    """

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self.lock = RLock()
        self.is_held_here = _ownership_of(self.lock)
        self.waiting: deque[Callable[[], object]] = deque()
        self._catching_up = RLock()  # only ever tried
        self._is_catching_up_here = _ownership_of(self._catching_up)
        self._stands_still = False

    def do(self, step: Callable[..., _T], *args: Any, seconds: float = _WAIT_SECONDS) -> _T | Later:
        """Take a step with the lock.

        Args:
            step: What to do; what it raises goes on.
            args: Its arguments.
            seconds: How long to wait for another thread; less where somebody has waited in vain.

        Returns:
            The result; `LATER` where this comes from inside, or another thread does not let go of the lock.
        """
        if self.waiting:
            self.catch_up()
        if self.is_held_here():
            return LATER
        try:  # with nothing in between at which an interrupt could leave the lock held
            self._stands_still = not self.lock.acquire(timeout=_SHORT_WAIT_SECONDS if self._stands_still else seconds)
            result = LATER if self._stands_still else step(*args)
        finally:
            try:  # noqa: SIM105  # a context manager would be a call, and an interrupt could come before it
                self.lock.release()
            except RuntimeError:  # it was not taken
                pass
        if self.waiting:
            self.catch_up()
        return result

    def postpone(self, work: Callable[[], object]) -> None:
        """Do a piece of work when the lock is free."""
        self.waiting.append(work)
        self.catch_up()  # it may be free by now

    def outside(self, work: Callable[[], object]) -> None:
        """Do a piece of work without the lock: at once, or when this thread has left it."""
        if self.is_held_here():
            self.waiting.append(work)
        else:
            work()

    def catch_up(self) -> None:
        """Do what has waited, in its order, unless somebody has the lock or is at it: they catch up."""
        if self._is_catching_up_here():
            return
        while self.waiting and self._is_free():
            try:  # as in `do`
                if not self._catching_up.acquire(blocking=False):
                    return
                while self.waiting and self._is_free():
                    self.waiting.popleft()()
            finally:
                try:  # noqa: SIM105
                    self._catching_up.release()
                except RuntimeError:
                    pass

    def _is_free(self) -> bool:
        if self.is_held_here() or not self.lock.acquire(blocking=False):
            return False
        self.lock.release()
        return True


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
        self._is_held_here = _ownership_of(self._lock)
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


def _ownership_of(lock: Any) -> Callable[[], bool]:
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
