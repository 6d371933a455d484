"""Read past calls into two tables: from files of records and of spans, from Langfuse, and from a database.

DuckDB reads the files: the SQL files of this folder turn lines and spans into the tables `usage` and `calls`, in a
database on the disk, so that memory does not grow with the calls.
Everything after that is an ibis expression on the two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import ibis

from ..errors import Problem, VoiceCostError
from ..sources import Source
from ..usage import Unit
from .databases import TRACES, Period, batches, connect, find_table, select_spans, without_password
from .forms import Form, find_form, open_plain
from .langfuse import observation_batches
from .messages import LINES, SPANS, BadMessage, line_batches, read_messages, span_batches, to_reader

if TYPE_CHECKING:
    from ibis.expr.types import Table
    from langfuse.api import LangfuseAPI

__all__ = ["PastCalls", "ReadError", "Reader", "read_calls", "read_database", "read_langfuse", "save_calls"]

_PROVIDER_AND_MODEL = ("gen_ai.provider.name", "gen_ai.request.model")  # of spans that no rate was looked up for
_MAX_PROBLEMS = 1_000  # listed with their place; all are counted
_MEMORY = "2GB"  # more goes to the disk
_MAX_LINE_BYTES = 1 << 25  # buffers are as large: with 256 MB, a file takes twice the time and memory
_T = TypeVar("_T")


class ReadError(VoiceCostError):
    """A file cannot be read at all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCalls:
    """Calls that have ended, as tables of ibis. Times are UTC; money and amounts are decimals with 24 places.

    Attributes:
        usage: A row for each unit of each request or, from a record, of each model. `usd` is null on rows without a
            price, which have a reason in `unpriced`, and on all rows of a span but the first, which has the cost of the
            span. Rows with a reason in `unreported` are estimates of what nobody reported, never part of the cost.
        calls: A row for each call, with its length and the cost that was recorded for it.
        problems: Lines and spans that were skipped, the first 1,000.
        skipped: The number of all of them.
        reported: A row for each amount that a request reported and its vendor does not bill: of speech that is billed
            by characters, its seconds.
        storage: Keeps the database on the disk, which is deleted with it; None for tables of another database.
    """

    usage: Table
    calls: Table
    problems: tuple[Problem, ...]
    skipped: int
    reported: Table
    storage: object = field(default=None, repr=False)

    @property
    def cost_rows(self) -> Table:
        """The usage that was reported, priced or unpriced."""
        return self.usage.filter(self.usage.unreported.isnull())

    @property
    def call_count(self) -> int:
        """The number of calls."""
        count: int = self.calls.count().to_pyarrow().as_py()
        return count

    @property
    def unreported_rows(self) -> Table:
        """The estimates of usage that nobody reported."""
        return self.usage.filter(self.usage.unreported.notnull())


def _all(steps: Iterable[_T]) -> Iterable[_T]:
    return steps


def _ignore(_count: int) -> None:
    pass


def _watched(batches: Iterable[_T], errors: list[Exception]) -> Iterator[_T]:
    try:
        yield from batches
    except Exception as error:
        errors.append(error)
        raise


def read_calls(
    paths: Iterable[Path], sources: Iterable[Source], watch: Callable[[list[Path]], Iterable[Path]] = _all
) -> PastCalls:
    """Read files of records, of OTLP, and of Langfuse's observations, in any mixture.

    A call that is in several files counts once. A line that cannot be read is skipped and counted.

    Args:
        paths: JSON lines or, from the Collector, messages of protobuf; from Langfuse also JSON arrays, CSV and Parquet.
            Also compressed with gzip or zstd. The content tells the form of a file, not its name.
        sources: The frameworks, which know the attributes that name a session and its agent.
        watch: Passes the files through while they are read, to show progress.

    Raises:
        ReadError: A file does not exist or cannot be opened; it lists all of them.
    """
    chosen = list({path.resolve(): path for path in paths}.values())
    if missing := [_refused(path, "no file") for path in chosen if not path.is_file()]:
        raise ReadError(missing)
    if saved := [path for path in chosen if _is_database(path)]:
        if len(chosen) > 1:
            expected = "the only file: load the others into it, or read them without it"
            raise ReadError([Problem(place=str(saved[0]), value=f"{len(chosen) - 1} other files", expected=expected)])
        return _open_calls(saved[0])
    reader = Reader(sources)
    for path in watch(chosen):
        reader.read_file(path)
    return reader.build()


