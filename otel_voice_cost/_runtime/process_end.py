"""The end of a process that runs no ``atexit``: the children of multiprocessing, as LiveKit's job processes are.

Source:
    CPython 3.10 to 3.14, ``multiprocessing/process.py``, ``BaseProcess._bootstrap``: it clears all finalizers, runs
    the child, then ``util._exit_function``, which runs those with a priority; the child leaves by ``os._exit``.
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

_SECONDS = 6.0  # for all of them together; LiveKit kills a job process that takes ten

Settle = Callable[[], None]

# Functions by what they are bound to. No WeakMethod: its callback fails if the collector has taken it before.
_to_settle: dict[weakref.ref[Any], Callable[[Any], None]] = {}
_armed_in: int | None = None  # the process whose end is watched


def at_process_end(settle: Settle) -> None:
    """Call a bound method when this process ends, if it is a child of multiprocessing; elsewhere atexit does.

    Call this when the child is at work: what is registered while it imports its main module is cleared.

    Args:
        settle: Held weakly, called once, in parallel with the others; must not raise, and end within 5 seconds.
    """
    global _armed_in  # one per process, and forked children begin with their parent's
    _to_settle[weakref.ref(getattr(settle, "__self__"), _forget)] = getattr(settle, "__func__")  # noqa: B009
    if _armed_in == os.getpid():
        return
    process = sys.modules.get("multiprocessing.process")  # imported in every such child
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415  # not for those who have no children

    _armed_in = os.getpid()
    Finalize(None, _settle_all, exitpriority=0)  # after those of others that come before the children are awaited


def _forget(owner: weakref.ref[Any]) -> None:
    _to_settle.pop(owner, None)


def _settle_all() -> None:
    waits = []
    for reference, function in list(_to_settle.items()):
        if (owner := reference()) is not None:
            settle = partial(function, owner)
            try:
                waits.append(run_in_thread(settle))
            except RuntimeError:  # no thread can be had
                settle()
    deadline = monotonic() + _SECONDS
    for wait in waits:
        wait(deadline - monotonic())
