"""Spans as the Collector's ClickHouse exporter stores them, in the databases that run here.

Source:
    ``exporter/clickhouseexporter/internal/sqltemplates/traces_table.sql`` of opentelemetry-collector-contrib.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

CLICKHOUSE = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9),
    TraceId String,
    SpanId String,
    ParentSpanId String,
    SpanName LowCardinality(String),
    SpanAttributes Map(LowCardinality(String), String),
    Duration UInt64
) ENGINE = MergeTree ORDER BY (SpanName, toDateTime(Timestamp), Timestamp)
"""
POSTGRES = """
CREATE TABLE otel_traces (
    "Timestamp" timestamptz, "TraceId" text, "SpanId" text, "ParentSpanId" text, "SpanName" text,
    "SpanAttributes" jsonb, "Duration" bigint
)
"""
DUCKDB = """
CREATE TABLE otel_traces (
    Timestamp TIMESTAMPTZ, TraceId VARCHAR, SpanId VARCHAR, ParentSpanId VARCHAR, SpanName VARCHAR,
    SpanAttributes MAP(VARCHAR, VARCHAR), Duration UBIGINT
)
"""


def to_rows(spans):
    """Return the columns of each span; attributes are text, as in a map of the exporter."""
    return [
        (
            span.start_time,
            f"{span.context.trace_id:032x}",
            f"{span.context.span_id:016x}",
            f"{span.parent.span_id:016x}" if span.parent else "",
            span.name,
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in span.attributes.items()},
            span.end_time - span.start_time,
        )
        for span in spans
    ]


def moment(nanoseconds):
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)


def fill_clickhouse(client, spans):
    client.command(CLICKHOUSE)
    names = ["Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanAttributes", "Duration"]
    rows = [(moment(start), *ids, attributes, duration) for start, *ids, attributes, duration in to_rows(spans)]
    client.insert("otel_traces", rows, column_names=names)


def fill_duckdb(database, spans):
    database.execute(DUCKDB)
    for start, *ids, attributes, duration in to_rows(spans):
        row = [moment(start), *ids, list(attributes), list(attributes.values()), duration]
        database.execute("INSERT INTO otel_traces VALUES (?, ?, ?, ?, ?, map(?, ?), ?)", row)


def fill_postgres(connection, spans):
    connection.execute(POSTGRES)
    for (start, *ids, _, duration), span in zip(to_rows(spans), spans, strict=True):
        values = [moment(start), *ids, json.dumps(dict(span.attributes)), duration]  # numbers stay numbers
        connection.execute("INSERT INTO otel_traces VALUES (%s, %s, %s, %s, %s, %s, %s)", values)
    connection.commit()


def find_postgres():
    """Return the folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextmanager
def running_postgres():
    """Run a PostgreSQL server on loopback; give its URL."""
    programs = find_postgres()
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # the server refuses to run as root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="postgres-") as folder:  # not pytest's, which only its owner may enter
        if user:
            shutil.chown(folder, user["user"])
        data, common = Path(folder) / "data", {"cwd": folder, "stdout": subprocess.DEVNULL, **user}
        subprocess.run(
            [programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-E", "UTF8"], check=True, **common
        )
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen([programs / "postgres", "-D", data, *options], stderr=log, **common)
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
            deadline = monotonic() + 60
            while subprocess.run(ready, stdout=subprocess.DEVNULL, check=False).returncode:
                assert server.poll() is None, (Path(folder) / "log").read_text()
                assert monotonic() < deadline
                sleep(0.1)
            yield f"postgres://tester:secret@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(30)
