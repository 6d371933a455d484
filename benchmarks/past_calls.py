"""Reading, repricing and reporting past calls: ten thousand from files, and ten million rows of usage from a database.

The calls are held through the processor, then moved over the 30 days before today and stretched to a length by turns:
the files have the shapes of real ones. What the calls must cost is worked out without the package. The database has the
same calls many times, each time with other ids.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from calls import Call, use
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from rich import box
from rich.console import Console
from rich.table import Table

from otel_voice_cost import SessionCost, VoiceCostSpanProcessor
from otel_voice_cost.export.records import as_focus

AGENTS = ("desk", "sales", "night desk")
SECONDS_PER_TURN = 12
SAME_VOICE = "cartesia/sonic-3=cartesia/sonic-3"  # costs what was recorded
NS_PER_DAY = 86_400 * 10**9
SPAN_IDS = ("traceId", "spanId", "parentSpanId")


def days_back(trace_id: int) -> int:
    return trace_id % 30


class Files:
    """Writes records, and spans as the Collector's file exporter writes them."""

    def __init__(self, folder: Path) -> None:
        self.records, self.spans, self.messages = folder / "calls.jsonl", folder / "spans.json", folder / "spans.binpb"
        self._record_file = self.records.open("w", encoding="utf-8")
        self.turns: dict[int, int] = {}  # by trace

    def write_record(self, record: SessionCost) -> None:
        trace_id = int(record.trace_id, 16)
        moved = replace(
            record,
            started_at=record.started_at - timedelta(days=days_back(trace_id)),
            seconds=Decimal(self.turns[trace_id] * SECONDS_PER_TURN),
        )
        self._record_file.write(json.dumps(as_focus(moved), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._record_file.close()


class CollectorFile(SpanExporter):
    """One line for each batch, attributes of the resource and events apart."""

    def __init__(self, files: Files) -> None:
        self._files, self._file = files, files.spans.open("w", encoding="utf-8")
        self._messages = files.messages.open("wb")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        scope = {"scope": {"name": "livekit-agents"}, "spans": [self._to_json(span) for span in spans]}
        request = {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [scope]}]}
        self._file.write(json.dumps(request, ensure_ascii=False, separators=(",", ":")) + "\n")
        message = to_message(request).SerializeToString()
        self._messages.write(len(message).to_bytes(4, "big") + message)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()
        self._messages.close()

    def _to_json(self, span: ReadableSpan) -> dict[str, Any]:
        context, moved_ns = span.context, days_back(span.context.trace_id) * NS_PER_DAY
        start_ns, end_ns = span.start_time - moved_ns, span.end_time - moved_ns
        if span.name == "agent_session":
            end_ns = start_ns + self._files.turns[context.trace_id] * SECONDS_PER_TURN * 10**9
        return {
            "traceId": f"{context.trace_id:032x}",
            "spanId": f"{context.span_id:016x}",
            "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
            "name": span.name,
            "kind": 1,
            "startTimeUnixNano": str(start_ns),
            "endTimeUnixNano": str(end_ns),
            "attributes": [{"key": key, "value": to_value(value)} for key, value in span.attributes.items()],
            "status": {},
        }


def to_value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [to_value(each) for each in value]}}


def to_message(request: dict[str, Any]) -> TracesData:
    """Ids are hexadecimal in OTLP JSON, and base64 in the JSON of protobuf."""
    message = TracesData()
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            spans = [
                {
                    **span,
                    **{
                        name: b64encode(bytes.fromhex(span[name])).decode()
                        for name in ("traceId", "spanId", "parentSpanId")
                    },
                }
                for span in scope["spans"]
            ]
            message.resource_spans.add().scope_spans.add(spans=[ParseDict(span, Span()) for span in spans])
    return message


