"""Quote values of users in messages: cut, and without anything that looks like a key, password or token."""

from __future__ import annotations

import re

__all__ = ["masked", "shown"]

_LONGEST = 60
_LOOKED_AT = 1_000  # characters; what is cut off later must not hide the beginning of a key
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])[sp]k[-_][^\s'\",;]*"  # of Langfuse, OpenAI, ElevenLabs, Stripe
    r"|\b(?:bearer|basic)\s\S{16,}"
    r"|(?<=://)[^/\s@]+@"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    re.IGNORECASE,
)
_HINTS = ("k-", "k_", "bearer", "basic", "://")  # without any of these, and four hyphens, `_KEYS` finds nothing
_RUNS = re.compile(r"[A-Za-z0-9]{20,}")


def masked(text: str) -> str:
    """Return a text with ``***`` for what looks like a secret: keys, credentials in URLs, long random tokens."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS) or lower.count("-") >= 4:
        text = _KEYS.sub("***", text)
    return _RUNS.sub(_mask_random, text)


def shown(value: object) -> str:
    """Return a value as code would spell it, masked and cut to 60 characters."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "a value nested too deeply"
    return masked(text[:_LOOKED_AT])[:_LONGEST]


def _mask_random(run: re.Match[str]) -> str:
    """Words have no digits, numbers no letters; 20 characters with both are neither."""
    text = run[0]
    return text if text.isalpha() or text.isdigit() else "***"
