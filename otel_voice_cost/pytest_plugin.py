"""The fixture ``voice_cost`` for pytest, which loads this module at its start: LiveKit is imported on first use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import SessionCosts

__all__ = ["voice_cost"]


@pytest.fixture
def voice_cost() -> Iterator[SessionCosts]:
    """The costs of the sessions that the test holds, at the prices that the environment configures."""
    from .testing import SessionCosts  # noqa: PLC0415

    costs = SessionCosts()
    yield costs
    costs.close()
