"""The true cost of a voice call on the OpenTelemetry spans of LiveKit Agents."""

from .bill import CallCost, CostPart, TurnCost
from .budget import Budget
from .cost import Cost, CostLine
from .errors import PriceError, Problem, SettingsError, UnitMismatchError, UsageError, VoiceCostError
from .install import install
from .livekit.actions import end_call
from .prices import PriceCatalog, Rate, RateCard
from .processor import VoiceCostSpanProcessor
from .settings import Settings
from .stats import Stats
from .usage import Component, Mode, Unit, Usage

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
