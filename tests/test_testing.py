"""The page on testing, run as a user would: in a separate folder, with the installed pytest plugin."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_voice_cost.testing import SessionCosts

PAGE = Path(__file__).parents[1] / "docs" / "testing.md"
LIVEKIT, PIPECAT = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
EVERY_TEST = pytest.mark.parametrize(
    "code",
    [
        pytest.param(LIVEKIT, id="livekit"),
        pytest.param(
            PIPECAT,
            id="pipecat",
            marks=pytest.mark.skipif(not importlib.util.find_spec("pipecat"), reason="Pipecat needs Python 3.11"),
        ),
    ],
)


def run(folder, code):
    (folder / "test_page.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@EVERY_TEST
def test_the_page_runs(tmp_path, code):
    done = run(tmp_path, code)

    assert "1 passed" in done.stdout, done.stdout


@EVERY_TEST
def test_a_call_that_costs_too_much_fails_the_test(tmp_path, code):
    done = run(tmp_path, code.replace('Decimal("0.10")', 'Decimal("0.000001")'))

    assert "1 failed" in done.stdout, done.stdout
    assert "assert Decimal(" in done.stdout


def test_two_tests_with_pipecat_do_not_share_their_costs(tmp_path):
    """Pipecat uses the global provider, which the API sets once."""
    pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")
    second = PIPECAT[PIPECAT.index("@pytest") :].replace("test_a_reservation", "test_another_reservation")

    done = run(tmp_path, PIPECAT + second)

    assert "2 passed" in done.stdout, done.stdout


def test_a_test_without_a_session_gets_an_error(price_catalog):
    costs = SessionCosts(catalog=price_catalog)

    assert costs.sessions == []
    with pytest.raises(AssertionError, match="got 0 ended sessions, expected one"):
        _ = costs.session
    costs.close()
