"""Names that the shell completes."""

from __future__ import annotations

from typing import Any

from ..prices.names import split_name
from .app import catalog

__all__ = ["complete_model", "complete_provider"]


def complete_provider(incomplete: str) -> list[str]:
    """Return the providers that begin with a text."""
    return sorted({provider for name in catalog().names() if (provider := split_name(name)[0]).startswith(incomplete)})


def complete_model(ctx: Any, incomplete: str) -> list[str]:
    """Return the models that begin with a text, of the provider that was named before, if one was."""
    wanted = ctx.params.get("provider")
    pairs = [split_name(name) for name in catalog().names()]
    return sorted({m for p, m in pairs if wanted in (None, p) and m.startswith(incomplete)})
