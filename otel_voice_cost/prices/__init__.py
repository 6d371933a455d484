"""Step 3: usage → rate."""

from .catalog import Candidate, PriceCatalog
from .loading import load_sheet
from .rates import EXACT, Native, Rate, RateCard, Tier
from .sheet import PriceSheet, parse_sheet
from .terms import Share, Terms

__all__ = [
    "EXACT",
    "Candidate",
    "Native",
    "PriceCatalog",
    "PriceSheet",
    "Rate",
    "RateCard",
    "Share",
    "Terms",
    "Tier",
    "load_sheet",
    "parse_sheet",
]
