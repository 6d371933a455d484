"""The report of past calls: sums to the last digit, percentiles that are calls, and reasons for expensive ones."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from itertools import pairwise

import pytest
from pyarrow import parquet
from rich.text import Text

from otel_voice_cost.analysis.reading import read_calls
from otel_voice_cost.analysis.report import report_calls
from otel_voice_cost.build import sources

from ..cli.test_commands import run

TRICKY = Decimal("0.012345678901234567")  # 18 places


def charge(component, provider, model, usd, **fields):
    return {
        "ProviderName": provider,
        "ServiceName": model,
        "x_Component": component,
        "ConsumedUnit": "character",
        "ConsumedQuantity": "1",
        "EffectiveCost": None if usd is None else str(usd),
        **fields,
    }


def record(number, charges, seconds=60, day=1, **fields):
    usd = sum(Decimal(each["EffectiveCost"] or 0) for each in charges)
    return {
        "ChargePeriodStart": f"2026-11-{day:02d}T23:59:59.999Z",
        "EffectiveCost": str(usd),
        "x_SessionId": f"call-{number}",
        "x_TraceId": f"{number:032x}",
        "x_SpanId": f"{number:016x}",
        "x_AgentName": "desk",
        "x_Seconds": str(seconds),
        "x_UnpricedUsages": sum(each["EffectiveCost"] is None for each in charges),
        "Charges": charges,
        "x_Unreported": [],
        **fields,
    }


@pytest.fixture
def report_of(tmp_path):
    """Report calls that are given as records."""

    def report(*records, top=10):
        path = tmp_path / "calls.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in records))
        return report_calls(read_calls([path], sources()), top)

    return report


def per_minute(*usd):
    """Records of calls of one minute that cost so much."""
    return [record(n, [charge("llm", "openai", "gpt", each)]) for n, each in enumerate(usd, 1)]


def named(shares):
    return {share.name: share.usd for share in shares}


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
def test_every_breakdown_adds_up_to_the_processors_sum(recorded, kind):
    report = report_calls(read_calls([getattr(recorded, kind)], sources()))

    assert report.usd == recorded.usd
    for shares in (report.by_day, report.by_component, report.by_model, report.by_agent, report.by_day_and_component):
        assert sum(share.usd or 0 for share in shares) == recorded.usd
    assert report.seconds == sum(record.seconds for record in recorded.records)
    assert (report.call_count, report.incomplete_count) == (3, 0)


def test_costs_are_by_day_component_model_and_agent(report_of):
    speech = charge("tts", "cartesia", "sonic-3", TRICKY)
    words = charge("llm", "openai", "gpt", "0.5")
    report = report_of(
        record(1, [speech, words], day=1), record(2, [words], day=2), record(3, [speech], day=2, x_AgentName=None)
    )

    assert named(report.by_day) == {"2026-11-01": Decimal("0.5") + TRICKY, "2026-11-02": Decimal("0.5") + TRICKY}
    assert named(report.by_component) == {"llm": Decimal(1), "tts": 2 * TRICKY}
    assert named(report.by_model) == {"openai/gpt": Decimal(1), "cartesia/sonic-3": 2 * TRICKY}
    assert named(report.by_agent) == {"desk": 1 + TRICKY, None: TRICKY}
    assert {share.name: share.call_count for share in report.by_component} == {"llm": 2, "tts": 2}


def test_a_day_is_split_by_component(report_of):
    speech, words = charge("tts", "cartesia", "sonic-3", TRICKY), charge("llm", "openai", "gpt", "0.5")
    unpriced = charge("stt", "nobody", "ears", None, x_Unpriced="no stt rate for nobody/ears")
    report = report_of(
        record(1, [speech, words], day=1), record(2, [words, unpriced], day=2), record(3, [words], day=2)
    )

    assert [(part.day.day, part.component, part.usd) for part in report.by_day_and_component] == [
        (1, "llm", Decimal("0.5")),
        (1, "tts", TRICKY),
        (2, "llm", Decimal(1)),
        (2, "stt", None),
    ]


def test_revisions_show_what_a_minute_costs_since_each(report_of):
    old = [record(n, [charge("llm", "openai", "gpt", "0.1")], x_Revision="v1") for n in (1, 2, 3)]
    new = [record(n, [charge("llm", "openai", "gpt", usd)], x_Revision="v2") for n, usd in ((4, "0.1"), (5, "0.3"))]
    report = report_of(*old, *new, record(6, [charge("llm", "openai", "gpt", "2")], seconds=0))

    found = [(share.name, share.usd, share.call_count, share.median_usd_per_minute) for share in report.by_revision]
    assert found == [
        (None, Decimal(2), 1, None),
        ("v2", Decimal("0.4"), 2, Decimal("0.1")),
        ("v1", Decimal("0.3"), 3, Decimal("0.1")),
    ]


def test_calls_without_a_revision_make_no_group(report_of):
    assert report_of(*per_minute("0.1")).by_revision == ()


def test_agents_have_the_cost_per_minute_of_their_median_call(report_of):
    words = [charge("llm", "openai", "gpt", Decimal(n) / 100) for n in range(1, 7)]
    desk = [record(n, [each], seconds=30) for n, each in enumerate(words[:5], 1)]
    report = report_of(*desk, record(9, words[5:], x_AgentName="sales", seconds=120))

    assert {share.name: share.median_usd_per_minute for share in report.by_agent} == {
        "desk": Decimal("0.06"),
        "sales": Decimal("0.03"),
    }
    assert {share.median_usd_per_minute for share in report.by_component} == {None}


def test_the_distribution_counts_every_call_once(report_of):
    """99 calls cost from 0.010 to 0.108 a minute, and one costs 5: bands are 0.002 wide, the last has no limit."""
    report = report_of(*per_minute(*[Decimal(n) / 1000 for n in range(10, 109)], "5"))

    assert sum(band.call_count for band in report.per_minute) == 100
    assert {band.high_usd - band.low_usd for band in report.per_minute[:-1]} == {Decimal("0.002")}
    assert all(one.high_usd == two.low_usd for one, two in pairwise(report.per_minute))
    assert (report.per_minute[0].low_usd, report.per_minute[0].call_count) == (Decimal("0.010"), 2)
    assert (report.per_minute[-1].high_usd, report.per_minute[-1].call_count) == (None, 1)


@pytest.mark.parametrize("edge", ["0.1", "0.3", "0.7", "1.1"])
def test_a_call_on_the_edge_of_two_bands_is_in_the_upper_one(report_of, edge):
    """0.3 / 0.1 is less than 3 in floating point."""
    report = report_of(*per_minute("0.1", edge, "2.1"))

    (band,) = [band for band in report.per_minute if band.low_usd <= Decimal(edge) < band.high_usd]
    assert band.call_count == (2 if edge == "0.1" else 1)


def test_calls_of_one_cost_are_in_one_band(report_of):
    (band,) = report_of(*per_minute("0.05", "0.05")).per_minute

    assert (band.low_usd, band.call_count) == (Decimal("0.05"), 2)


def test_unreported_work_without_any_estimate_is_not_zero(report_of):
    part = {"ProviderName": "cartesia", "ServiceName": "sonic", "x_Component": "tts", "x_Reason": "cut off"}
    words = [charge("llm", "openai", "gpt", "1")]

    assert report_of(record(1, words)).unreported_usd == 0
    assert report_of(record(1, words, x_Unreported=[part | {"x_LikelyCost": None}])).unreported_usd is None


def test_percentiles_of_a_minute_are_those_of_calls(report_of):
    """20 calls of 30 seconds cost 0.01, 0.02, ... 0.20: per minute the 10th costs 0.20 and the 19th 0.38."""
    calls = [record(n, [charge("llm", "openai", "gpt", Decimal(n) / 100)], seconds=30) for n in range(1, 21)]
    report = report_of(*calls)

    assert report.median_usd_per_minute == Decimal("0.2")
    assert report.p95_usd_per_minute == Decimal("0.38")


def test_expensive_calls_have_their_length_rate_and_models(report_of):
    usual = [record(n, [charge("llm", "openai", "gpt", "0.06")], seconds=60) for n in range(1, 6)]
    long = record(8, [charge("llm", "openai", "gpt", "0.3"), charge("tts", "cartesia", "sonic", "0.9")], seconds=600)
    dear = record(9, [charge("llm", "openai", "gpt", "0.6")], seconds=60)
    report = report_of(*usual, long, dear, top=2)

    first, second = report.calls
    assert (first.session, first.usd, first.length_ratio, first.rate_ratio) == ("call-8", Decimal("1.2"), 10, 2)
    assert [(part.model, part.usd) for part in first.parts] == [("sonic", Decimal("0.9")), ("gpt", Decimal("0.3"))]
    assert (second.session, second.length_ratio, second.rate_ratio) == ("call-9", 1, 10)


def test_estimates_and_usage_without_a_price_stay_apart(report_of):
    unreported = {
        "ProviderName": "cartesia",
        "ServiceName": "sonic",
        "x_Component": "tts",
        "x_Reason": "cut off",
        "x_LikelyCost": "0.25",
    }
    charges = [
        charge("tts", "cartesia", "sonic", "1"),
        charge("stt", "vendor", "ears", "0.5", x_Estimated=True),
        charge("llm", "nobody", "new", None, x_Unpriced="no llm rate for nobody/new"),
    ]
    report = report_of(record(1, charges, x_Unreported=[unreported]))

    assert (report.usd, report.estimated_usd, report.unreported_usd) == (
        Decimal("1.5"),
        Decimal("0.5"),
        Decimal("0.25"),
    )
    assert [(each.model, each.reason, each.call_count) for each in report.unpriced] == [
        ("new", "no llm rate for nobody/new", 1)
    ]
    assert [(each.model, each.reason, each.likely_usd) for each in report.unreported] == [
        ("sonic", "cut off", Decimal("0.25"))
    ]
    assert named(report.by_model)["nobody/new"] is None


def test_calls_that_lost_spans_are_counted(recorded):
    first = recorded.span_file.read_text().splitlines()[1]  # the second half of the spans
    recorded.span_file.write_text(first + "\n")

    assert report_calls(read_calls([recorded.span_file], sources())).incomplete_count == 1


def test_a_call_without_length_has_no_cost_per_minute(report_of):
    report = report_of(record(1, [charge("llm", "openai", "gpt", "0.5")], seconds=0))

    assert (report.median_usd_per_minute, report.calls[0].usd_per_minute) == (None, None)


# the command


def test_json_has_every_digit_and_csv_the_breakdowns(recorded):
    report = json.loads(run("report", str(recorded.span_file), "--json").output)
    rows = list(csv.DictReader(io.StringIO(run("report", str(recorded.span_file), "--csv").output)))

    assert Decimal(report["usd"]) == recorded.usd
    assert {row["by"] for row in rows} == {"day", "component", "model", "agent"}
    assert sum(Decimal(part["usd"] or 0) for part in report["by_day_and_component"]) == recorded.usd
    assert sum(Decimal(row["usd"] or 0) for row in rows if row["by"] == "model") == recorded.usd


def test_parquet_has_the_rows_of_the_csv(recorded, tmp_path):
    path = tmp_path / "report.parquet"
    printed = run("report", str(recorded.span_file), "--csv", "--parquet", str(path)).output
    rows = parquet.read_table(path).to_pylist()

    assert [(row["by"], row["name"] or "") for row in rows] == [
        (row["by"], row["name"]) for row in csv.DictReader(io.StringIO(printed))
    ]
    assert sum(row["usd"] or 0 for row in rows if row["by"] == "model") == recorded.usd


def test_a_parquet_file_that_cannot_be_written_is_an_error(recorded, tmp_path):
    result = run("report", str(recorded.span_file), "--parquet", str(tmp_path / "none" / "report.parquet"))

    assert result.exit_code == 2
    assert "report.parquet" in result.stderr
    assert "a file that can be written" in result.stderr


def test_the_report_fits_a_terminal_of_80_columns(recorded):
    result = run("report", str(recorded.record_file), COLUMNS="80", FORCE_COLOR="1")

    assert result.exit_code == 0
    assert "session-2" in result.output
    assert "usage without a price" in result.output
    assert max(len(line) for line in _plain(result.output).splitlines()) <= 80


def test_one_call_on_one_day_is_said_in_the_singular(tmp_path):
    path = tmp_path / "calls.jsonl"
    unpriced = charge("tts", "nobody", "new", None, x_Unpriced="no tts rate for nobody/new")
    path.write_text(json.dumps(record(1, [charge("llm", "openai", "gpt", "0.5"), unpriced])) + "\n")
    printed = run("report", str(path)).output

    assert printed.startswith("1 call, 2026-11-01, 1 minute: 0.5000 US dollars.\n")
    assert "tts nobody/new: no tts rate for nobody/new, 1 call\n" in printed


def test_names_from_files_do_not_style_the_terminal(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps(record(1, [charge("[red]llm[/red]", "\x1b[31mopenai", "[bold]gpt", "0.5")])) + "\n")
    printed = run("report", str(path), FORCE_COLOR="1").output

    assert "100.0 % is [red]llm[/red] [bold]gpt" in printed
    assert "\x1b[31m" not in printed


def _plain(text):
    return Text.from_ansi(text).plain
