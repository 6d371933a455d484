"""The usage of past calls at other prices is what the processor would have billed by them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from pyarrow import parquet
from rich.text import Text

from otel_voice_cost.analysis.reading import read_calls
from otel_voice_cost.analysis.reprice import reprice_calls
from otel_voice_cost.build import sources
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.prices.rates import Tier
from otel_voice_cost.usage import Unit

from ..cli.test_commands import run

OFFER = """
source = "https://example.com/offer"
checked = 2026-11-20

[[rate]]
provider = "openai"
model = "gpt-4.1-mini"
component = "llm"
unit = "input_token"
usd = 0.30
per = 1_000_000

[[rate]]
provider = "openai"
model = "gpt-4.1-mini"
component = "llm"
unit = "output_token"
usd = 3
per = 1_000_000

[[rate]]
provider = "cartesia"
model = "sonic-3"
component = "tts"
unit = "character"
usd = 7
per = 300_000
minimum = 200
increment = 64

[[rate]]
provider = "deepgram"
model = "nova-3"
component = "stt"
unit = "audio_second"
usd = 0.006
per = 60
minimum = 20
mode = "streaming"

[[rate]]
provider = "nobody"
model = "new"
component = "tts"
unit = "character"
usd = 11
per = 1_000_000
"""


@pytest.fixture
def offer(price_catalog):
    """The offer, with a tier above 301 input tokens, cached ones included: one call of the three is beyond it."""
    sheet = parse_sheet(OFFER, "offer.toml")
    assert not sheet.problems
    tiers = (Tier(301, Decimal("0.70")),)
    rates = [replace(rate, tiers=tiers) if rate.unit is Unit.INPUT_TOKEN else rate for rate in sheet.rates]
    return price_catalog.with_sheet(replace(sheet, rates=tuple(rates)))


def parts_of(records):
    sums = {}
    for record in records:
        for part in record.parts:
            key = (part.component.value, part.provider, part.model)
            sums[key] = sums.get(key, 0) + part.usd
    return sums


def reprice(path, catalog, at=None):
    return reprice_calls(read_calls([path], sources()), catalog, at)


def test_spans_cost_what_the_processor_bills_by_the_other_prices(record_calls, price_catalog, offer):
    expected = parts_of(record_calls(offer).records)
    recorded = record_calls(price_catalog)

    repriced = reprice(recorded.span_file, offer)

    assert {(m.component, m.provider, m.model): m.after_usd for m in repriced.models} == expected
    assert repriced.total("before_usd") == recorded.usd
    assert {reason for model in repriced.models for reason in model.approximations} == set()


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
def test_the_same_prices_change_nothing(recorded, price_catalog, kind):
    repriced = reprice(getattr(recorded, kind), price_catalog)

    assert repriced.total("after_usd") == repriced.total("before_usd") == recorded.usd
    assert all(model.before_usd == model.after_usd for model in repriced.models)
    assert {m.model for m in repriced.models if m.unpriced_after} == {"new"}


def test_records_have_sums_so_rules_per_request_are_marked(record_calls, price_catalog, offer):
    recorded = record_calls(price_catalog)
    models = {model.model: model for model in reprice(recorded.record_file, offer).models}

    assert {name for name, model in models.items() if model.approximations} == {"gpt-4.1-mini", "sonic-3"}
    assert "sums of requests" in next(iter(models["sonic-3"].approximations))
    assert models["nova-3"].after_usd == Decimal("0.0012")  # three times 4 seconds, streaming: no minimum
    assert models["gpt-realtime"].difference_usd == 0


def test_before_and_after_differ_by_change_gain_and_loss(recorded, price_catalog, offer):
    for model in reprice(recorded.span_file, offer).models:
        assert model.after_usd == (model.before_usd or 0) + model.change_usd
        assert model.change_usd == model.difference_usd + model.gained_usd - model.lost_usd
    gained = reprice(recorded.span_file, offer).total("gained_usd")
    assert gained == 3 * 180 * Decimal(11) / 1_000_000


def test_a_day_selects_its_prices(recorded, price_catalog):
    dated = OFFER.replace('component = "stt"', 'component = "stt"\nsince = 2027-01-01')
    catalog = price_catalog.with_sheet(parse_sheet(dated, "offer.toml"))

    def stt_usd(at):
        (model,) = [m for m in reprice(recorded.span_file, catalog, at).models if m.component == "stt"]
        return model.after_usd

    assert stt_usd(datetime(2026, 12, 31, tzinfo=timezone.utc)) == Decimal("0.00096")
    assert stt_usd(datetime(2027, 1, 1, tzinfo=timezone.utc)) == Decimal("0.0012")


def test_a_file_without_modes_is_priced_as_streaming_and_marked(recorded, price_catalog):
    text = recorded.record_file.read_text().replace('"x_Mode": "streaming"', '"x_Mode": null')
    recorded.record_file.write_text(text)

    (stt,) = [m for m in reprice(recorded.record_file, price_catalog).models if m.component == "stt"]

    assert stt.before_usd == stt.after_usd
    assert "priced as streaming" in next(iter(stt.approximations))


# the command


@pytest.fixture
def offer_file(tmp_path):
    (tmp_path / "offer.toml").write_text(OFFER)
    return str(tmp_path / "offer.toml")


def test_json_and_csv_have_every_digit(recorded, offer_file):
    arguments = ("reprice", str(recorded.span_file), "--prices", offer_file)
    report = json.loads(run(*arguments, "--json").output)
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--csv").output)))

    assert Decimal(report["before_usd"]) == recorded.usd
    assert sum(Decimal(row["after_usd"]) for row in rows) == Decimal(report["after_usd"])
    assert [row["model"] for row in rows] == [model["model"] for model in report["models"]]


def test_parquet_has_the_rows_of_the_csv(recorded, offer_file, tmp_path):
    path = tmp_path / "reprice.parquet"
    arguments = ("reprice", str(recorded.span_file), "--prices", offer_file)
    printed = run(*arguments, "--csv", "--parquet", str(path)).output
    rows = parquet.read_table(path).to_pylist()

    assert [row["model"] for row in rows] == [row["model"] for row in csv.DictReader(io.StringIO(printed))]
    assert sum(row["before_usd"] or 0 for row in rows) == recorded.usd


def test_the_table_fits_a_terminal_of_80_columns(recorded, offer_file):
    files = (str(recorded.record_file), "--prices", offer_file)
    result = run("reprice", *files, COLUMNS="80", FORCE_COLOR="1")

    assert result.exit_code == 0
    assert max(len(line) for line in Text.from_ansi(result.output).plain.splitlines()) <= 80
    assert "gpt-4.1-mini" in result.output
    assert "usage that had no price before" in result.output


def test_a_name_from_a_file_is_shown_as_it_is(recorded):
    text = recorded.record_file.read_text().replace('"ServiceName": "sonic-3"', '"ServiceName": "[red]\\u001bsonic"')
    recorded.record_file.write_text(text)

    assert "cartesia/[red]?sonic" in run("reprice", str(recorded.record_file)).stdout


def test_skipped_lines_are_named_and_the_rest_is_priced(recorded, offer_file):
    with recorded.record_file.open("a") as file:
        file.write("{\n" * 12)
    result = run("reprice", str(recorded.record_file), "--prices", offer_file, "--json")

    assert result.exit_code == 0
    assert f"{recorded.record_file}:4: got no complete JSON" in result.stderr
    assert "Skipped: 12." in result.stderr
    assert json.loads(result.stdout)["skipped"] == 12


def test_files_without_calls_exit_with_one(tmp_path):
    (tmp_path / "calls.jsonl").touch()
    result = run("reprice", str(tmp_path / "calls.jsonl"))

    assert result.exit_code == 2
    assert "No calls in these files." in result.stderr


def test_a_missing_file_and_a_bad_price_file_exit_with_one(recorded, tmp_path):
    assert run("reprice", str(tmp_path / "absent.jsonl")).exit_code == 2
    (tmp_path / "bad.toml").write_text("[[rate]]\nusd = 1\n")
    assert run("reprice", str(recorded.span_file), "--prices", str(tmp_path / "bad.toml")).exit_code == 2
