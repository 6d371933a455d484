"""The forms in which collectors and backends write files of calls.

Source:
    Collector: ``file_writer.go`` and ``compression_writer.go`` in ``exporter/fileexporter`` of its contrib repository.
    Langfuse: ``content/docs/api-and-data-platform/features/blob-storage-export-fields.mdx`` of langfuse-docs.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pyarrow as pa

__all__ = ["ZSTD", "Form", "find_form", "open_plain"]

ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP, _PARQUET, _BYTE_ORDER_MARK = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"
_DUCKDB, _DUCKDB_OFFSET = b"DUCK", 8  # after a checksum
_START_BYTES = 256


class Form(Enum):
    """The form of a file."""

    ARRAY = "one JSON array"
    CSV = "CSV"
    DUCKDB = "a database of DuckDB"
    LINES = "JSON lines"
    MESSAGES = "messages"  # each after its length in four bytes
    PARQUET = "Parquet"


def find_form(path: Path) -> tuple[Form, str]:
    """Return the form of a file and its compression, ``none``, ``gzip`` or ``zstd``, by its first bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(_START_BYTES)
    if first[_DUCKDB_OFFSET:].startswith(_DUCKDB):
        return Form.DUCKDB, "none"
    compression = "zstd" if first.startswith(ZSTD) else "gzip" if first.startswith(_GZIP) else "none"
    with open_plain(path, compression) as file:
        start = file.read(_START_BYTES).removeprefix(_BYTE_ORDER_MARK)
    if start.startswith(_PARQUET):
        return Form.PARQUET, compression
    if start and start[0] < ord("\t"):  # the length of a message; text that begins so would be 150 MB of it
        return Form.MESSAGES, compression
    text = start.lstrip()
    if text.startswith(b"["):
        return Form.ARRAY, compression
    return (Form.CSV if _is_heading(text) else Form.LINES), compression


def open_plain(path: Path, compression: str) -> Any:
    """Open a file for reading without its compression.

    Raises:
        OSError: The file cannot be read.
    """
    return pa.input_stream(str(path), compression=None if compression == "none" else compression)


def _is_heading(text: bytes) -> bool:
    """Return True if a file begins with names of columns, one of them ``id``."""
    names = text.split(b"\n", 1)[0].replace(b'"', b"").strip().split(b",")
    return len(names) > 1 and b"id" in names
