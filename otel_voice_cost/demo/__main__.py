"""Hold the call with LiveKit Agents and print its bill."""

from __future__ import annotations

import sys

from livekit.agents.telemetry import set_tracer_provider

from .call import hold_call
from .report import print_report
from .run import run


def main() -> int:
    """Run the demo; return 0 if spans, the session's total and the record of the call agree."""
    title = "A phone call of about 20 seconds, in real time, offline."
    return run(title, set_tracer_provider, lambda progress: hold_call(progress=progress), print_report)


if __name__ == "__main__":
    sys.exit(main())
