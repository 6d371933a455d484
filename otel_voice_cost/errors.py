"""All errors of this package, with one base class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["PriceError", "Problem", "SettingsError", "UnitMismatchError", "UsageError", "VoiceCostError"]


class VoiceCostError(Exception):
    """Base class of all errors of this package."""


class UsageError(VoiceCostError):
    """Reported usage is invalid: the message names the field and the expected value."""


class UnitMismatchError(VoiceCostError):
    """A rate cannot price an amount of another unit."""


class Problem(NamedTuple):
    """One mistake in a price file or variable.

    ``place`` is a file with its entry, or a variable with its key.
    """

    place: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.place}: got {self.value}, expected {self.expected}"


class _ProblemsError(VoiceCostError):
    """Carries all mistakes found, so that they can be fixed at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class PriceError(_ProblemsError):
    """Prices in a file or in ``VOICE_COST_PRICES`` are invalid."""


class SettingsError(_ProblemsError):
    """A ``VOICE_COST_*`` variable has an invalid value."""
