"""Every form of a file gives the same calls, to the last digit of their cost."""

from __future__ import annotations

import gzip
import json

import pytest

pytest.importorskip("ibis", reason="the extra `analysis` is not installed")

from otel_voice_cost.analysis.reading import ReadError

from .langfuse_export import from_blob_storage, from_ui, to_csv, to_json, to_jsonl, to_parquet
from .otlp import frame, to_line, to_messages, zstd
from .test_reading import by_model, read, rows, total


def usage_of(past):
    """All usage in an order that does not depend on the file, with times as the form has them."""
    found = [{name: value for name, value in row.items() if name != "used_at"} for row in rows(past.usage)]
    return sorted(found, key=lambda row: (row["request"], row["unit"] or ""))


@pytest.fixture
def written(recorded, tmp_path):
    """Write the spans in another form."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


COLLECTOR = {
    "protobuf": to_messages,
    "protobuf, each message compressed": lambda spans: to_messages(spans, compress=zstd),
    "protobuf, compressed": lambda spans: zstd(to_messages(spans)),
    "protobuf, gzip": lambda spans: gzip.compress(to_messages(spans)),
    "JSON, each message compressed": lambda spans: frame(zstd(to_line(spans).encode())),
    "JSON, compressed": lambda spans: zstd(to_line(spans).encode()),
}


@pytest.mark.parametrize("form", COLLECTOR)
def test_a_file_of_the_collector_has_the_usage_of_its_json(recorded, written, form):
    past = read(written("spans", COLLECTOR[form](recorded.spans)))

    assert past.skipped == 0
    assert total(past) == recorded.usd
    assert usage_of(past) == usage_of(read(recorded.span_file))
    assert rows(past.calls.order_by("call")) == rows(read(recorded.span_file).calls.order_by("call"))


LANGFUSE = {
    "JSON of the UI": lambda spans: to_json([from_ui(span) for span in spans]),
    "CSV of the UI": lambda spans: to_csv([from_ui(span) for span in spans]),
    "JSON lines of the blob storage": lambda spans: to_jsonl([from_blob_storage(span) for span in spans]),
    "JSON of the blob storage": lambda spans: to_json([from_blob_storage(span) for span in spans]),
    "CSV of the blob storage": lambda spans: to_csv([from_blob_storage(span) for span in spans]),
    "CSV, gzip": lambda spans: gzip.compress(to_csv([from_blob_storage(span) for span in spans]).encode()),
}


@pytest.mark.parametrize("form", LANGFUSE)
def test_an_export_of_langfuse_has_the_usage_of_the_spans(recorded, written, form):
    past = read(written("observations", LANGFUSE[form](recorded.spans)))

    assert past.skipped == 0
    assert total(past) == recorded.usd
    assert usage_of(past) == usage_of(read(recorded.span_file))
    calls = {row["call"]: row for row in rows(past.calls)}
    for record in recorded.records:
        row = calls[f"{record.trace_id}:{record.span_id}"]
        assert (row["usd"], row["session"], row["agent"]) == (record.usd, record.session_id, "desk")
        assert abs(row["seconds"] - record.seconds) <= 0.002  # Langfuse keeps milliseconds or microseconds


def test_parquet_of_the_blob_storage_has_the_usage_of_the_spans(recorded, tmp_path):
    to_parquet([from_blob_storage(span) for span in recorded.spans], tmp_path / "observations.parquet")

    assert usage_of(read(tmp_path / "observations.parquet")) == usage_of(read(recorded.span_file))


def test_a_session_that_langfuse_keeps_outside_of_the_attributes_is_the_calls(recorded, written):
    observations = [from_ui(span) for span in recorded.spans]
    for observation in observations:
        observation["metadata"]["attributes"].pop("session.id", None)
    past = read(written("observations.json", to_json(observations)))

    assert {row["session"] for row in rows(past.calls)} == {"session-0", "session-1", "session-2"}


def test_files_of_all_forms_count_each_call_once(recorded, written):
    files = [written(name.replace(" ", "-"), make(recorded.spans)) for name, make in (COLLECTOR | LANGFUSE).items()]
    past = read(recorded.span_file, recorded.record_file, *files)

    assert total(past) == recorded.usd
    assert past.call_count == 3
    assert by_model(past) == by_model(read(recorded.span_file))


def test_a_message_that_is_cut_off_is_named_and_the_others_count(recorded, written):
    whole = to_messages(recorded.spans, count=len(recorded.spans))
    path = written("spans.binpb", whole[:-1])
    past = read(path)

    (problem,) = past.problems
    assert problem.place == f"{path}:{len(recorded.spans)}"
    assert "expected a complete message after its length" in str(problem)
    assert total(past) == recorded.usd  # the last span is that of the session, which has no usage


@pytest.mark.parametrize("bad", [b"\xff\xff\xff\xff", b"\x28\xb5\x2f\xfd\x00\x00"])
def test_a_message_of_another_kind_costs_nothing_else(recorded, written, bad):
    past = read(written("spans.binpb", frame(bad) + to_messages(recorded.spans)))

    assert total(past) == recorded.usd
    assert past.skipped == 1
    assert past.problems[0].place.endswith(":1")


def test_observations_of_others_have_no_cost_and_are_no_problem(recorded, written):
    observation = {"id": "1", "traceId": "2", "startTime": "2026-11-24T10:00:00.000Z", "metadata": "not JSON"}
    lines = to_jsonl([from_ui(span) for span in recorded.spans] + [observation, observation | {"metadata": [3]}])
    past = read(written("observations.jsonl", lines))

    assert past.skipped == 0
    assert total(past) == recorded.usd


def test_an_array_that_is_cut_off_is_an_error_that_names_the_file(recorded, written):
    path = written("observations.json", to_json([from_ui(span) for span in recorded.spans])[:-100])
    with pytest.raises(ReadError, match=r"observations.json"):
        read(path)


def test_a_wrong_amount_in_an_export_is_named_by_its_row(recorded, written):
    observations = [from_ui(span) for span in recorded.spans]
    wrong = next(each for each in observations if "voice_cost.usd" in each["metadata"]["attributes"])
    number = observations.index(wrong) + 1
    wrong["metadata"]["attributes"]["voice_cost.usd"] = "a lot"
    past = read(written("observations.csv", to_csv(observations)))

    assert [problem.place.rpartition(":")[2] for problem in past.problems] == [str(number)]
    assert past.problems[0].expected == "a voice_cost.usd that is a number"
    assert json.dumps(str(total(past))) != json.dumps(str(recorded.usd))
