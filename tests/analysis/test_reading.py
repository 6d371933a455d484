"""Past calls as tables: exact to the last digit, and bad lines cost nothing else."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal

import pytest

from otel_voice_cost.analysis.reading import ReadError, read_calls
from otel_voice_cost.build import sources
from otel_voice_cost.testing import Answer

from ..sessions.harness import Pipeline
from ..sessions.test_unreported import LONG, interrupted_call, slow_speech
from .conftest import Recorded


def read(*paths):
    return read_calls(paths, sources())


def rows(table):
    return table.to_pyarrow().to_pylist()


def total(past):
    return past.cost_rows.usd.sum().to_pyarrow().as_py()


def by_model(past):
    table = past.cost_rows
    summed = table.group_by([table.component, table.provider, table.model]).agg(usd=table.usd.sum())
    return {(row["component"], row["provider"], row["model"]): row["usd"] for row in rows(summed)}


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
def test_the_sum_is_the_processors_to_the_last_digit(recorded, kind):
    past = read(getattr(recorded, kind))

    assert past.skipped == 0
    assert total(past) == recorded.usd
    expected = {}
    for record in recorded.records:
        for part in record.parts:
            key = (part.component.value, part.provider, part.model)
            expected[key] = expected.get(key, 0) + part.usd
    assert {key: usd or 0 for key, usd in by_model(past).items()} == expected


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
def test_a_call_has_its_cost_length_and_agent(recorded, kind):
    calls = {row["session"]: row for row in rows(read(getattr(recorded, kind)).calls)}

    assert set(calls) == {"session-0", "session-1", "session-2"}
    for record in recorded.records:
        row = calls[record.session_id]
        assert (row["usd"], row["seconds"], row["unpriced"]) == (record.usd, record.seconds, record.unpriced_count)
        assert (row["agent"], row["trace"]) == ("desk", record.trace_id)
        assert row["call"] == f"{record.trace_id}:{record.span_id}"


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
@pytest.mark.parametrize("revision", ["2026.11.1", ""])
def test_calls_and_all_their_usage_have_the_revision(record_calls, price_catalog, kind, revision):
    past = read(getattr(record_calls(price_catalog, revision=revision), kind))

    assert {row["revision"] for row in rows(past.calls)} == {revision or None}
    assert {row["revision"] for row in rows(past.usage)} == {revision or None}


def test_usage_of_spans_is_by_request_with_turn_and_mode(recorded):
    past = read(recorded.span_file)
    llm = rows(past.usage.filter(past.usage.component == "llm", past.usage.turn.notnull()))
    stt = rows(past.usage.filter(past.usage.component == "stt"))

    assert len({row["turn"] for row in llm}) == 6
    first = [row for row in llm if row["amount"] == 173]
    assert [(row["unit"], row["usd"], row["rate"]) for row in first] == [
        ("input_token", Decimal("0.000114"), "0.40 USD per 1000000 input_token; "
         "0.10 USD per 1000000 cached_input_token; 1.60 USD per 1000000 output_token"),
    ]  # fmt: skip
    assert {row["mode"] for row in stt} == {"streaming"}
    assert {row["session"] for row in stt} == {"session-0", "session-1", "session-2"}


def test_a_usage_without_a_price_has_a_reason_and_no_cost(recorded):
    for path in (recorded.record_file, recorded.span_file):
        past = read(path)
        unpriced = rows(past.usage.filter(past.usage.unpriced.notnull()))

        assert {(row["model"], row["amount"], row["usd"]) for row in unpriced} == {("new", Decimal(180), None)}


def test_a_call_counts_once_whatever_files_it_is_in(recorded):
    both = read(recorded.record_file, recorded.span_file, recorded.record_file)

    assert total(both) == recorded.usd
    assert both.call_count == 3


def test_spans_that_were_exported_twice_count_once(recorded):
    recorded.span_file.write_text(recorded.span_file.read_text() * 2)

    assert total(read(recorded.span_file)) == recorded.usd


BROKEN = [
    (b'{"Charges": [{"Effe', "no complete JSON", "a record of a call, spans in OTLP JSON, or an obs"),
    (b'{"name": "\xc3"}', "no complete JSON", "a record of a call, spans in OTLP JSON, or an obs"),
    (b'{"name": "somebody else"}', "JSON of another kind", "a record of a call, spans in OTLP JSON, or an obs"),
    (b"[]", "JSON of another kind", "a record of a call, spans in OTLP JSON, or an obs"),
    (b'{"x_TraceId": "1", "Charges": []}', "a record with another value", "a ChargePeriodStart that is a time"),
    (b'{"x_TraceId": "1", "Charges": [], "ChargePeriodStart": "infinity"}', "a record", "that is a time"),
    (b'{"x_TraceId": "1", "Charges": [], "ChargePeriodStart": "2026-11-24", "EffectiveCost": "1e13"}',
     "a record with another value", "an EffectiveCost that is a number"),
    (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"1","spanId":"2","startTimeUnixNano":"1",'
     b'"endTimeUnixNano":"2","attributes":[{"key":"voice_cost.usd","value":{"stringValue":"a lot"}}]}]}]}]}',
     "a span with another value", "a voice_cost.usd that is a number"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "found", "expected"), BROKEN)
def test_a_bad_line_is_named_and_costs_nothing_else(recorded, line, found, expected):
    first, *others = recorded.record_file.read_bytes().splitlines()
    recorded.record_file.write_bytes(b"\n".join([first, b"", line, *others]) + b"\n")

    past = read(recorded.record_file)

    assert total(past) == recorded.usd
    assert past.skipped == 1
    (problem,) = past.problems
    assert problem.place == f"{recorded.record_file}:3"
    assert found in problem.value
    assert expected in problem.expected


@pytest.mark.parametrize("amount", ["a lot", "NaN", "1e400"])
@pytest.mark.parametrize("place", ["EffectiveCost", "ConsumedQuantity", "x_UsedQuantity"])
def test_a_record_with_a_wrong_amount_is_skipped_as_a_whole(recorded, amount, place):
    lines = recorded.record_file.read_text().splitlines()
    call = json.loads(lines[1])
    call["Charges"][0][place] = amount
    recorded.record_file.write_text("\n".join([lines[0], json.dumps(call), lines[2]]))

    past = read(recorded.record_file)

    assert total(past) == recorded.records[0].usd + recorded.records[2].usd
    assert past.problems[0].expected.startswith("Charges with ")
    assert past.problems[0].place.endswith(":2")


def test_hostile_attributes_do_not_stop_the_others(recorded):
    keys = [{"key": "voice_cost.usd"}, {"key": "voice_cost.usd", "value": {"stringValue": "1"}}, {"key": None}, {}, 3]
    spans = [{"traceId": "1", "spanId": "2", "attributes": keys}, None, 7, {"attributes": None}]
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}, {}, None]}, {}, None]})
    with recorded.span_file.open("a") as file:
        file.write(line + "\n")

    assert total(read(recorded.span_file)) == recorded.usd


@pytest.mark.parametrize("setting", ["estimate", "bill"])
async def test_unreported_work_is_apart_unless_it_is_billed(price_catalog, tmp_path, monkeypatch, setting):
    monkeypatch.setenv("VOICE_COST_UNREPORTED", setting)
    pipeline = Pipeline(price_catalog)
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    record = pipeline.record
    pipeline.provider.shutdown()
    recorded = Recorded(tmp_path, [record], pipeline.spans)

    assert record.unreported_usd > 0
    for path in (recorded.record_file, recorded.span_file):
        past = read(path)
        likely = past.unreported_rows.usd.sum().to_pyarrow().as_py()
        assert total(past) == record.usd
        assert likely == (record.unreported_usd if setting == "estimate" else None)


def test_a_file_that_is_missing_is_an_error_that_names_it(tmp_path, recorded):
    with pytest.raises(ReadError, match=r"absent.jsonl: got no file, expected a readable file of JSON lines of 32 MB"):
        read(tmp_path / "absent.jsonl", recorded.record_file)


def test_a_name_with_brackets_is_not_a_pattern(tmp_path, recorded):
    path = recorded.record_file.rename(tmp_path / "calls[1]*.jsonl")

    assert total(read(path)) == recorded.usd


def test_a_compressed_file_is_read_with_the_numbers_of_its_lines(recorded, tmp_path):
    packed = tmp_path / "calls.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n{\n" + recorded.record_file.read_bytes()))

    past = read(packed)

    assert total(past) == recorded.usd
    assert [problem.place for problem in past.problems] == [f"{packed}:2"]


def test_the_database_draws_no_progress_bar_into_the_results(recorded):
    """DuckDB draws one on standard output after two seconds."""
    database = read(recorded.record_file).usage.get_backend().con

    assert database.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]


def test_an_empty_file_has_no_calls(tmp_path):
    (tmp_path / "empty.jsonl").touch()

    assert total(read(tmp_path / "empty.jsonl")) is None
