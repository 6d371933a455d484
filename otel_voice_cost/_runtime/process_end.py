"""Hook the exit of processes that do not run ``atexit``: multiprocessing children, such as LiveKit's job processes.

Source:
    CPython 3.10 to 3.14, ``multiprocessing/process.py``, ``BaseProcess._bootstrap``: it clears all finalizers, runs
    the child, then ``util._exit_function``, which runs those with a priority; the child exits by ``os._exit``.
    livekit-agents 1.2 to 1.8, ``ipc/job_proc_executor.py``; ``forkserver`` on Linux, ``spawn`` elsewhere.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from .locks import run_in_thread

__all__ = ["at_process_end"]

_SECONDS = 6.0  # for all functions together; LiveKit kills a job process after ten

Settle = Callable[[], None]

# Functions by the object they are bound to. Not a WeakMethod: its callback fails if the WeakMethod is collected first.
_to_settle: dict[weakref.ref[Any], Callable[[Any], None]] = {}
_armed_in: int | None = None  # the process whose exit is hooked


def at_process_end(settle: Settle) -> None:
    """Call a bound method when this process exits, if it is a multiprocessing child; elsewhere atexit does.

    Call this while the child works: functions registered while it imports its main module are cleared.

    Args:
        settle: Held weakly, called once, in parallel with the others; must not raise, and must end within 5 seconds.
    """
    global _armed_in  # one per process; forked children inherit their parent's
    _to_settle[weakref.ref(getattr(settle, "__self__"), _forget)] = getattr(settle, "__func__")  # noqa: B009
    if _armed_in == os.getpid():
        return
    process = sys.modules.get("multiprocessing.process")  # imported in every such child
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415  # not imported in processes without children

    _armed_in = os.getpid()
    Finalize(None, _settle_all, exitpriority=0)  # after the other finalizers that run before children are joined


def _forget(owner: weakref.ref[Any]) -> None:
    _to_settle.pop(owner, None)


def _settle_all() -> None:
    waits = []
    for reference, function in list(_to_settle.items()):
        if (owner := reference()) is not None:
            settle = partial(function, owner)
            try:
                waits.append(run_in_thread(settle))
            except RuntimeError:  # no thread can start
                settle()
    deadline = monotonic() + _SECONDS
    for wait in waits:
        wait(deadline - monotonic())