def save_calls(past: PastCalls, path: Path) -> None:
    """Write calls to a database of DuckDB, which `read_calls` reads without parsing them again.

    Args:
        past: The calls.
        path: The file, which is replaced when all is written.

    Raises:
        ReadError: The file cannot be written.
    """
    database = past.usage.get_backend().con
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        database.execute(f"ATTACH {_quoted(draft)} AS saved")
        try:
            for name, table in (("usage", past.usage), ("calls", past.calls), ("reported", past.reported)):
                database.execute(f"CREATE TABLE saved.{name} AS {ibis.to_sql(table, dialect='duckdb')}")
            database.execute("CREATE TABLE saved.release AS SELECT ? AS name", [_release()])
        finally:
            database.execute("DETACH saved")
        draft.replace(path)
    except (OSError, duckdb.Error) as error:
        draft.unlink(missing_ok=True)
        problem = Problem(place=str(path), value=type(error).__name__, expected="a file that can be written")
        raise ReadError([problem]) from error


def _open_calls(path: Path) -> PastCalls:
    """Return the calls of a database that `save_calls` wrote.

    Raises:
        ReadError: Something else wrote it, or another release.
    """
    connection = _connect(path, read_only=True)
    database = connection.con
    try:
        ((release,),) = database.execute("SELECT name FROM release").fetchall()
    except duckdb.Error:
        release = None
    if release != _release():
        value = f"one of release {release}" if release else "another database"
        expected = f"one that `voice-cost load` of release {_release()} wrote"
        raise ReadError([Problem(place=str(path), value=value, expected=expected)])
    usage, calls, reported = map(connection.table, ("usage", "calls", "reported"))
    return PastCalls(usage=usage, calls=calls, problems=(), skipped=0, reported=reported)


def _connect(path: Path, **options: Any) -> Any:
    """Open a database of DuckDB, whose own progress bar would be among the results on standard output."""
    connection = ibis.duckdb.connect(path, memory_limit=_MEMORY, **options)
    connection.con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def _is_database(path: Path) -> bool:
    try:
        return find_form(path)[0] is Form.DUCKDB
    except OSError:  # named when it is read
        return False


def _release() -> str:
    return version("otel-voice-cost")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def read_langfuse(
    client: LangfuseAPI, sources: Iterable[Source], period: Period, on_page: Callable[[int], object] = _ignore
) -> PastCalls:
    """Read the observations of a Langfuse project from its API.

    Args:
        client: Langfuse's client of the project.
        sources: As for `read_calls`.
        period: When the observations start.
        on_page: Called with the number of observations of each page.

    Raises:
        Exception: The errors of the client, if a page cannot be read.
    """
    reader = Reader(sources)
    reader.read_json(observation_batches(client, period, on_page), "Langfuse")
    return reader.build()


def read_database(
    url: str,
    sources: Iterable[Source],
    period: Period,
    table: str = TRACES,
    on_batch: Callable[[int], object] = _ignore,
) -> PastCalls:
    """Read the spans of a database.

    Args:
        url: As for `connect`.
        sources: As for `read_calls`.
        period: When the spans start.
        table: A table with the columns of the Collector's ``otel_traces``.
        on_batch: Called with the number of spans of each batch.

    Raises:
        DatabaseError: The database cannot be reached, or has no such table.
    """
    reader = Reader(sources)
    reader.read_table(find_table(connect(url), table), period, without_password(url), on_batch)
    return reader.build()


