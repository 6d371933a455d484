"""The documentation is true: its code runs, its variables exist, its prices can be read."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.util.re import parse_env_headers

import otel_voice_cost
from otel_voice_cost import PriceCatalog, Settings
from otel_voice_cost.export.dialects import find_builders
from otel_voice_cost.prices.overrides import Overrides
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.sources.livekit.spans import SPAN_RULES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


OF_FILES = {"demo", "doctor", "export", "langfuse", "reconcile", "report", "reprice", "what-if"}  # tested elsewhere
VOICE_COST = [sys.executable, "-c", "from otel_voice_cost.cli import main; main()"]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL), start=1):
            found.append(pytest.param(text, exports(page.read_text()), id=f"{page.name}-{number}"))
    return found


def exports(text: str) -> dict[str, str]:
    """Return the variables that are set, except files of the reader's machine."""
    words = [word for line in re.findall(r"^\$ export (.*)", text, re.MULTILINE) for word in shlex.split(line)]
    return {name: value for name, _, value in (word.partition("=") for word in words) if not value.startswith("/")}


def commands() -> list[tuple[list[str], dict[str, str], str]]:
    """Return each command of a console block that prints something, the block's variables, and what it prints."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE):
                line, _, printed = part.partition("\n")
                if line.startswith("voice-cost ") and printed and line.split()[1] not in OF_FILES:
                    _, *words = shlex.split(line, comments=True)
                    found.append(pytest.param(words, exports(block), printed, id=f"{page.name}-{words[0]}"))
    return found


def matches(expected: str, got: str) -> bool:
    """Compare as doctest does: `...` stands for any text, and so does a space for any white space."""
    return doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


@pytest.mark.parametrize(("code", "variables"), blocks("python"))
def test_the_code_runs(code, variables):
    """With the variables of its page: a dialect or a header that is not one would be logged."""
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
        env={**os.environ, **keys, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("code", "_"), blocks("py"))
def test_parts_of_larger_files_are_python(code, _):
    ast.parse(code)


@pytest.mark.parametrize(("text", "_"), blocks("toml"))
def test_the_price_files_can_be_read(text, _):
    sheet = parse_sheet(text, "page.toml")

    assert sheet.rates or sheet.rules or sheet.overrides != Overrides()
    assert sheet.problems == ()


@pytest.mark.parametrize(("text", "_"), blocks("json"))
def test_the_short_form_can_be_read(text, _):
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
    assert [page.name for page in set_ups if not re.search("where.to.put.it", page.read_text(), re.IGNORECASE)] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / ".mkdocs.yml").read_text().partition("\nnav:")[2]

    listed = re.findall(r"[\w/-]+\.md$", navigation, re.MULTILINE)

    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT)


@pytest.mark.parametrize("name", sorted(set(find_builders()) - {"genai", "langfuse"}))
def test_a_backend_is_set_up_by_variables(name):
    page = ROOT / "docs" / "backends" / f"{'phoenix' if name == 'openinference' else name}.md"
    variables = exports(page.read_text())
    headers = variables.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "")

    assert variables["VOICE_COST_DIALECTS"] == f"genai,{name}"
    assert variables["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].startswith("http")
    assert len(parse_env_headers(headers)) == len(headers.split(",")) * bool(headers)


def test_langfuse_has_one_address_everywhere():
    """Langfuse 5 calls LANGFUSE_HOST deprecated."""
    example = ROOT / "examples" / "langfuse"
    texts = [
        path.read_text() for path in [*PAGES, *example.glob("*.py"), *example.glob("*.md"), example / ".env.example"]
    ]

    assert [text for text in texts if "LANGFUSE_HOST" in text] == []
    assert sum('os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com")' in text for text in texts) == 2


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


@pytest.mark.parametrize(("arguments", "variables", "printed"), commands())
def test_commands_print_what_the_page_says(arguments, variables, printed, tmp_path):
    done = subprocess.run(
        [*VOICE_COST, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert matches(printed, done.stdout), done.stdout


def test_the_quickstart_leads_to_a_report(tmp_path):
    """Its file and its commands, in an empty folder: a call, one with another price, and the report on that."""
    text = (ROOT / "docs" / "quickstart.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = re.findall(r"^\$ voice-cost (?:doctor|report) [^\n]*\n((?:[^$`\n].*\n)+)", text, re.MULTILINE)
    (tmp_path / "telemetry.py").write_text(code)
    plain = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "COLUMNS": "80"}

    def start(variables, *arguments):
        return subprocess.Popen(
            [*VOICE_COST, *arguments], cwd=tmp_path, env={**plain, **variables}, stdout=subprocess.PIPE, text=True
        )

    calls = [start(variables, "doctor", "--live", "telemetry:provider") for variables in ({}, exports(text))]
    first, second = (call.communicate(timeout=120)[0] for call in calls)
    files = [path.name for path in tmp_path.glob("calls-*.jsonl")]
    report, _ = start({}, "report", *files, "--html", "report.html").communicate(timeout=120)

    assert matches(printed[0], first), first
    assert "user_turn    nova-3         $0.000129\n" in second
    assert "costs $0.000129 instead of $0.000144" in text
    assert matches(printed[1], report), report
    assert (tmp_path / "report.html").stat().st_size > 5_000


def test_every_dialect_has_its_page():
    """Named after its backend; genai is on the first page."""
    pages = {page.stem for page in (ROOT / "docs" / "backends").glob("*.md")} - {"index"}

    assert {"phoenix" if name == "openinference" else name for name in find_builders()} - {"genai"} == pages


def test_the_api_page_lists_all_public_names():
    page = (ROOT / "docs" / "api.md").read_text()

    named = re.findall(r"^::: otel_voice_cost\.(?:installation\.)?(\w+)$", page, re.MULTILINE)

    assert sorted(named) == otel_voice_cost.__all__
