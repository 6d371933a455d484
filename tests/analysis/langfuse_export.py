"""Exports of observations as Langfuse writes them.

Source:
    Langfuse 4.16.0: ``OtelIngestionProcessor.ts`` (attributes become ``metadata.attributes``, their values text),
    ``worker/src/features/database-read-stream/event-stream.ts`` (fields of the UI's exports),
    ``packages/shared/src/server/utils/transforms`` (JSON and CSV), and langfuse-docs,
    ``blob-storage-export-fields.mdx`` (fields of the blob storage's exports).
"""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq


def to_text(value):
    """As JavaScript: text stays, other values become JSON, without a fraction of zero."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def moment(nanoseconds):
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)


def from_ui(span):
    """Return an observation of the UI's exports and the API: times have milliseconds."""
    attributes = {key: to_text(value) for key, value in (span.attributes or {}).items()}
    return {
        "id": f"{span.context.span_id:016x}",
        "traceId": f"{span.context.trace_id:032x}",
        "traceName": "agent_session",
        "type": "GENERATION",
        "name": span.name,
        "startTime": moment(span.start_time).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "endTime": moment(span.end_time).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "sessionId": attributes.get("session.id"),
        "input": 'He said "yes",\nand left',
        "metadata": {"attributes": attributes, "resourceAttributes": {}, "scope": {"name": "livekit-agents"}},
        "parentObservationId": f"{span.parent.span_id:016x}" if span.parent else "",
    }


def from_blob_storage(span):
    """Return an observation of the blob storage's exports: values of the metadata are text."""
    row = from_ui(span)
    return {
        "id": row["id"],
        "trace_id": row["traceId"],
        "start_time": f"{moment(span.start_time):%Y-%m-%d %H:%M:%S.%f}",
        "end_time": f"{moment(span.end_time):%Y-%m-%d %H:%M:%S.%f}",
        "session_id": row["sessionId"] or "",
        "input": row["input"],
        "metadata": {key: to_text(value) for key, value in row["metadata"].items()},
        "parent_observation_id": row["parentObservationId"],
    }


def to_json(rows):
    return json.dumps(rows, ensure_ascii=False)


def to_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_csv(rows):
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if value is None else to_text(value) for value in row.values()])
    return file.getvalue()


def to_parquet(rows, path):
    maps = [{**row, "metadata": list(row["metadata"].items())} for row in rows]
    names = [name for name in rows[0] if name != "metadata"]
    fields = [pa.field(name, pa.string()) for name in names]
    schema = pa.schema([*fields, pa.field("metadata", pa.map_(pa.string(), pa.string()))])
    pq.write_table(pa.Table.from_pylist(maps, schema=schema), path)
