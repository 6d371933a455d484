"""Spans in a database: the table ``otel_traces`` of the Collector's ClickHouse exporter, or one like it elsewhere.

The database selects the spans of traces with a cost, and of each its ids, times and this package's attributes; DuckDB
does the rest, as for files. Texts of the conversation never leave the database. The selection is one expression of
ibis, so it runs on every database that ibis knows.

Source:
    ``exporter/clickhouseexporter/internal/sqltemplates/traces_table.sql`` of opentelemetry-collector-contrib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import ibis
import pyarrow as pa
from ibis.common.exceptions import TableNotFound

from ..errors import Problem, VoiceCostError

if TYPE_CHECKING:
    from ibis.expr.types import Table, Value

__all__ = [
    "TRACES",
    "DatabaseError",
    "Period",
    "batches",
    "connect",
    "find_table",
    "select_spans",
    "stream",
    "without_password",
]

TRACES = "otel_traces"
_COLUMNS = ("Timestamp", "TraceId", "SpanId", "ParentSpanId", "Duration", "SpanAttributes")
_PREFIX = "voice_cost."
_COSTS = tuple(f"voice_cost.{name}" for name in ("usd", "unpriced", "unreported.reason", "session.usd"))
_BATCH_ROWS = 50_000
_OPTIONS: dict[str, dict[str, Any]] = {"duckdb": {"read_only": True}}  # else a missing file would be created
_NEW_LINE = "\n"
_NS_PER_SECOND, _NS_PER_MICROSECOND = 1_000_000_000, 1_000


class DatabaseError(VoiceCostError):
    """A database cannot be reached, or has no spans in the expected form."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


def connect(url: str) -> Any:
    """Connect to a database.

    Args:
        url: As for ``ibis.connect``: ``clickhouse://user:password@host:8123/database``, ``postgres://...``,
            ``bigquery://project/dataset``, ``snowflake://...``, ``duckdb://file``.

    Raises:
        DatabaseError: There is no driver for it, or no connection. The message has no password.
    """
    scheme = urlsplit(url).scheme
    try:
        return ibis.connect(url, **_OPTIONS.get(scheme, {}))
    except ModuleNotFoundError as error:
        driver = {"postgresql": "postgres"}.get(scheme, scheme)
        expected = f"its driver: pip install 'ibis-framework[{driver}]'"
        raise DatabaseError(Problem(place=without_password(url), value=f"no {error.name}", expected=expected)) from None
    except Exception as error:  # noqa: BLE001  # each driver has its own
        kind = type(error).__name__
        expected = "a database that ibis can connect to, such as clickhouse://user:password@host:8123/database"
        raise DatabaseError(Problem(place=without_password(url), value=kind, expected=expected)) from None


def without_password(url: str) -> str:
    """Return a URL without user, password and parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "--connect"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def find_table(connection: Any, name: str) -> Table:
    """Return a table of a database.

    Raises:
        DatabaseError: It has no such table.
    """
    try:
        return connection.table(name)
    except TableNotFound:
        expected = "a table of the database with the columns of the Collector's ClickHouse exporter"
        raise DatabaseError(Problem(place="--table", value=name, expected=expected)) from None


class Period(NamedTuple):
    """A period of time.

    Attributes:
        since: Its start, UTC, or None.
        until: Its end, which is not part of it, or None.
    """

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The spans to read.

    Attributes:
        rows: An expression with ids, times and the attributes in columns of text.
        keys: The attribute of each column.
        is_json: True if the texts are JSON.
    """

    rows: Table
    keys: tuple[str, ...]
    is_json: bool


def select_spans(traces: Table, keys: Iterable[str], period: Period) -> Selection:
    """Select the spans of traces with a cost.

    Args:
        traces: A table with the columns of ``otel_traces``; upper and lower case are the same.
        keys: Attributes to select.
        period: When the spans start.

    Raises:
        DatabaseError: A column is missing, or ``SpanAttributes`` is not a map or JSON.
    """
    columns = {name.lower(): traces[name] for name in traces.columns}
    missing = [name for name in _COLUMNS if name.lower() not in columns]
    if missing:
        expected = "the columns of the Collector's ClickHouse exporter"
        raise DatabaseError(Problem(place=traces.get_name(), value=f"no {', '.join(missing)}", expected=expected))
    moment, trace, span, parent, duration, attributes = (columns[name.lower()] for name in _COLUMNS)
    kind = attributes.type()
    if not (kind.is_map() or kind.is_json()):
        raise DatabaseError(Problem(place="SpanAttributes", value=str(kind), expected="a map of text, or JSON"))
    keys = tuple(dict.fromkeys(keys))

    def text_of(key: str) -> Value:
        return attributes[key].cast("string") if kind.is_json() else attributes.get(key)

    has_cost = ibis.or_(*(text_of(key).notnull() for key in _COSTS))
    in_time = [moment >= period.since] if period.since else []
    in_time += [moment < period.until] if period.until else []
    priced = traces.filter(has_cost, *in_time).select(trace=trace).distinct()
    # some databases round to the next second, unless the fraction is cut off first
    start_ns = moment.truncate("s").epoch_seconds().cast("int64") * _NS_PER_SECOND
    start_ns += moment.microsecond().cast("int64") * _NS_PER_MICROSECOND
    rows = traces.filter(trace.isin(priced.trace), *in_time).select(
        trace=trace,
        span=span,
        parent=parent,
        start_ns=start_ns,
        duration_ns=duration.cast("int64"),
        **{f"text_{number}": text_of(key) for number, key in enumerate(keys)},
    )
    return Selection(rows, keys, kind.is_json())


def batches(
    connection: Any, selection: Selection, on_batch: Callable[[int], object]
) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    """Return the selected spans as a stream, and its columns.

    Args:
        connection: The connection of the selection.
        selection: The spans.
        on_batch: Called with the number of spans of each batch.
    """

    def counted() -> Iterator[pa.RecordBatch]:
        try:
            for batch in stream(connection, selection.rows):
                on_batch(batch.num_rows)
                yield batch
        except Exception as error:
            value = f"{type(error).__name__}: {str(error).strip().partition(_NEW_LINE)[0]}"
            raise DatabaseError(Problem(place="--connect", value=value, expected="a database that answers")) from error

    return counted(), selection.rows.schema().to_pyarrow()


def stream(connection: Any, rows: Table) -> pa.RecordBatchReader:
    """Return the rows of an expression in batches, so that they need not fit in memory."""
    if connection.name == "duckdb":  # ibis 12 makes no batches with DuckDB 2
        return connection.con.sql(connection.compile(rows)).to_arrow_reader(_BATCH_ROWS)
    return connection.to_pyarrow_batches(rows, chunk_size=_BATCH_ROWS)
