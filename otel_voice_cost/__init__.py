"""The true cost of a voice call on the OpenTelemetry spans of LiveKit Agents."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .bill import CallCost, CostPart, TurnCost
from .budget import Budget
from .cost import Cost, CostLine
from .errors import PriceError, Problem, SettingsError, UnitMismatchError, UsageError, VoiceCostError
from .install import install
from .prices.rates import Rate, RateCard
from .processor import VoiceCostSpanProcessor
from .stats import Stats
from .usage import Component, Mode, Unit, Usage

if TYPE_CHECKING:
    from .livekit.actions import end_call
    from .prices.catalog import PriceCatalog
    from .settings import Settings

__all__ = [
    "Budget",
    "CallCost",
    "Component",
    "Cost",
    "CostLine",
    "CostPart",
    "Mode",
    "PriceCatalog",
    "PriceError",
    "Problem",
    "Rate",
    "RateCard",
    "Settings",
    "SettingsError",
    "Stats",
    "TurnCost",
    "Unit",
    "UnitMismatchError",
    "Usage",
    "UsageError",
    "VoiceCostError",
    "VoiceCostSpanProcessor",
    "end_call",
    "install",
]

_LATER = {"PriceCatalog": ".prices.catalog", "Settings": ".settings", "end_call": ".livekit.actions"}


def __getattr__(name: str) -> Any:
    """Import what takes half of the time, and no span needs, when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
