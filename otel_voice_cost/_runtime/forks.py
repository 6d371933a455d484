"""Reset state in a forked child: locks of other threads are never released there, sessions belong to the parent."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Resets(Protocol):
        """An object with locks or state of one process."""

        def reset(self) -> None:
            """Create new locks and state."""


__all__ = ["reset_after_fork"]

_owners: weakref.WeakSet[Resets] = weakref.WeakSet()


def reset_after_fork(owner: Resets) -> None:
    """Reset an object in every forked child, as long as the object lives."""
    _owners.add(owner)


def _reset_all() -> None:
    for owner in list(_owners):
        owner.reset()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_reset_all)