def hold_calls(folder: Path, count: int) -> tuple[Files, Decimal]:
    """Hold calls of 2 to 18 turns; return the files and what the calls must cost."""
    files, expected, chance = Files(folder), Decimal(0), random.Random(1)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(VoiceCostSpanProcessor(on_session_end=files.write_record))
    exporting = BatchSpanProcessor(CollectorFile(files), max_queue_size=200_000, max_export_batch_size=8_192)
    provider.add_span_processor(exporting)
    use(provider)
    for number in range(count):
        call, turns = Call(provider, number), chance.randint(2, 18)
        call._session.set_attribute("lk.agent_name", AGENTS[number % len(AGENTS)])
        files.turns[call._session.get_span_context().trace_id] = turns
        for _ in range(turns):
            call.turn()
        call.end()
        expected += call.expected
        if number % 500 == 499:
            provider.force_flush()
    provider.shutdown()
    files.close()
    return files, expected


def timed(*arguments: str) -> tuple[str, float, float]:
    """Run a command; return its output, seconds, and its most memory in megabytes."""
    command = [str(Path(sys.executable).parent / "voice-cost"), *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output)
        _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        assert status == 0, command
        output.seek(0)
        return output.read().decode(), took, used.ru_maxrss / 1e3


def multiply(path: Path, larger: Path, row_count: int) -> int:
    """Copy the calls of a database often enough for a number of usage rows; return how often."""
    with duckdb.connect(larger) as database:
        database.execute("SET memory_limit = '2GB'")
        database.execute(f"ATTACH '{path}' AS loaded (READ_ONLY)")
        ((count,),) = database.execute("SELECT count(*) FROM loaded.usage").fetchall()
        times = -(-row_count // count)
        ids = "md5(trace || n) AS trace, md5(trace || n) || ':' || split_part(call, ':', 2) AS call"
        for table, more in (("usage", ", md5(trace || n) || ':' || span AS request"), ("calls", "")):
            copied = f"SELECT * EXCLUDE (n) REPLACE ({ids}{more}) FROM loaded.{table}, range({times}) AS r(n)"
            database.execute(f"CREATE TABLE {table} AS {copied}")
        request = "md5(split_part(request, ':', 1) || n) || ':' || split_part(request, ':', 2) AS request"
        copied = f"SELECT * EXCLUDE (n) REPLACE ({request}) FROM loaded.reported, range({times}) AS r(n)"
        database.execute(f"CREATE TABLE reported AS {copied}")
        database.execute("CREATE TABLE release AS FROM loaded.release")
    return times


def main(count: int, row_count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        files, expected = hold_calls(Path(folder), count)
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(f"{count:,} calls held in {time.monotonic() - began:.0f} s; they must cost {expected} US dollars")
        rows = Table("command", "file", "MB", "s", "most memory, MB", "US dollars", box=box.SIMPLE)
        small, large = Path(folder) / "calls.duckdb", Path(folder) / "many.duckdb"

        def measure(path: Path, usd: Decimal) -> None:
            for command, names in (("report", ["usd"]), ("reprice", ["before_usd", "after_usd"])):
                output, took, memory = timed(command, str(path), "--json")
                found = json.loads(output)
                add(command, path, took, memory, found[names[0]])
                assert all(Decimal(found[name]) == usd for name in names), (command, path)
            output, took, memory = timed("what-if", str(path), "--swap", SAME_VOICE, "--json")
            (stack,) = json.loads(output)["stacks"]
            add("what-if", path, took, memory, stack["after_usd"])
            assert Decimal(stack["after_usd"]) == usd, path

        def add(command: str, path: Path, took: float, memory: float, result: str) -> None:
            size = f"{path.stat().st_size / 1e6:,.0f}"
            rows.add_row(command, path.name, size, f"{took:.1f}", f"{memory:,.0f}", result)

        for path in (files.records, files.spans, files.messages):
            measure(path, expected)
        _, took, memory = timed("load", str(files.spans), "--into", str(small))
        add("load", files.spans, took, memory, "")
        measure(small, expected)
        measure(large, expected * multiply(small, large, row_count))
        console.print(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000)
