"""Numbers in decoded metrics, checked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ..errors import UsageError

__all__ = ["read_amount", "read_count"]

_MOST = Decimal(10**15)  # of a unit in one report; beyond is a mistake, and digits that take time
_FINEST = -30


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