class Reader:
    """Collects spans and records in a database on the disk, and builds the tables from them."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Open an empty database.

        Args:
            sources: The frameworks, which know the attributes that name a session and its agent.
        """
        self._keys = _Keys.of(sources)
        self._folder = TemporaryDirectory(prefix="voice-cost-", ignore_cleanup_errors=True)
        self._connection = _connect(Path(self._folder.name) / "calls.duckdb")
        self._database = self._connection.con
        self._database.execute(_sql("create_lines"))
        self._numbered: set[str] = set()  # files whose rows are lines of text

    @property
    def kept(self) -> list[str]:
        """Attributes to keep in addition to this package's."""
        return self._keys.all

    def read_file(self, path: Path) -> None:
        """Read a file of any form.

        Raises:
            ReadError: It cannot be read at all.
        """
        try:
            form, compression = find_form(path)
            if form is Form.MESSAGES:
                self._read_messages(path, compression)
                return
            self._database.execute(f"CREATE TEMP VIEW incoming AS {_relation(path, form, compression)}")
            try:
                self._read_incoming(str(path))
            finally:
                self._database.execute("DROP VIEW incoming")
        except (OSError, duckdb.Error) as error:
            raise ReadError([_refused(path, type(error).__name__)]) from error
        if form is Form.LINES:
            self._numbered.add(str(path))

    def read_json(self, batches: Iterable[Any], name: str) -> None:
        """Read batches of `LINES`; the name is shown with what is skipped."""
        with self._incoming(batches, LINES):
            self._read_incoming(name)

    def read_spans(self, batches: Iterable[Any], name: str) -> None:
        """Read batches of `SPANS`; the name is shown with what is skipped."""
        with self._incoming(batches, SPANS):
            self._database.execute(
                "INSERT INTO raw_spans BY NAME SELECT $name AS file, * FROM incoming", {"name": name}
            )

    def read_table(self, traces: Table, period: Period, name: str, on_batch: Callable[[int], object]) -> None:
        """Read the spans of a table in a database; the name is shown with what is skipped.

        Raises:
            DatabaseError: The table does not have the expected columns.
        """
        selection = select_spans(traces, (*_own_keys(), *self.kept), period)
        found, schema = batches(traces.get_backend(), selection, on_batch)
        with self._incoming(found, schema):
            values = {"name": name, "keys": list(selection.keys), "is_json": selection.is_json}
            self._execute("read_database", values)

    def build(self) -> PastCalls:
        """Return the tables of everything that was read."""
        keys = self._keys
        values = {"session_keys": keys.session, "agent_keys": keys.agent, "reported_fields": keys.reported}
        self._execute("build_tables", values)
        ((skipped,),) = self._database.execute("SELECT count(*) FROM problems").fetchall()
        return PastCalls(
            usage=self._connection.table("usage"),
            calls=self._connection.table("calls"),
            problems=tuple(self._problems()),
            skipped=skipped,
            reported=self._connection.table("reported"),
            storage=self._folder,
        )

    def _read_messages(self, path: Path, compression: str) -> None:
        problems: list[BadMessage] = []
        with open_plain(path, compression) as file:
            messages = read_messages(file, problems)
            first = list(islice(messages, 1))
            every = chain(first, messages)
            if first and first[0][1].startswith(b"{"):
                self.read_json(line_batches(every), str(path))
            else:
                self.read_spans(span_batches(every, self.kept, problems), str(path))
        rows = [(str(path), *problem) for problem in problems]
        if rows:
            self._database.executemany("INSERT INTO problems VALUES (?, ?, ?, ?)", rows)

    def _read_incoming(self, name: str) -> None:
        self._execute("read_lines", {"name": name, "kept": self.kept})

    @contextmanager
    def _incoming(self, batches: Iterable[Any], schema: Any) -> Iterator[None]:
        """Let DuckDB read batches as the table `incoming`. Errors of the batches are raised as they are."""
        errors: list[Exception] = []
        self._database.register("incoming", to_reader(_watched(batches, errors), schema))
        try:
            yield
        except duckdb.Error as error:
            raise (errors[0] if errors else error) from None
        finally:
            self._database.unregister("incoming")

    def _execute(self, name: str, values: dict[str, Any]) -> None:
        for statement in duckdb.extract_statements(_sql(name)):
            self._database.execute(statement, {key: values[key] for key in statement.named_parameters})

    def _problems(self) -> Iterator[Problem]:
        """Yield what was skipped, by file and line, with line numbers as an editor counts them."""
        query = "SELECT file, line, found, expected FROM problems ORDER BY file, line LIMIT ?"
        found = self._database.execute(query, [_MAX_PROBLEMS]).fetchall()
        last = {file: line for file, line, *_ in found}
        numbers = {file: _line_numbers(Path(file), last[file]) for file in last if file in self._numbered}
        for file, line, value, expected in found:
            number = numbers[file][line - 1] if file in numbers else line
            yield Problem(place=f"{file}:{number}", value=value, expected=expected)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Attributes in addition to this package's: of a session's id, of its agent's name, and of reported amounts."""

    session: list[str]
    agent: list[str]
    reported: list[dict[str, str]]

    @classmethod
    def of(cls, sources: Iterable[Source]) -> _Keys:
        known = list(sources)
        return cls(
            list(dict.fromkeys(key for source in known for key in source.session_id_keys)),
            list(dict.fromkeys(key for source in known for key in source.agent_keys)),
            [
                {"key": place.key, "field": place.field, "unit": place.unit.value}
                for source in known
                for place in source.reported_fields
            ],
        )

    @property
    def all(self) -> list[str]:
        reported = dict.fromkeys(place["key"] for place in self.reported)
        return [*self.session, *self.agent, *reported, *_PROVIDER_AND_MODEL]


