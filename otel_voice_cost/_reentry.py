"""State that the thread which changes it may be asked for again, in the middle of that change.

A garbage collection ends the spans of tasks that nobody kept, and a signal handler flushes: both run on a thread
that may be inside this package. A plain lock would wait for itself there for ever, and one that lets its own thread
in would show it a change half done. So what comes from inside waits until the thread is through.
"""

from __future__ import annotations

import _thread
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

from ._forks import reset_after_fork

__all__ = ["Gate", "Inbox", "run_in_thread"]

_T = TypeVar("_T")


class Gate:
    """A lock for state, and the work that has come from inside it.

    Attributes:
        lock: Held while the state changes.
        is_held_here: Whether this thread holds it.
        waiting: Work, none of which raises, for when this thread has left the lock: see `catch_up`.
    """

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self.lock = RLock()
        self.is_held_here: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]  # as threading does
        self.waiting: deque[Callable[[], object]] = deque()

    def catch_up(self) -> None:
        """Do what has waited, unless this thread is still inside."""
        while self.waiting and not self.is_held_here():
            try:
                work = self.waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            work()


class Inbox(Generic[_T]):
    """Does something with each item, one at a time; what is put in from inside has its turn afterwards.

    Attributes:
        items: What waits.
        is_held_here: Whether this thread is at it.
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
        self.is_held_here: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        self.items: deque[_T] = deque()

    def put(self, item: _T) -> None:
        """Do something with the item: now, or where this comes from inside, before the outer call returns."""
        self.items.append(item)
        self.work()

    def work(self) -> None:
        """Do something with all items, unless this thread is at it."""
        if self.is_held_here():
            return
        with self._lock:
            while self.items:
                self._do(self.items.popleft())


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
