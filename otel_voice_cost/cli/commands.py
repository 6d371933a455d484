"""All commands. Results go to standard output, problems to standard error with exit status 1."""

from . import doctor, estimate, gaps, langfuse, prices, report, reprice, what_if
from .app import app

__all__ = ["app", "doctor", "estimate", "gaps", "langfuse", "prices", "report", "reprice", "what_if"]
