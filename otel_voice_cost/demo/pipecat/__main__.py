"""Hold the call with Pipecat, and print its bill and what its components were asked to do."""

from __future__ import annotations

import sys

from loguru import logger
from opentelemetry import trace
from rich.console import Console

from ... import SessionCost
from ..receiver import ReceivedSpan
from ..report import PIPECAT, print_meters, print_report
from ..run import Untouched, run


def main() -> int:
    """Run the demo; return 0 if meters, spans, the conversation's total and the record of the call agree."""
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    from .call import Desk  # noqa: PLC0415  # Pipecat logs its name when it is imported

    desk = Desk()

    def print_all(spans: list[ReceivedSpan], untouched: Untouched, record: SessionCost, console: Console) -> bool:
        agrees = print_meters(desk.meters, record, console)
        return print_report(spans, untouched, record, console, PIPECAT) and agrees

    title = "A phone call of about 20 seconds, eight times as fast, offline."
    return run(title, trace.set_tracer_provider, desk.hold_call, print_all)


if __name__ == "__main__":
    sys.exit(main())
