"""Names of models, as ``provider/model``."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

__all__ = ["nearest_models", "split_name"]

_LEAST_OF_PROVIDER = 0.5  # likeness of two models of one provider, 0 to 1


def split_name(name: str) -> tuple[str, str]:
    """Return provider and model of ``provider/model``; a model of a gateway has another slash in it."""
    provider, _, model = name.partition("/")
    return provider, model


def nearest_models(name: str, names: Collection[str]) -> list[str]:
    """Return the three names closest to another, of the same provider if there are any; empty if none is close."""
    provider, model = split_name(name)
    of_provider = {each.partition("/")[2]: each for each in names if each.startswith(f"{provider}/")}
    found = [of_provider[other] for other in get_close_matches(model, of_provider, cutoff=_LEAST_OF_PROVIDER)]
    return found or get_close_matches(name, sorted(names))
