"""The command line, ``voice-cost``; extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; if its libraries are missing, print how to install them."""
    try:
        from .commands import app  # noqa: PLC0415  # needs the libraries of the extra
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "tomli_w"):
            raise
        sys.exit(f"voice-cost needs {error.name}: pip install 'otel-voice-cost[cli]'")
    app()
