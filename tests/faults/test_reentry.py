"""A garbage collection or signal handler inside this package never blocks a call."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .reentry import SCRIPTS, TIMES

PATIENCE_SECONDS = 240  # for what takes ten; a deadlock takes for ever


@pytest.mark.parametrize("way", ["before", "wrapping"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_twenty_thousand_requests(script, way):
    if script == "flushing_signal_handler" and not hasattr(__import__("signal"), "setitimer"):
        pytest.skip("no timers here")
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.faults.reentry", script, way],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50"},
        check=False,
    )

    assert run.returncode == 0, run.stderr[-3_000:]
    assert run.stdout.startswith(f"{TIMES} requests")
