"""``--connect`` of the commands on past calls: databases, and a Langfuse project that follows its API reference."""

from __future__ import annotations

import json
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("ibis", reason="the extra `analysis` is not installed")
pytest.importorskip("langfuse", reason="needs Langfuse's client")

import duckdb

from ..analysis.conftest import record_calls, recorded  # noqa: F401  # fixtures
from ..analysis.databases import fill_duckdb
from ..analysis.langfuse_export import from_ui
from .test_commands import run

PAGE = 7
KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-do-not-print"}


class Project:
    """The observations of a project, in pages."""

    def __init__(self, observations):
        self.observations = observations
        self.busy = 0  # answers 429 that often first
        self.status = 200
        self.requests = []

    def answer(self, query):
        """Return the status and body of a request."""
        self.requests.append(query)
        if self.busy:
            self.busy -= 1
            return 429, {"message": "Rate limit exceeded"}
        if self.status != 200:
            return self.status, {"message": "Invalid credentials. " + KEYS["LANGFUSE_SECRET_KEY"]}
        start = int(query.get("cursor", ["0"])[0])
        since = query.get("fromStartTime", [""])[0]
        found = [each for each in self.observations if each["startTime"] >= since][start : start + PAGE]
        cursor = str(start + PAGE) if start + PAGE < len(self.observations) else None
        return 200, {"data": found, "meta": {"cursor": cursor} if cursor else {}}


@pytest.fixture
def project(recorded, monkeypatch):  # noqa: F811
    """A project with the recorded calls, whose URL and keys are in the environment."""
    made = Project(
        [
            {**from_ui(span), "projectId": "p", "parentObservationId": from_ui(span)["parentObservationId"] or None}
            for span in recorded.spans
        ]
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            assert parts.path == "/api/public/v2/observations"
            status, body = made.answer(parse_qs(parts.query))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {**KEYS, "LANGFUSE_BASE_URL": f"http://127.0.0.1:{server.server_port}"}.items():
        monkeypatch.setenv(name, value)
    yield made
    server.shutdown()


def test_all_pages_of_a_langfuse_project_cost_what_the_processor_billed(recorded, project):  # noqa: F811
    result = run("report", "--connect", "langfuse", "--json")

    assert result.exit_code == 0, result.stderr
    assert Decimal(json.loads(result.stdout)["usd"]) == recorded.usd
    assert len(project.requests) == -(-len(recorded.spans) // PAGE)
    assert {request["expandMetadata"][0] for request in project.requests} == {"attributes"}


def test_langfuse_is_asked_again_if_it_is_busy(recorded, project):  # noqa: F811
    project.busy = 1

    assert Decimal(json.loads(run("report", "--connect", "langfuse", "--json").stdout)["usd"]) == recorded.usd


def test_days_select_the_observations(project):
    result = run("report", "--connect", "langfuse", "--since", "2026-11-01", "--until", "2026-11-30", "--json")

    assert project.requests[0]["fromStartTime"] == ["2026-11-01T00:00:00Z"]
    assert project.requests[0]["toStartTime"] == ["2026-12-01T00:00:00Z"]
    assert result.exit_code == 0


def test_an_error_of_langfuse_is_told_without_the_keys(project):
    project.status = 401
    result = run("report", "--connect", "langfuse")

    assert result.exit_code == 1
    assert "Langfuse: 401 Invalid credentials" in result.stderr
    assert "sk-lf" not in result.output + result.stderr


def test_missing_keys_are_named(monkeypatch):
    monkeypatch.delenv("LANGFUSE_PUBLIC_KEY", raising=False)

    assert "LANGFUSE_PUBLIC_KEY: got nothing" in run("reprice", "--connect", "langfuse").stderr


@pytest.mark.parametrize("command", ["report", "reprice"])
def test_a_database_is_read_instead_of_files(recorded, tmp_path, command):  # noqa: F811
    with duckdb.connect(tmp_path / "traces.duckdb") as database:
        fill_duckdb(database, recorded.spans)
        database.execute("ALTER TABLE otel_traces RENAME TO spans")
    result = run(command, "--connect", f"duckdb://{tmp_path / 'traces.duckdb'}", "--table", "spans", "--json")

    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert Decimal(found["usd" if command == "report" else "before_usd"]) == recorded.usd


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "CALLS: got nothing, expected files"),
        (["calls.jsonl", "--connect", "duckdb://x"], "CALLS: got files and --connect, expected one of them"),
        (["calls.jsonl", "--since", "2026-11-01"], "--table, --since and --until: got files, expected --connect"),
        (
            ["--connect", "nonsense://host"],
            "nonsense://host: got ValueError, expected a database that ibis can connect",
        ),
        (["--connect", "duckdb://absent.duckdb"], "duckdb://absent.duckdb: got IOException, expected a database"),
    ],
)
def test_a_mistake_is_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("report", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr


# load


@pytest.fixture
def loaded(recorded, tmp_path):  # noqa: F811
    """A database of the recorded calls."""
    path = tmp_path / "it's past.duckdb"
    result = run("load", str(recorded.span_file), "--into", str(path))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{path}: 3 calls\n"
    return path


@pytest.mark.parametrize("command", ["report", "reprice"])
def test_calls_that_were_loaded_are_reported_as_the_files(recorded, loaded, command):  # noqa: F811
    assert run(command, str(loaded), "--json").stdout == run(command, str(recorded.span_file), "--json").stdout


def test_a_database_is_replaced_when_all_is_written(recorded, loaded):  # noqa: F811
    lines = recorded.record_file.read_text().splitlines()
    recorded.record_file.write_text(lines[0])
    assert run("load", str(recorded.record_file), "--into", str(loaded)).exit_code == 0

    assert json.loads(run("report", str(loaded), "--json").stdout)["call_count"] == 1
    assert [path.name for path in loaded.parent.glob("*duckdb*")] + [
        path.name for path in loaded.parent.glob(".*duckdb*")
    ] == [loaded.name]


def test_a_database_goes_with_no_other_files(recorded, loaded):  # noqa: F811
    result = run("report", str(loaded), str(recorded.span_file))

    assert result.exit_code == 2
    assert f"{loaded}: got 1 other files, expected the only file" in result.stderr


def test_a_database_of_something_else_is_an_error(tmp_path):
    duckdb.connect(tmp_path / "other.duckdb").close()
    result = run("report", str(tmp_path / "other.duckdb"))

    assert result.exit_code == 2
    assert "got another database, expected one that `voice-cost load` of release" in result.stderr


def test_a_database_that_cannot_be_written_is_an_error(recorded, tmp_path):  # noqa: F811
    result = run("load", str(recorded.span_file), "--into", str(tmp_path / "absent" / "past.duckdb"))

    assert result.exit_code == 2
    assert "expected a file that can be written" in result.stderr
