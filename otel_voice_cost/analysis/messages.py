"""Messages of OTLP, each after its length in four bytes: the Collector's ``format: proto``, and its compressed JSON.

Source:
    ``exporter/fileexporter/file_writer.go`` of opentelemetry-collector-contrib: an unsigned 32-bit big-endian length,
    then the message. With ``compression: zstd``, each message is compressed, or, with the feature gate for native
    compression, the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from .forms import ZSTD

__all__ = ["LINES", "SPANS", "BadMessage", "line_batches", "read_messages", "span_batches", "to_reader"]

LINES = pa.schema([("line", pa.int64()), ("json", pa.string())])
SPANS = pa.schema(
    [
        ("line", pa.int64()),
        ("trace", pa.string()),
        ("span", pa.string()),
        ("parent", pa.string()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("session", pa.string()),
        ("keys", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
    ]
)
_LENGTH_BYTES = 4
_MAX_MESSAGE = 1 << 28
_BATCH_SPANS = 20_000
_PREFIX = "voice_cost."
_COMPLETE = "a complete message after its length, as the Collector's file exporter writes it"


class BadMessage(NamedTuple):
    """A message that cannot be read: its number, what was found and what was expected."""

    number: int
    found: str
    expected: str


def read_messages(file: Any, problems: list[BadMessage]) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of a file with their numbers, without their compression.

    A length that is wrong leaves no place where the next message could begin, so nothing is read after it.

    Args:
        file: Any file of bytes.
        problems: Receives the messages that cannot be read.
    """
    number = 0
    while head := file.read(_LENGTH_BYTES):
        number += 1
        size = int.from_bytes(head, "big")
        message = file.read(size) if len(head) == _LENGTH_BYTES and size < _MAX_MESSAGE else b""
        if len(head) < _LENGTH_BYTES or len(message) < size:
            problems.append(BadMessage(number, f"{len(message)} of {size} bytes", _COMPLETE))
            return
        try:
            yield number, _plain(message) if message.startswith(ZSTD) else message
        except OSError:
            problems.append(BadMessage(number, "compression that is broken", _COMPLETE))


def _plain(message: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(message), "zstd") as stream:
        plain: bytes = stream.read()
    return plain


def line_batches(messages: Iterable[tuple[int, bytes]]) -> Iterator[pa.RecordBatch]:
    """Yield messages of JSON as rows of `LINES`."""
    for number, message in messages:
        text = message.decode("utf-8", "replace")
        yield pa.RecordBatch.from_pylist([{"line": number, "json": text}], schema=LINES)


def span_batches(
    messages: Iterable[tuple[int, bytes]], kept: Collection[str], problems: list[BadMessage]
) -> Iterator[pa.RecordBatch]:
    """Yield the spans of messages of protobuf as rows of `SPANS`.

    Args:
        messages: Numbers and messages.
        kept: Attributes to keep in addition to this package's.
        problems: Receives the messages that cannot be read.
    """
    rows: list[tuple[Any, ...]] = []
    wanted = frozenset(kept)
    for number, message in messages:
        try:
            data = TracesData.FromString(message)
        except DecodeError:
            problems.append(BadMessage(number, "bytes of another kind", "spans in OTLP protobuf"))
            continue
        spans = chain.from_iterable(scope.spans for resource in data.resource_spans for scope in resource.scope_spans)
        rows += [_row(number, span, wanted) for span in spans]
        if len(rows) >= _BATCH_SPANS:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def to_reader(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """Return batches as one stream that DuckDB reads."""
    return pa.RecordBatchReader.from_batches(schema, batches)


def _row(number: int, span: Span, kept: frozenset[str]) -> tuple[Any, ...]:
    pairs = [
        (each.key, _text(each.value)) for each in span.attributes if each.key.startswith(_PREFIX) or each.key in kept
    ]
    return (
        number,
        span.trace_id.hex() or None,
        span.span_id.hex() or None,
        span.parent_span_id.hex() or None,
        _time(span.start_time_unix_nano),
        _time(span.end_time_unix_nano),
        None,
        [key for key, _ in pairs],
        [text for _, text in pairs],
    )


def _time(nanoseconds: int) -> int | None:
    return nanoseconds if nanoseconds < 1 << 63 else None


def _text(value: AnyValue) -> str | None:
    """Return a value as OTLP JSON has it; None for lists and maps."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    return repr(value.double_value) if kind == "double_value" else None


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SPANS, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=SPANS)