def _sql(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _own_keys() -> list[str]:
    """Return the attributes of this package that the tables are built from."""
    named = re.findall(r"text_of\(keys, texts, '([^']+)'\)", _sql("build_tables"))
    return [*named, *(f"voice_cost.quantity.{unit.value}" for unit in Unit)]


def _relation(path: Path, form: Form, compression: str) -> str:
    """Return the query of a file's lines, with their numbers."""
    text = re.sub(r"([*?\[])", r"[\1]", str(path)).replace("'", "''")  # DuckDB finds no pattern in it
    packed = f"compression = '{compression}'"
    if form is Form.PARQUET:
        rows = f"SELECT to_json(row_of_file) AS json FROM read_parquet('{text}') AS row_of_file"  # noqa: S608
    elif form is Form.CSV:
        options = f"all_varchar = true, header = true, max_line_size = {_MAX_LINE_BYTES}, {packed}"
        rows = f"SELECT to_json(row_of_file) AS json FROM read_csv('{text}', {options}) AS row_of_file"  # noqa: S608
    elif form is Form.ARRAY:
        rows = f"FROM read_json_objects('{text}', format = 'array', maximum_object_size = {_MAX_LINE_BYTES}, {packed})"
    else:
        options = f"ignore_errors = true, maximum_object_size = {_MAX_LINE_BYTES}, {packed}"
        rows = f"FROM read_ndjson_objects('{text}', {options})"
    return f"SELECT row_number() OVER () AS line, json FROM ({rows})"  # noqa: S608  # the path is quoted


def _refused(path: Path, value: str) -> Problem:
    return Problem(place=str(path), value=value, expected="a readable file of JSON lines of 32 MB at most")


def _line_numbers(path: Path, count: int) -> list[int]:
    """Return the numbers of the first lines that are not blank. DuckDB counts these alone."""
    _, compression = find_form(path)
    with BufferedReader(open_plain(path, compression)) as lines:
        return list(islice((number for number, line in enumerate(lines, 1) if line.strip()), count))
