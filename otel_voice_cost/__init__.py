"""The true cost of a voice call on the OpenTelemetry spans of LiveKit Agents and Pipecat."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._diagnostics import Stats
    from .accounting.budget import Budget
    from .bill import CostPart, SessionCost, TurnCost, UnreportedPart
    from .cost import Cost, CostLine
    from .errors import PriceError, SettingsError, VoiceCostError
    from .installation import install
    from .prices.catalog import PriceCatalog
    from .prices.rates import Rate
    from .processor import VoiceCostSpanProcessor
    from .settings import Settings
    from .sources.actions import end_call
    from .usage import Component, Mode, Unit, Usage

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

_MODULES = {
    "_diagnostics": ("Stats",),
    "accounting.budget": ("Budget",),
    "bill": ("CostPart", "SessionCost", "TurnCost", "UnreportedPart"),
    "cost": ("Cost", "CostLine"),
    "errors": ("PriceError", "SettingsError", "VoiceCostError"),
    "installation": ("install",),
    "prices.catalog": ("PriceCatalog",),
    "prices.rates": ("Rate",),
    "processor": ("VoiceCostSpanProcessor",),
    "settings": ("Settings",),
    "sources.actions": ("end_call",),
    "usage": ("Component", "Mode", "Unit", "Usage"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the command line needs few of them."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
