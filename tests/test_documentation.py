"""The documentation is true: its code runs, its variables exist, its prices can be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import otel_voice_cost
from otel_voice_cost import PriceCatalog, Settings
from otel_voice_cost.export.dialects import find_builders
from otel_voice_cost.prices.overrides import Overrides
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.sources.livekit.spans import SPAN_RULES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL), start=1):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_runs(code):
    keys = {
        "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
        "LANGFUSE_SECRET_KEY": "sk-lf-1",
        "LANGFUSE_BASE_URL": "http://127.0.0.1:9",
        "LANGFUSE_TRACING_ENABLED": "false",
        "LOGURU_LEVEL": "ERROR",  # Pipecat logs its release
    }
    if re.search(r"^from (pipecat|otel_voice_cost.testing.pipecat)", code, re.MULTILINE):
        pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_price_files_can_be_read(text):
    sheet = parse_sheet(text, "page.toml")

    assert sheet.rates or sheet.rules or sheet.overrides != Overrides()
    assert sheet.problems == ()


@pytest.mark.parametrize("text", blocks("json"))
def test_the_short_form_can_be_read(text):
    sheet = parse_sheet(text, "VOICE_COST_PRICES")

    assert sheet.rates or sheet.rules or sheet.overrides != Overrides()
    assert sheet.problems == ()


def test_every_option_is_documented():
    page = (ROOT / "docs" / "configuration.md").read_text()

    variables = re.findall(r"^\| `(VOICE_COST_\w+)` \| `(\w+)`", page, re.MULTILINE)

    assert dict(variables) == {f"VOICE_COST_{name.upper()}": name for name in Settings.model_fields}


def test_every_variable_in_the_documentation_exists():
    known = {f"VOICE_COST_{name.upper()}" for name in Settings.model_fields}

    for page in PAGES:
        assert set(re.findall(r"VOICE_COST_[A-Z_]+", page.read_text())) <= known


def test_every_set_up_states_its_place():
    """Under `__main__` it is never run in a job process, and the entrypoint is too late."""
    set_ups = [page for page in PAGES if "set_tracer_provider(provider)\n" in page.read_text()]

    assert {page.stem for page in set_ups} >= {"README", "index", "fleet", "langfuse", "phoenix", "sentry"}
    assert [page.name for page in set_ups if "Where to put it" not in page.read_text()] == []


def test_langfuse_has_one_address_everywhere():
    """Langfuse 5 calls LANGFUSE_HOST deprecated."""
    example = ROOT / "examples" / "langfuse"
    texts = [
        path.read_text() for path in [*PAGES, *example.glob("*.py"), *example.glob("*.md"), example / ".env.example"]
    ]

    assert [text for text in texts if "LANGFUSE_HOST" in text] == []
    assert sum('os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com")' in text for text in texts) == 3


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"(?:\]\(|src=\")(?!https?:)([^)#\"]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_on_pypi_has_no_links_into_the_repository():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (ROOT / "README.md").read_text()

    for change in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(change["pattern"], change["replacement"], page)

    assert "prices](https://github.com" in page
    assert re.findall(r"(?:\]\(|src=\")(?!https:)", page) == []


def test_the_number_of_vendors_is_right():
    vendors = len({rate.provider for rate in PriceCatalog.default().rates()})

    assert f"{vendors} voice vendors" in (ROOT / "README.md").read_text()
    assert f"of {vendors} vendors" in (ROOT / "docs" / "prices.md").read_text()


def test_every_dialect_and_billing_span_is_documented():
    attributes = (ROOT / "docs" / "attributes.md").read_text()
    how = (ROOT / "docs" / "how-it-works.md").read_text()

    assert all(f"## `{name}`" in attributes for name in find_builders())
    assert all(
        f"`{name}`" in how
        for name, rule in SPAN_RULES.items()
        if rule.role.value in ("request", "user_turn", "session")
    )


@pytest.mark.parametrize("module", ["otel_voice_cost.demo", "otel_voice_cost.demo.pipecat"])
def test_the_demo_prints_what_the_pages_show(module):
    """The page of the demo shows all of it, and the README the bill of the LiveKit call."""
    if module.endswith("pipecat"):
        pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")
    page, readme = (ROOT / "docs" / "demo.md").read_text(), (ROOT / "README.md").read_text()
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("VOICE_COST_", "OTEL_", "LANGFUSE_"))
    }

    command = [sys.executable, "-m", module]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True, timeout=120)

    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"```text\n{printed}\n```" in page
    bill = re.search(r"^ +The bill of the call.*", printed, re.DOTALL | re.MULTILINE)
    assert module.endswith("pipecat") or f"```text\n{bill[0]}\n```" in readme


def test_the_commands_output_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    ((command, printed),) = re.findall(r"^\$ (voice-cost .*)\n((?:.+\n)+)```", readme, re.MULTILINE)

    program = Path(sys.executable).with_name("voice-cost")
    done = subprocess.run([program, *command.split()[1:]], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == printed


def test_every_dialect_has_its_page():
    """Named after its backend; genai is on the first page."""
    pages = {page.stem for page in (ROOT / "docs" / "backends").glob("*.md")} - {"index"}

    assert {"phoenix" if name == "openinference" else name for name in find_builders()} - {"genai"} == pages


def test_the_api_page_lists_all_public_names():
    page = (ROOT / "docs" / "api.md").read_text()

    named = re.findall(r"^::: otel_voice_cost\.(?:installation\.)?(\w+)$", page, re.MULTILINE)

    assert sorted(named) == otel_voice_cost.__all__
