"""State that a forked child must reset: locks held by other threads would never open, sessions are its parent's."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Resets(Protocol):
        """Something with locks or state of one process."""

        def reset(self) -> None:
            """Make new locks and state."""


__all__ = ["reset_after_fork"]

_owners: weakref.WeakSet[Resets] = weakref.WeakSet()


def reset_after_fork(owner: Resets) -> None:
    """Reset an object in every child that this process forks, while it lives."""
    _owners.add(owner)


def _reset_all() -> None:
    for owner in list(_owners):
        owner.reset()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_reset_all)
