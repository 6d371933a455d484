"""Spans in databases cost what the processor billed, to the last digit, on every database that runs here."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

pytest.importorskip("ibis", reason="the extra `analysis` is not installed")

import duckdb

from otel_voice_cost.analysis.databases import DatabaseError, Period, connect, find_table, select_spans
from otel_voice_cost.analysis.reading import read_database
from otel_voice_cost.build import sources

from .databases import fill_clickhouse, fill_duckdb, fill_postgres, find_postgres, running_postgres
from .test_forms import usage_of
from .test_reading import read, rows, total

ALWAYS = Period()


@pytest.fixture(scope="session")
def postgres():
    """The URL of a PostgreSQL server, or a skip."""
    pytest.importorskip("psycopg", reason="needs ibis-framework[postgres]")
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory):
    """A client of ClickHouse's engine in this process, which has one folder, and its URL."""
    pytest.importorskip("chdb", reason="needs chdb, the engine of ClickHouse")
    driver = pytest.importorskip("clickhouse_connect", reason="needs ibis-framework[clickhouse]")
    folder = tmp_path_factory.mktemp("clickhouse")
    client = driver.get_client(interface="chdb", path=str(folder))
    yield client, f"clickhouse://localhost/default?interface=chdb&path={folder}"
    client.close()


def in_duckdb(spans, tmp_path, _request):
    with duckdb.connect(tmp_path / "traces.duckdb") as database:
        fill_duckdb(database, spans)
    return f"duckdb://{tmp_path / 'traces.duckdb'}"


def in_postgres(spans, _tmp_path, request):
    url = request.getfixturevalue("postgres")
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS otel_traces")
        fill_postgres(connection, spans)
    return url


def in_clickhouse(spans, _tmp_path, request):
    client, url = request.getfixturevalue("clickhouse")
    client.command("DROP TABLE IF EXISTS otel_traces")
    fill_clickhouse(client, spans)
    return url


DATABASES = {"DuckDB": in_duckdb, "PostgreSQL": in_postgres, "ClickHouse": in_clickhouse}


@pytest.fixture(params=DATABASES)
def url(request, recorded, tmp_path):
    """A database with the spans of the recorded calls."""
    return DATABASES[request.param](recorded.spans, tmp_path, request)


def test_the_sum_of_a_database_is_the_processors_to_the_last_digit(recorded, url):
    counts = []
    past = read_database(url, sources(), ALWAYS, on_batch=counts.append)

    assert total(past) == recorded.usd
    assert past.skipped == 0
    assert sum(counts) == len(recorded.spans)
    assert usage_of(past) == usage_of(read(recorded.span_file))
    for call in rows(past.calls):
        record = next(record for record in recorded.records if record.session_id == call["session"])
        assert (call["usd"], call["seconds"], call["agent"]) == (record.usd, record.seconds, "desk")
        assert abs(call["started_at"].replace(tzinfo=timezone.utc) - record.started_at) < timedelta(milliseconds=1)


def test_a_period_selects_the_spans_that_start_in_it(recorded, url):
    now = datetime.now(timezone.utc)
    assert total(read_database(url, sources(), Period(now - timedelta(days=400), now))) == recorded.usd
    assert total(read_database(url, sources(), Period(since=now))) is None
    assert total(read_database(url, sources(), Period(until=now - timedelta(days=400)))) is None


def test_only_attributes_of_costs_leave_the_database(recorded, url):
    """The conversation stays where it is."""
    selection = select_spans(find_table(connect(url), "otel_traces"), ["voice_cost.usd"], ALWAYS)

    assert set(selection.rows.columns) == {"trace", "span", "parent", "start_ns", "duration_ns", "text_0"}


def test_a_missing_table_is_an_error_that_names_it(url):
    with pytest.raises(DatabaseError, match="--table: got spans, expected a table of the database"):
        read_database(url, sources(), ALWAYS, table="spans")


def test_a_table_of_another_kind_is_an_error_that_names_its_columns(tmp_path):
    with duckdb.connect(tmp_path / "other.duckdb") as database:
        database.execute("CREATE TABLE otel_traces AS SELECT 1 AS TraceId, 2 AS SpanId")
    with pytest.raises(
        DatabaseError, match="got no Timestamp, ParentSpanId, Duration, SpanAttributes, expected the col"
    ):
        read_database(f"duckdb://{tmp_path / 'other.duckdb'}", sources(), ALWAYS)


def test_an_error_while_the_database_answers_is_told_in_its_words(tmp_path):
    with duckdb.connect(tmp_path / "broken.duckdb") as database:
        database.execute("""
            CREATE VIEW otel_traces AS SELECT
                TIMESTAMPTZ '2026-11-24' AS Timestamp, '1' AS TraceId, '2' AS SpanId, '' AS ParentSpanId, 5 AS Duration,
                map(['voice_cost.usd'], [error('disk quota exceeded')::VARCHAR]) AS SpanAttributes
        """)
    with pytest.raises(DatabaseError, match=r"--connect: got .*disk quota exceeded, expected a database that answers"):
        read_database(f"duckdb://{tmp_path / 'broken.duckdb'}", sources(), ALWAYS)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("nonsense://user:secret@host/db", "got ValueError"),
        ("postgres://user:secret@127.0.0.1:1/db", "got OperationalError"),
        ("clickhouse://user:secret@127.0.0.1:1/db", "got OperationalError"),
    ],
)
def test_a_database_that_cannot_be_reached_is_an_error_without_the_password(url, found):
    with pytest.raises(DatabaseError) as raised:
        read_database(url, sources(), ALWAYS)

    assert found in str(raised.value)
    assert "secret" not in str(raised.value)
