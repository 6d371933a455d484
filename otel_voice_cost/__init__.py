"""The true cost of a voice call on the OpenTelemetry spans of LiveKit Agents."""

from .cost import Cost, CostLine
from .errors import PriceError, Problem, SettingsError, UnitMismatchError, UsageError, VoiceCostError
from .install import install
from .prices import PriceCatalog, Rate, RateCard
from .processor import VoiceCostSpanProcessor
from .settings import Settings
from .stats import Stats
from .usage import Component, Mode, Unit, Usage

__all__ = [
    "Component",
    "Cost",
    "CostLine",
    "Mode",
    "PriceCatalog",
    "PriceError",
    "Problem",
    "Rate",
    "RateCard",
    "Settings",
    "SettingsError",
    "Stats",
    "Unit",
    "UnitMismatchError",
    "Usage",
    "UsageError",
    "VoiceCostError",
    "VoiceCostSpanProcessor",
    "install",
]
