"""Read past calls into two tables: from files of records, and from spans in the Collector's files of OTLP JSON.

DuckDB reads the files: the SQL files of this folder turn lines into the tables `usage` and `calls`.
Everything after that is an ibis expression on the two.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import ibis

from ..errors import Problem, VoiceCostError
from ..sources import Source

if TYPE_CHECKING:
    from ibis.expr.types import Table

__all__ = ["PastCalls", "ReadError", "read_calls"]

_PROVIDER_AND_MODEL = ("gen_ai.provider.name", "gen_ai.request.model")  # of spans that no rate was looked up for
_MAX_PROBLEMS = 1_000  # listed with their place; all are counted


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
        reported: A row for each amount that a request reported and that was not billed, with its unit: a vendor that
            bills characters leaves the seconds of speech. None if the files do not have them.
    """

    usage: Table
    calls: Table
    problems: tuple[Problem, ...]
    skipped: int
    reported: Table | None = None

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


def read_calls(paths: Iterable[Path], sources: Iterable[Source]) -> PastCalls:
    """Read files of records and of OTLP JSON, in any mixture.

    A call that is in several files counts once. A line that cannot be read is skipped and counted.

    Args:
        paths: JSON lines, also compressed with gzip or zstd (``.gz``, ``.zst``).
        sources: The frameworks, which know the attributes that name a session and its agent.

    Raises:
        ReadError: A file does not exist or cannot be opened; it lists all of them.
    """
    chosen = list({path.resolve(): path for path in paths}.values())
    if missing := [_refused(path, "no file") for path in chosen if not path.is_file()]:
        raise ReadError(missing)
    connection = ibis.duckdb.connect()
    database = connection.con
    database.execute("SET TimeZone = 'UTC'")
    database.execute(_sql("create_lines"))
    keys = _Keys.of(sources)
    for path in chosen:
        try:
            database.execute(_sql("read_lines"), {"path": _literal(path), "name": str(path), "kept": keys.all})
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise ReadError([_refused(path, type(error).__name__)]) from error
    _build(database, keys)
    ((skipped,),) = database.execute("SELECT count(*) FROM problems").fetchall()
    return PastCalls(
        usage=connection.table("usage"),
        calls=connection.table("calls"),
        problems=tuple(_problems(database)),
        skipped=skipped,
        reported=connection.table("reported"),
    )


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
                {"key": field.key, "field": field.field, "unit": field.unit.value}
                for source in known
                for field in source.reported_fields
            ],
        )

    @property
    def all(self) -> list[str]:
        reported = dict.fromkeys(field["key"] for field in self.reported)
        return [*self.session, *self.agent, *reported, *_PROVIDER_AND_MODEL]


def _build(database: Any, keys: _Keys) -> None:
    for statement in duckdb.extract_statements(_sql("build_tables")):
        values = {"session_keys": keys.session, "agent_keys": keys.agent, "reported_fields": keys.reported}
        database.execute(statement, {name: values[name] for name in statement.named_parameters})


def _sql(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _literal(path: Path) -> str:
    """Return a path in which DuckDB finds no pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _refused(path: Path, value: str) -> Problem:
    return Problem(place=str(path), value=value, expected="a readable file of JSON lines of 32 MB at most")


def _problems(database: Any) -> Iterator[Problem]:
    """Yield what was skipped, by file and line, with line numbers as an editor counts them."""
    query = "SELECT file, line, found, expected FROM problems ORDER BY file, line LIMIT ?"
    found = database.execute(query, [_MAX_PROBLEMS]).fetchall()
    numbers = {file: _line_numbers(Path(file), max(n for f, n, *_ in found if f == file)) for file, *_ in found}
    for file, line, value, expected in found:
        yield Problem(place=f"{file}:{numbers[file][line - 1]}", value=value, expected=expected)


def _line_numbers(path: Path, count: int) -> list[int]:
    """Return the numbers of the first lines that are not blank. DuckDB counts these alone."""
    if path.suffix == ".zst":
        return list(range(1, count + 1))
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        return list(islice((number for number, line in enumerate(lines, 1) if line.strip()), count))
