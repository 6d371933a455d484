"""Numbers in decoded metrics, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..errors import UsageError

__all__ = ["read_amount", "read_count", "read_counts", "read_seconds"]

_MOST = 10**15  # of a unit in one report; beyond is a mistake, and digits that take time
_FINEST = -30
_INTS = {int}
_SHORT = 1e-6  # a float above has no finer digits


def read_amount(fields: Mapping[str, object], name: str, *, default: Decimal | None = None) -> Decimal:
    """Return the number under ``name``: finite and not negative.

    Args:
        fields: Decoded metrics; numbers are ``int``, ``float`` or ``Decimal``.
        name: The field.
        default: Returned where the field is absent or null. Without it, absence is an error.

    Raises:
        UsageError: The field is absent without default, negative, not finite, above 10^15, or no number
            (``True`` and ``"3"`` are none). The message shows numbers and, of anything else,
            the type alone: text may be speech.
    """
    value = fields.get(name)
    if value is None:
        if default is None:
            raise UsageError(f"{name}: got nothing, expected a number")
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise UsageError(f"{name}: got {type(value).__name__}, expected a number")
    amount = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{name}: got {amount}, expected a finite number, zero or more")
    if amount > _MOST or amount.as_tuple().exponent < _FINEST:  # type: ignore[operator]  # it is finite
        raise UsageError(f"{name}: got a number of another size, expected one up to {_MOST:f} with {-_FINEST} decimals")
    return amount


def read_seconds(fields: Mapping[str, object], name: str, *, default: Decimal | None = None) -> Decimal | float:
    """Return seconds as `read_amount` does, but a float as it is: its shortest digits count.

    Raises:
        UsageError: As `read_amount`.
    """
    value = fields.get(name)
    if type(value) is float and _SHORT < value < _MOST:  # what is reported, but for mistakes
        return value
    return read_amount(fields, name, default=default)


def read_counts(fields: Mapping[str, object], names: Sequence[str]) -> list[int]:
    """Return the whole numbers under several names, as `read_count` does."""
    counts: list[Any] = [*map(fields.get, names)]
    if set(map(type, counts)) == _INTS and min(counts) >= 0 and max(counts) <= _MOST:
        return counts
    return [read_count(fields, name) for name in names]  # one is absent, as in older releases, or a mistake


def read_count(fields: Mapping[str, object], name: str) -> int:
    """Return the whole number under ``name``; zero where the field is absent or null.

    Raises:
        UsageError: As `read_amount`, and for a number with a fraction.
    """
    value = fields.get(name)
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= _MOST:  # what LiveKit reports, but for mistakes
        return value
    amount = read_amount(fields, name)
    count = int(amount)
    if amount != count:
        raise UsageError(f"{name}: got {amount}, expected a whole number")
    return count
