"""Step 3: usage → rate."""

from .catalog import PriceCatalog, Rate, RateCard, Tier
from .loading import load_rates

__all__ = ["PriceCatalog", "Rate", "RateCard", "Tier", "load_rates"]
