"""The true cost of a voice call on the OpenTelemetry spans of LiveKit Agents and Pipecat."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._diagnostics import Stats
from .accounting.budget import Budget
from .bill import CostPart, SessionCost, TurnCost, UnreportedPart
from .cost import Cost, CostLine
from .errors import PriceError, SettingsError, VoiceCostError
from .install import install
from .prices.rates import Rate
from .processor import VoiceCostSpanProcessor
from .usage import Component, Mode, Unit, Usage

if TYPE_CHECKING:
    from .prices.catalog import PriceCatalog
    from .settings import Settings
    from .sources.actions import end_call

__all__ = [
    "Budget",
    "Component",
    "Cost",
    "CostLine",
    "CostPart",
    "Mode",
    "PriceCatalog",
    "PriceError",
    "Rate",
    "SessionCost",
    "Settings",
    "SettingsError",
    "Stats",
    "TurnCost",
    "Unit",
    "UnreportedPart",
    "Usage",
    "VoiceCostError",
    "VoiceCostSpanProcessor",
    "end_call",
    "install",
]

_LATER = {"PriceCatalog": ".prices.catalog", "Settings": ".settings", "end_call": ".sources.actions"}


def __getattr__(name: str) -> Any:
    """Import what takes half of the time, and no span needs, when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
