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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Settles(Protocol):
        """Something that holds what would be lost with the process."""

        def settle_at_process_end(self) -> None:
            """Let go of it, soon; must not raise."""


__all__ = ["settle_at_process_end"]

_holders: weakref.WeakSet[Settles] = weakref.WeakSet()
_armed_in: int | None = None  # the process whose end is watched


def settle_at_process_end(holder: Settles) -> None:
    """Let a holder settle when this process ends, if it is a child of multiprocessing; elsewhere atexit does.

    Call it when the child is at work: what is registered while it imports its main module is cleared.
    """
    global _armed_in  # one per process, and forked children begin with their parent's
    if holder not in _holders:
        _holders.add(holder)
    if _armed_in == os.getpid():
        return
    process = sys.modules.get("multiprocessing.process")  # imported in every such child
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415  # not for those who have no children

    _armed_in = os.getpid()
    Finalize(None, _settle_all, exitpriority=0)  # after those of others that come before the children are awaited


def _settle_all() -> None:
    for holder in list(_holders):
        holder.settle_at_process_end()
