"""An invoice agrees with the calls that it is made of, and every planted difference is found, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pyarrow import parquet
from rich.text import Text

from otel_voice_cost import PriceCatalog
from otel_voice_cost.analysis.invoices import MappingFile, read_invoice, read_mapping_file
from otel_voice_cost.analysis.invoices.mapping import read_mapping
from otel_voice_cost.analysis.reading import ReadError, read_calls
from otel_voice_cost.analysis.reconcile import Finding, reconcile_calls
from otel_voice_cost.build import sources
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.prices.rates import Tier
from otel_voice_cost.testing import Answer
from otel_voice_cost.usage import Unit

from ..cli.test_commands import run
from ..conftest import PRICES
from ..pipeline.test_bill import Call
from ..sessions.harness import Pipeline
from ..sessions.test_unreported import LONG, interrupted_call, slow_speech
from . import billing
from .billing import DAYS, Bill, Stage, at, hold_days, with_more_prices, write_json
from .conftest import Recorded
from .databases import fill_duckdb

KINDS = ["record_file", "span_file"]
UTC = ZoneInfo("UTC")
NEW_YORK = ZoneInfo("America/New_York")


def held(folder, hold, catalog=None):
    """Hold calls through the processor and return their files."""
    exporter = InMemorySpanExporter()
    catalog = catalog or with_more_prices(PriceCatalog([parse_sheet(PRICES, "prices.toml").rates]))
    call = Call(exporter, catalog, session_rates=billing.TELEPHONY)
    hold(call)
    call.provider.shutdown()
    return Recorded(folder, call.records, exporter.get_finished_spans())


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Three calls a day on four days."""
    return held(tmp_path_factory.mktemp("calls"), hold_days)


# formats


def write_csv(bill, path):
    rows = [[f"{day:%m/%d/%Y}", model.title(), f"{n / 60:.9f}", f"${usd:,.12f}"] for day, model, _, n, usd in bill]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(
        [["Date", "Model", "Minutes", "Cost"], *rows, ["Total", "", "", "$1,234.00"]]
    )
    path.write_text(text.getvalue())
    return path


CSV_MAPPING = """
unit = "minutes"
day_format = "%m/%d/%Y"
delimiter = ";"

[columns]
day = "Date"
model = "Model"
quantity = "Minutes"
usd = "Cost"

[units.minutes]
unit = "audio_second"
factor = 60

[only]
Model = ["Universal-Streaming", "Universal-9"]
"""


def write_wide_csv(bill, path):
    lines = ["day,model,in,cached,out,usd"]
    for day, model, units in bill.by_model():
        if model == "gpt-realtime":
            continue
        cells = [str(units.get(unit, (0, 0))[0]) for unit in ("input_token", "cached_input_token", "output_token")]
        lines.append(",".join([f"{day}T00:00:00Z", model, *cells, f"{sum(usd for _, usd in units.values()):f}"]))
    path.write_text("\n".join(lines) + "\n")
    return path


WIDE_MAPPING = """
[columns]
day = "day"
model = "model"
usd = "usd"
quantities = { in = "input_token", cached = "cached_input_token", out = "output_token" }
"""

CREDITS = """
[units.credits]
unit = "character"

[models]
eleven_flash_v2_5 = { model = "eleven_flash_v2_5", factor = 2 }
"""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A vendor's format, and the model and unit on which differences are planted."""

    vendor: str
    documents: tuple = ()
    write: object = None
    mapping: str = ""
    model: str
    unit: str
    has_quantity: bool = True
    has_usd: bool = True
    unknown: str | None = None  # name under which an unknown model is found
    unknown_unit: str | None = None  # if not the same

    def invoice(self, bill, folder):
        if self.write is not None:
            path = self.write(bill, folder / "invoice.csv")
        else:
            path = write_json(folder / "invoice.json", *(document(bill) for document in self.documents))
        mapping = read_mapping(self.mapping, "mapping.toml")
        return read_invoice([path], self.vendor, mapping, UTC)


FORMATS = {
    "OpenAI usage": Format(
        vendor="openai", documents=(billing.openai_usage,), model="gpt-4.1-mini", unit="output_token",
        has_usd=False, unknown="gpt-9-2025-04-14", unknown_unit="output_text_token",
    ),
    "OpenAI costs": Format(
        vendor="openai", documents=(billing.openai_costs,), model="gpt-4.1-mini", unit="output_token",
        unknown="gpt-9-2025-04-14",
    ),
    "OpenAI usage and costs": Format(
        vendor="openai", documents=(billing.openai_usage, billing.openai_costs), model="gpt-realtime",
        unit="output_audio_token",
    ),
    "Deepgram usage": Format(
        vendor="deepgram", documents=(billing.deepgram_usage,), model="nova-3", unit="audio_second",
        has_usd=False, unknown="nova-9",
    ),
    "Deepgram billing": Format(
        vendor="deepgram", documents=(billing.deepgram_billing,), model="nova-3", unit="audio_second",
        has_quantity=False, unknown="nova-9",
    ),
    "Deepgram usage and billing": Format(
        vendor="deepgram", documents=(billing.deepgram_usage, billing.deepgram_billing), model="nova-3",
        unit="audio_second", unknown="nova-9",
    ),
    "ElevenLabs usage": Format(
        vendor="elevenlabs", documents=(billing.elevenlabs_usage,), mapping=CREDITS, model="eleven_flash_v2_5",
        unit="character", unknown="eleven_v9",
    ),
    "ElevenLabs usage without a mapping": Format(
        vendor="elevenlabs", documents=(billing.elevenlabs_usage,), model="eleven_flash_v2_5", unit="character",
        has_quantity=False, unknown="eleven_v9",
    ),
    "ElevenLabs character stats": Format(
        vendor="elevenlabs", documents=(billing.elevenlabs_stats,), mapping='unit = "character"',
        model="eleven_flash_v2_5", unit="character", has_usd=False, unknown="eleven_v9",
    ),
    "Twilio": Format(
        vendor="twilio", documents=(billing.twilio_records,), mapping='[models]\ntrunking-termination = "sip"',
        model="sip", unit="session_second",
    ),
    "CSV of AssemblyAI": Format(
        vendor="assemblyai", write=write_csv, mapping=CSV_MAPPING, model="universal-streaming", unit="audio_second",
        unknown="universal-9",
    ),
}  # fmt: skip
UNKNOWN = {"openai": "gpt-9", "deepgram": "nova-9", "elevenlabs": "eleven_v9", "assemblyai": "universal-9"}


@cache
def past_calls(path):
    return read_calls([path], sources())


def reconcile(path, invoice, vendor, **options):
    return reconcile_calls(past_calls(path), invoice, vendor, **options)


def found(made):
    return {(each.first, each.model, each.unit): each.finding for each in made.differences}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_an_invoice_for_the_calls_matches(calls, kind, name, tmp_path):
    kept = FORMATS[name]
    bill = Bill(calls.records, kept.vendor)
    made = reconcile(getattr(calls, kind), kept.invoice(bill, tmp_path), kept.vendor)

    assert found(made) == {}
    assert len(made.comparisons) == len(list(bill)) > 0
    if kept.has_usd:
        assert made.total("our_usd") == sum(usd for *_, usd in bill)
        assert abs(made.total("their_usd") - made.total("our_usd")) < Decimal("1e-10")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_each_planted_difference_is_found_and_nothing_else(calls, kind, name, tmp_path):
    kept = FORMATS[name]
    bill = Bill(calls.records, kept.vendor)
    more, dearer, gone, both = DAYS
    keys = {
        day: next(key for key in bill.lines if key[0] == day and key[1:] == (kept.model, kept.unit)) for day in DAYS
    }
    quantity, usd = bill.lines[keys[more]]
    bill.lines[keys[more]] = [quantity * 2, usd * 2]
    bill.lines[keys[dearer]][1] *= Decimal("1.25")
    del bill.lines[keys[gone]]
    quantity, usd = bill.lines[keys[both]]
    bill.lines[keys[both]] = [quantity * 3, usd * 2]
    if kept.unknown:
        bill.lines[dearer, UNKNOWN[kept.vendor], kept.unit] = [Decimal(100), Decimal("0.5")]

    made = reconcile(getattr(calls, kind), kept.invoice(bill, tmp_path), kept.vendor)

    unit = kept.unit
    expected = {
        (more, kept.model, unit): Finding.QUANTITY if kept.has_quantity else Finding.COST,
        (gone, kept.model, unit): Finding.MISSING_WITH_THEM,
    }
    if kept.has_quantity and kept.has_usd:
        expected[dearer, kept.model, unit] = Finding.PRICE
        expected[both, kept.model, unit] = Finding.QUANTITY_AND_PRICE
    elif kept.has_usd:
        expected[dearer, kept.model, unit] = expected[both, kept.model, unit] = Finding.COST
    else:
        expected[both, kept.model, unit] = Finding.QUANTITY
    if kept.unknown:
        expected[dearer, kept.unknown, (kept.unknown_unit or unit) if kept.has_quantity else None] = (
            Finding.MISSING_WITH_US
        )
    assert found(made) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_one_price_for_all_units_of_a_model_is_compared_as_such(calls, kind, tmp_path):
    path = write_wide_csv(Bill(calls.records, "openai"), tmp_path / "invoice.csv")
    text = path.read_text()
    mapping = read_mapping(WIDE_MAPPING, "mapping.toml")
    same = reconcile(getattr(calls, kind), read_invoice([path], "openai", mapping, UTC), "openai")
    first, *_ = re.findall(r"\d\.\d+$", text, re.MULTILINE)
    path.write_text(text.replace(first, "0.9", 1).replace(",384,", ",385,", 1))
    other = reconcile(getattr(calls, kind), read_invoice([path], "openai", mapping, UTC), "openai")

    not_listed = {each.model for each in same.differences}
    assert not_listed == {"gpt-realtime"}
    assert {key: finding for key, finding in found(other).items() if key[1] != "gpt-realtime"} == {
        (DAYS[0], "gpt-4.1-mini", None): Finding.COST,
        (DAYS[0], "gpt-4.1-mini", "cached_input_token"): Finding.QUANTITY,
    }


@pytest.mark.parametrize("with_costs", [False, True])
def test_tokens_without_modality_are_compared_with_the_sum_of_ours(calls, with_costs, tmp_path):
    """Older answers of the usage API have no tokens by modality; line items of costs do."""
    bill = Bill(calls.records, "openai")
    page = billing.openai_usage(bill)
    for bucket in page["data"]:
        for result in bucket["results"]:
            for name in [name for name in result if "text" in name or "audio" in name or "image" in name]:
                del result[name]
    path = write_json(tmp_path / "page.json", page, *([billing.openai_costs(bill)] if with_costs else []))

    made = reconcile(calls.span_file, read_invoice([path], "openai", MappingFile(), UTC), "openai")

    assert found(made) == {}
    assert {each.unit for each in made.comparisons if each.model == "gpt-realtime"} == {
        "input_token", "cached_input_token", "output_token",
    }  # fmt: skip


def test_a_price_difference_states_both_prices(calls, tmp_path):
    kept = FORMATS["Deepgram usage and billing"]
    bill = Bill(calls.records, "deepgram")
    key = next(key for key in bill.lines if key[1] == "nova-3")
    bill.lines[key][1] *= Decimal("1.25")

    (difference,) = reconcile(calls.span_file, kept.invoice(bill, tmp_path), "deepgram").differences

    assert difference.explanations == ("0.006 USD per 60 with them, 0.0048 with us",)
    assert difference.usd_difference == bill.lines[key][1] - difference.our_usd
    assert difference.places == (
        f"{tmp_path / 'invoice.json'}, document 1, results.1",
        f"{tmp_path / 'invoice.json'}, document 2, results.1",
    )


def test_a_price_that_is_an_estimate_is_said(calls, tmp_path):
    kept = FORMATS["Deepgram billing"]
    bill = Bill(calls.records, "deepgram")
    bill.lines[DAYS[0], "aura-2-thalia-en", "character"][1] *= 2

    for kind in KINDS:
        (difference,) = reconcile(getattr(calls, kind), kept.invoice(bill, tmp_path), "deepgram").differences

        assert (difference.finding, difference.explanations) == (Finding.COST, ("our price is an estimate",))


def test_a_cost_without_its_quantity_and_a_quantity_without_its_cost_are_found(calls, tmp_path):
    """Usage and billing are two exports, and a line may be missing from one of them."""
    bill = Bill(calls.records, "deepgram")
    usage_of, billing_of = billing.deepgram_usage(bill), billing.deepgram_billing(bill)
    usage_of["results"] = [r for r in usage_of["results"] if r["grouping"] != {**r["grouping"], "start": str(DAYS[0])}]
    billing_of["results"] = [r for r in billing_of["results"] if r["grouping"]["start"] != str(DAYS[1])]
    path = write_json(tmp_path / "invoice.json", usage_of, billing_of)

    made = reconcile(calls.span_file, read_invoice([path], "deepgram", MappingFile(), UTC), "deepgram")

    assert {(each.first, each.finding, each.explanations[-1]) for each in made.differences} == {
        (DAYS[0], Finding.QUANTITY, "the invoice has the cost and no quantity"),
        (DAYS[1], Finding.COST, "the invoice has the quantity and no cost"),
    }
    assert len(made.differences) == 4


def test_costs_that_the_price_does_not_tell_apart_are_compared_for_all_units(tmp_path):
    """A large request has another price than the one on its span."""
    sheet = parse_sheet(PRICES, "prices.toml")
    tiers = (Tier(800, Decimal("0.70")),)
    rates = [replace(rate, tiers=tiers) if rate.unit is Unit.INPUT_TOKEN else rate for rate in sheet.rates]

    def hold(call):
        with Stage(call, at(DAYS[0]), 60, 1) as stage:
            stage.thinks(at(DAYS[0], 12, 0, 30), prompt_tokens=900, prompt_cached_tokens=128)

    files = held(tmp_path, hold, PriceCatalog([rates]))
    bill = Bill(files.records, "openai")
    path = write_json(tmp_path / "costs.json", billing.openai_costs(bill, DAYS[:1]))
    invoice = read_invoice([path], "openai", MappingFile(), UTC)

    by_kind = {kind: reconcile(getattr(files, kind), invoice, "openai") for kind in KINDS}

    assert [found(made) for made in by_kind.values()] == [{}, {}]
    assert {kind: {each.unit for each in made.comparisons if each.their_usd} for kind, made in by_kind.items()} == {
        "record_file": {"input_token", "cached_input_token", "output_token"},
        "span_file": {None},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_cost_that_a_gateway_stated_is_part_of_the_models_money(recorded, kind, tmp_path):
    costs = Counter()
    for record in recorded.records:
        costs.update({part.model: part.usd for part in record.parts if part.provider == "openai"})
    day = recorded.records[0].started_at.date()
    path = tmp_path / "invoice.csv"
    path.write_text("day,model,usd\n" + "".join(f"{day},{model},{usd:f}\n" for model, usd in costs.items()))
    mapping = read_mapping('[columns]\nday = "day"\nmodel = "model"\nusd = "usd"', "m.toml")

    made = reconcile(getattr(recorded, kind), read_invoice([path], "openai", mapping, UTC), "openai")

    assert found(made) == {}
    assert {each.model: each.our_usd for each in made.comparisons} == costs
    assert len(costs) == 2


def test_an_invoice_without_lines_or_days_is_refused(calls, tmp_path):
    path = write_json(tmp_path / "table.json", cells(rows=[]))
    invoice = read_invoice([path], "elevenlabs", MappingFile(), UTC)

    with pytest.raises(ReadError, match="invoice: got no lines, expected lines in the days to compare"):
        reconcile(calls.record_file, invoice, "elevenlabs")
    with pytest.raises(ReadError, match="invoice: got no lines from 2026-11-23 to 2026-11-20"):
        reconcile(calls.record_file, invoice, "elevenlabs", first=DAYS[3], last=DAYS[0])


def test_a_vendor_may_bill_what_was_used_or_what_it_rounds_up_to(calls, tmp_path):
    """Three calls of about 100 seconds are 6 minutes at a vendor that rounds each up."""
    kept = FORMATS["Twilio"]
    made = reconcile(calls.record_file, kept.invoice(Bill(calls.records, "twilio"), tmp_path), "twilio")
    rounded = {each.our_quantity for each in made.comparisons}
    bill = Bill(calls.records, "twilio")
    for day in DAYS[1:3]:
        del bill.lines[day, "sip", "session_second"]
    days_missing = reconcile(calls.record_file, kept.invoice(bill, tmp_path), "twilio", first=DAYS[0], last=DAYS[3])
    bill = Bill(calls.records, "twilio")
    for cell in bill.lines.values():
        cell[0] -= 90
    less = reconcile(calls.record_file, kept.invoice(bill, tmp_path), "twilio")

    assert rounded == {Decimal(360)}
    assert {each.first for each in days_missing.differences} == set(DAYS[1:3])
    assert {each.finding for each in less.differences} == {Finding.QUANTITY_AND_PRICE}
    assert len(less.differences) == 4


def test_rounding_of_the_file_is_no_difference_and_one_digit_more_is(calls, tmp_path):
    bill = Bill(calls.records, "assemblyai")
    rounded = [(day, model, round(n / 60, 2), round(usd, 4)) for day, model, _, n, usd in bill]

    def compare(rows):
        text = "Date;Model;Minutes;Cost\n" + "".join(f"{d:%m/%d/%Y};{m};{n};{usd}\n" for d, m, n, usd in rows)
        (tmp_path / "invoice.csv").write_text(text)
        mapping = read_mapping(CSV_MAPPING.split("[only]")[0], "mapping.toml")
        return reconcile(
            calls.span_file, read_invoice([tmp_path / "invoice.csv"], "assemblyai", mapping, UTC), "assemblyai"
        )

    assert found(compare(rounded)) == {}
    day, model, minutes, usd = rounded[0]
    wrong = compare([(day, model, minutes + Decimal("0.02"), usd), *rounded[1:]])
    assert found(wrong) == {(DAYS[0], model, "audio_second"): Finding.QUANTITY}


@pytest.mark.parametrize(
    ("name", "quantity", "usd"),
    [
        ("OpenAI usage", Decimal(1), 0),
        ("OpenAI costs", 0, Decimal("0.000001")),
        ("Deepgram usage", Decimal("0.000001"), 0),
        ("Deepgram billing", 0, Decimal("0.00002")),
        ("ElevenLabs usage", Decimal(2), 0),
        ("ElevenLabs character stats", Decimal(1), 0),
        ("Twilio", 0, Decimal("0.001")),
        ("CSV of AssemblyAI", Decimal("0.00001"), 0),
    ],
)
def test_a_difference_above_the_rounding_is_found_however_small(calls, name, quantity, usd, tmp_path):
    kept = FORMATS[name]
    bill = Bill(calls.records, kept.vendor)
    key = next(key for key in bill.lines if key[1:] == (kept.model, kept.unit))
    bill.lines[key][0] += quantity
    bill.lines[key][1] += usd

    made = reconcile(calls.record_file, kept.invoice(bill, tmp_path), kept.vendor)

    assert list(found(made)) == [key]


def test_a_file_that_is_given_twice_counts_once(calls, tmp_path):
    path = write_json(tmp_path / "usage.json", billing.deepgram_usage(Bill(calls.records, "deepgram")))
    invoice = read_invoice([path, tmp_path / "." / "usage.json"], "deepgram", MappingFile(), UTC)

    assert found(reconcile(calls.span_file, invoice, "deepgram")) == {}


def test_a_tolerance_is_a_share_of_the_amount(calls, tmp_path):
    kept = FORMATS["Deepgram usage"]
    bill = Bill(calls.records, "deepgram")
    key = next(key for key in bill.lines if key[1] == "nova-3")
    bill.lines[key][0] *= Decimal("1.01")
    invoice = kept.invoice(bill, tmp_path)

    assert len(reconcile(calls.span_file, invoice, "deepgram").differences) == 1
    assert found(reconcile(calls.span_file, invoice, "deepgram", tolerance_percent=Decimal(1))) == {}


def test_usage_without_a_price_is_no_price_of_zero(recorded, tmp_path):
    day = recorded.records[0].started_at.date()
    path = tmp_path / "invoice.csv"
    path.write_text(f"day,model,characters,usd\n{day},new,540,1.50\n")
    mapping = read_mapping(
        'unit = "character"\n[columns]\nday = "day"\nmodel = "model"\nquantity = "characters"\nusd = "usd"', "m.toml"
    )
    for kind in KINDS:
        made = reconcile(getattr(recorded, kind), read_invoice([path], "nobody", mapping, UTC), "nobody")

        (difference,) = made.differences
        assert (difference.finding, difference.our_usd) == (Finding.UNPRICED, None)
        assert difference.explanations == ("no tts rate for nobody/new",)
        assert made.total("our_usd") is None


async def test_unreported_work_is_offered_as_the_explanation(price_catalog, monkeypatch, tmp_path):
    monkeypatch.setenv("VOICE_COST_UNREPORTED", "estimate")
    pipeline = Pipeline(price_catalog)
    await interrupted_call(pipeline, slow_speech(), [Answer(text=LONG, chunk_seconds=0.001), Answer(text="Of course.")])
    record = pipeline.record
    pipeline.provider.shutdown()
    files = Recorded(tmp_path, [record], pipeline.spans)
    (part,) = [part for part in record.unreported if part.component.value == "tts"]
    (spoken,) = [each for each in record.parts if each.component.value == "tts"]
    characters = spoken.quantities["character"] + part.quantities["character"]
    path = tmp_path / "invoice.csv"
    path.write_text(f"day,model,n,usd\n{record.started_at.date()},{part.model},{characters},{spoken.usd + part.usd}\n")
    mapping = read_mapping(
        'unit = "character"\n[columns]\nday = "day"\nmodel = "model"\nquantity = "n"\nusd = "usd"', "m.toml"
    )

    for kind in KINDS:
        invoice = read_invoice([path], part.provider, mapping, UTC)
        made = reconcile(getattr(files, kind), invoice, part.provider)

        (difference,) = made.differences
        assert (difference.finding, difference.unreported_usd) == (Finding.QUANTITY, part.usd)
        assert difference.usd_difference == part.usd
        assert re.fullmatch(r"likely [\d.]+ USD of unreported work \(cut off\)", difference.explanations[0])


# days


def at_midnight(call):
    """A call of five minutes over midnight between the second and the third day, and one at noon of each day."""
    for number, day in enumerate(DAYS):
        with Stage(call, at(day), 60, number) as stage:
            stage.hears(at(day, 12, 0, 30), 10.0)
    with Stage(call, at(DAYS[1], 23, 57), 300, 9) as stage:
        stage.hears(at(DAYS[1], 23, 58), 20.0)
        stage.hears(at(DAYS[2], 0, 1), 7.0)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return held(tmp_path_factory.mktemp("night"), at_midnight)


def seconds_invoice(seconds_of, folder, price=Decimal("0.00008")):
    bill = Bill([], "deepgram")
    for day, seconds in seconds_of.items():
        bill.lines[day, "nova-3", "audio_second"] = [Decimal(seconds), Decimal(seconds) * price]
    return FORMATS["Deepgram usage and billing"].invoice(bill, folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [(30, 17), (37, 10), (10, 37)])
def test_a_call_at_midnight_may_be_billed_on_either_day(night, kind, parts, tmp_path):
    billed = dict(zip(DAYS, (10, *parts, 10), strict=True))
    made = reconcile(getattr(night, kind), seconds_invoice(billed, tmp_path), "deepgram")

    moved = {each.first: round(each.moved_quantity, 9) for each in made.comparisons if each.moved_quantity}
    assert found(made) == {}
    booked = 30 if kind == "span_file" else 37  # a record has the day on which its call started
    assert moved == ({} if parts[0] == booked else {DAYS[1]: parts[0] - booked, DAYS[2]: booked - parts[0]})
    assert all("calls in progress at midnight" in e.explanations for e in made.comparisons if e.moved_quantity)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_moves_over_midnight_than_calls_in_progress_used(night, kind, tmp_path):
    made = reconcile(
        getattr(night, kind), seconds_invoice(dict(zip(DAYS, (10, 5, 42, 10), strict=True)), tmp_path), "deepgram"
    )
    on_other_nights = reconcile(
        getattr(night, kind), seconds_invoice(dict(zip(DAYS, (5, 35, 17, 10), strict=True)), tmp_path), "deepgram"
    )

    assert set(found(made)) == {(day, "nova-3", "audio_second") for day in DAYS[1:3]}
    assert set(found(on_other_nights)) >= {(DAYS[0], "nova-3", "audio_second")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", [DAYS[:2], DAYS[2:]])
def test_an_invoice_may_begin_and_end_with_a_call_in_progress(night, kind, days, tmp_path):
    """The rest of the call is on the invoice before, or the one that follows."""
    billed = dict(zip(DAYS, (10, 30, 17, 10), strict=True))
    invoice = seconds_invoice({day: billed[day] for day in days}, tmp_path)
    made = reconcile(getattr(night, kind), invoice, "deepgram", first=days[0], last=days[-1])

    assert found(made) == {}
    assert any(note.startswith("Usage of the calls outside of these days") for note in made.notes)


def evening(call):
    """Calls at 1:30 UTC, which is the evening before in New York, on the day on which clocks change there."""
    for number, day in enumerate([*DAYS, DAYS[0].replace(day=2), DAYS[0].replace(day=1)]):
        with Stage(call, at(day, 4, 30), 60, number) as stage:
            stage.hears(at(day, 4, 30, 30), 10.0 + number)


def test_days_are_those_of_the_vendors_time_zone(tmp_path):
    files = held(tmp_path, evening)
    bill = Bill(files.records, "deepgram", lambda record: record.started_at.astimezone(NEW_YORK).date())
    days = sorted({day for day, *_ in bill})
    path = write_json(tmp_path / "usage.json", billing.deepgram_usage(bill, days))

    for kind in KINDS:
        local, utc = (
            reconcile(
                getattr(files, kind),
                read_invoice([path], "deepgram", MappingFile(), zone),
                "deepgram",
                time_zone=zone,
            )
            for zone in (NEW_YORK, UTC)
        )

        assert days[0] == DAYS[0].replace(day=1)  # 0:30, in summer time; the next day, 4:30 UTC is 23:30
        assert found(local) == {}
        assert len(local.comparisons) == len(days)
        assert found(utc) != {}


def test_lines_may_span_several_days(calls, tmp_path):
    """A monthly invoice has one line for each model."""
    bill = Bill(calls.records, "assemblyai")
    minutes = sum(n for _, _, _, n, _ in bill) / 60
    usd = sum(usd for *_, usd in bill)
    path = tmp_path / "invoice.csv"
    path.write_text(f"from,to,minutes,usd\n2026-11-01,2026-11-30,{minutes:f},{usd:f}\n")
    mapping = read_mapping(
        'model = "universal-streaming"\nunit = "min"\n[columns]\nday = "from"\nlast_day = "to"\n'
        'quantity = "minutes"\nusd = "usd"\n[units]\nmin = { unit = "audio_second", factor = 60 }',
        "m.toml",
    )
    invoice = read_invoice([path], "assemblyai", mapping, UTC)

    (same,) = reconcile(calls.span_file, invoice, "assemblyai").comparisons
    assert (same.finding, same.first.day, same.last.day) == (Finding.MATCHED, 1, 30)
    with pytest.raises(ReadError, match="got 2026-11-01 to 2026-11-30 and 2026-11-20 to 2026-11-20, expected periods"):
        reconcile(
            calls.span_file,
            invoice.plus(replace(invoice, lines=(replace(invoice.lines[0], first=DAYS[0], last=DAYS[0]),))),
            "assemblyai",
        )


def test_days_can_be_chosen_and_what_is_left_out_is_said(calls, tmp_path):
    kept = FORMATS["Deepgram usage"]
    invoice = kept.invoice(Bill(calls.records, "deepgram"), tmp_path)
    made = reconcile(calls.span_file, invoice, "deepgram", first=DAYS[1], last=DAYS[2])

    assert {each.first for each in made.comparisons} == set(DAYS[1:3])
    assert found(made) == {}
    assert made.notes[0] == "Lines outside of these days: 4."
    assert f"{DAYS[0]} to {DAYS[3]}" in made.notes[1]


def test_calls_of_fewer_days_than_the_invoice_are_said(night, tmp_path):
    billed = {DAYS[0].replace(day=10): 99, **dict(zip(DAYS, (10, 30, 17, 10), strict=True))}
    made = reconcile(night.span_file, seconds_invoice(billed, tmp_path), "deepgram")

    assert list(found(made).values()) == [Finding.MISSING_WITH_US]
    assert made.notes[-1].startswith("The calls have usage of deepgram from 2026-11-20 to 2026-11-23 only")


@pytest.mark.parametrize("moment", [int(at(DAYS[0], 0).timestamp() * 1_000), f"{DAYS[0]}T00:00:00+00:00", str(DAYS[0])])
def test_a_time_of_elevenlabs_is_text_or_milliseconds(moment, tmp_path):
    path = write_json(tmp_path / "table.json", cells(rows=[[moment, "m", Decimal("0.25")]]))

    (line,) = read_invoice([path], "elevenlabs", MappingFile(), UTC).lines

    assert (line.first, line.usd) == (DAYS[0], Decimal("0.25"))


def test_a_day_without_any_line_is_compared_too(calls, tmp_path):
    """OpenAI states an empty bucket for it; a CSV is compared up to its last line, or to the day that is given."""
    bill = Bill(calls.records, "openai")
    for key in [key for key in bill.lines if key[0] == DAYS[3]]:
        del bill.lines[key]
    made = reconcile(calls.span_file, FORMATS["OpenAI costs"].invoice(bill, tmp_path), "openai")
    assert Counter(made.differences[n].finding for n in range(9)) == {Finding.MISSING_WITH_THEM: 9}

    bill = Bill(calls.records, "assemblyai")
    del bill.lines[max(bill.lines)]
    invoice = FORMATS["CSV of AssemblyAI"].invoice(bill, tmp_path)
    assert found(reconcile(calls.span_file, invoice, "assemblyai")) == {}
    assert set(found(reconcile(calls.span_file, invoice, "assemblyai", last=DAYS[3]))) == {
        (DAYS[3], "universal-streaming", "audio_second")
    }


# bad input

PAGE = {"object": "page", "has_more": False, "data": [{"start_time": 1763596800, "end_time": 1763683200}]}


def page(**result):
    bucket = {**PAGE["data"][0], "results": [{"object": "organization.costs.result", **result}]}
    return {**PAGE, "data": [bucket]}


def usage(**result):
    grouping = {"start": "2026-11-20", "end": "2026-11-20", **result.pop("grouping", {})}
    return {"start": "2026-11-20", "end": "2026-11-20", "results": [{**result, "grouping": grouping}]}


def cells(**fields):
    return {
        "columns": ["t", "model", "c"], "column_types": ["DateTime", "String", "Float"],
        "column_units": [None, None, "usd"], "rows": [["2026-11-20T00:00:00Z", "m", 1]], **fields,
    }  # fmt: skip


BAD = [
    ("openai", "", ": got an empty file, expected JSON as the vendor's API returns it"),
    ("openai", '{\n"data": [', ":1: got no complete JSON, expected JSON as the vendor's API returns it"),
    ("openai", "7", ": got 7, expected an object, as the vendor's API returns it"),
    ("openai", {"start": "2026-11-20"}, ", data: got nothing, expected a value"),
    ("openai", page(amount={"value": 1, "currency": "usd"}), "line_item: got nothing, expected costs that are"),
    ("openai", page(amount={"value": 1, "currency": "eur"}, line_item="a, input"), "currency: got eur, expected usd"),
    ("openai", page(amount={"value": "a lot", "currency": "usd"}, line_item="a"), "amount.value: got 'a lot'"),
    ("openai", page(amount={"value": 1e15, "currency": "usd"}, line_item="a"), "expected less than or equal to 1000"),
    (
        "openai",
        page(object="organization.usage.completions.result", input_tokens=1, output_tokens=1),
        "results.0.model: got nothing, expected usage that is grouped by model (group_by=model)",
    ),
    ("deepgram", usage(hours=1), "results.0.grouping.models: got [], expected one model: usage that is grouped"),
    ("deepgram", usage(hours=1, grouping={"models": ["a", "b"]}), "grouping.models: got ['a', 'b'], expected one"),
    ("deepgram", usage(dollars=1), "results.0.grouping.line_item: got nothing, expected billing that is grouped by"),
    ("deepgram", usage(hours="x", grouping={"models": ["a"]}), "results.0.hours: got 'x'"),
    ("deepgram", usage(hours=1, grouping={"start": "soon"}), "results.0.grouping.start: got 'soon'"),
    ("elevenlabs", cells(columns=["t", "voice", "c"]), "columns: got ['t', 'voice', 'c'], expected a column model"),
    ("elevenlabs", cells(column_units=[None, None, "eur"]), "column_units: got eur, expected usd"),
    ("elevenlabs", cells(column_units=[None, None, None]), "expected one of usd, credits, min, s, ms"),
    ("elevenlabs", cells(column_units=[None]), "column_units of another length, expected 3 of each"),
    ("elevenlabs", cells(column_types=["String"] * 3), "expected a column of type DateTime"),
    ("elevenlabs", cells(rows=[["noon", "m", 1]]), "rows.0.0: got noon, expected a time such as"),
    ("elevenlabs", cells(rows=[["2026-11-20", "m", "x"]]), "rows.0.2: got x, expected a number"),
    ("elevenlabs", cells(rows=[["2026-11-20", "m"]]), "rows.0: got 2 cells, expected 3"),
    ("elevenlabs", {"time": [1], "usage": {"m": [1, 2]}}, "usage.m: got 2 numbers, expected 1, as in time"),
    ("elevenlabs", {"time": [1], "usage": {"m": [1]}}, "got a quantity, expected a mapping file with its unit"),
    (
        "twilio",
        {
            "usage_records": [
                {"category": "sip", "start_date": "2026-11-20", "end_date": "2026-11-20", "usage": "1", "price": "1",
                 "price_unit": "eur"}
            ]
        },
        "usage_records.0.price_unit: got eur, expected usd",
    ),
    ("openai", page(amount={"value": 1, "currency": "sk-live-0123456789"}, line_item="a"), "got ***, expected"),
    ("nobody", {}, "vendor: got nobody, expected one of deepgram, elevenlabs, openai, twilio, or a mapping file"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "content", "message"), BAD)
def test_a_bad_invoice_is_refused_with_place_value_and_what_was_expected(vendor, content, message, tmp_path):
    path = tmp_path / "invoice.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(ReadError) as caught:
        read_invoice([path], vendor, MappingFile(), UTC)

    assert message in str(caught.value)


BAD_ROWS = [
    ("day,model,n\nsoon,a,1\n", "row 2, day: got soon, expected a day such as 2026-11-24"),
    ("day,model,n\n2026-11-20,,1\n", "row 2, model: got nothing, expected the name of a model"),
    ("day,model,n\n2026-11-20,a,many\n", "row 2, n: got many, expected a number up to 1,000,000,000,000"),
    ("day,model,n\n2026-11-20,a,NaN\n", "row 2, n: got NaN, expected a number"),
    ("day,name,n\n2026-11-20,a,1\n", "got no column 'model', expected columns of the mapping file"),
    ("", "expected columns of the mapping file: a first row with the names"),
    (
        "day,model,n\n2026-11-20,a,1," + "x" * 200_000 + "\n",
        ":1: got field larger than field limit (131072), expected CSV",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_ROWS)
def test_a_bad_row_of_a_csv_is_named(text, message, tmp_path):
    (tmp_path / "invoice.csv").write_text(text)
    mapping = read_mapping('unit = "character"\n[columns]\nday = "day"\nmodel = "model"\nquantity = "n"', "m.toml")

    with pytest.raises(ReadError) as caught:
        read_invoice([tmp_path / "invoice.csv"], "a", mapping, UTC)

    assert message in str(caught.value)


def test_all_bad_rows_are_listed(tmp_path):
    (tmp_path / "invoice.csv").write_text("day,unit,n\nsoon,pages,1\n2026-11-20,pages,1\n")
    mapping = read_mapping('model = "a"\n[columns]\nday = "day"\nunit = "unit"\nquantity = "n"', "m.toml")

    with pytest.raises(ReadError) as caught:
        read_invoice([tmp_path / "invoice.csv"], "a", mapping, UTC)

    assert [problem.value for problem in caught.value.problems] == ["soon", "pages"]
    assert "a key of units in the mapping file, or " in caught.value.problems[1].expected


BAD_MAPPINGS = [
    ("[columns", "m.toml: got no TOML"),
    ('[columns]\nmodel = "m"', "m.toml, columns.day: got nothing, expected a value"),
    ('time_zome = "UTC"', "m.toml, time_zome: got an unknown key, expected time_zone"),
    ('[units]\nmin = { unit = "minutes" }', "m.toml, units.min.unit: got 'minutes'"),
    ('[units]\nmin = { unit = "audio_second", factor = 0 }', "m.toml, units.min.factor: got 0"),
    ('decimal = ";"', "m.toml, decimal: got ';'"),
]


@pytest.mark.parametrize(("text", "message"), BAD_MAPPINGS)
def test_a_bad_mapping_file_is_refused(text, message):
    with pytest.raises(ReadError) as caught:
        read_mapping(text, "m.toml")

    assert message in str(caught.value)


def test_numbers_of_other_countries_and_rows_that_are_left_out(tmp_path):
    (tmp_path / "invoice.csv").write_text(
        "Tag;Dienst;Menge;Preis\n20.11.2026;STT;1.234,5;0,25\n;;;\n20.11.2026;TTS;9;9\n"
    )
    mapping = read_mapping(
        'model = "nova-3"\nunit = "audio_second"\ndelimiter = ";"\ndecimal = ","\nday_format = "%d.%m.%Y"\n'
        '[columns]\nday = "Tag"\nquantity = "Menge"\nusd = "Preis"\n[only]\nDienst = "STT"',
        "m.toml",
    )

    (line,) = read_invoice([tmp_path / "invoice.csv"], "deepgram", mapping, UTC).lines

    assert (line.first, line.quantity, line.usd) == (DAYS[0], Decimal("1234.5"), Decimal("0.25"))
    assert (line.quantity_step, line.usd_step) == (Decimal("0.01"), Decimal("0.01"))  # a tenth is coarser than allowed


@pytest.mark.parametrize(
    ("line_item", "model", "unit"),
    [
        ("gpt-6-astra, input_tokens", "gpt-6-astra", "input_token"),
        ("gpt-4.1-2025-04-14, cached input", "gpt-4.1-2025-04-14", "cached_input_token"),
        ("priority | gpt-5.6-sol, output, long context", "gpt-5.6-sol", "output_token"),
        ("gpt-audio-mini-2025-12-15 audio, input", "gpt-audio-mini-2025-12-15", "input_audio_token"),
        ("gpt-image-2.5-sunburst text, cached input", "gpt-image-2.5-sunburst", "cached_input_text_token"),
        ("whisper-1, audio", "whisper-1", "audio_second"),
        ("web search tool calls", "web search tool calls", None),
    ],
)
def test_a_line_item_of_openai_is_a_model_and_a_unit(line_item, model, unit, tmp_path):
    measure = {"quantity": 2, "quantity_unit": "duration_minutes"} if "whisper" in line_item else {}
    content = page(amount={"value": 0.06, "currency": "usd"}, line_item=line_item, **measure)
    path = write_json(tmp_path / "costs.json", content)

    (line,) = read_invoice([path], "openai", MappingFile(), UTC).lines

    assert (line.model, line.unit, line.usd) == (model, unit, Decimal("0.06"))
    assert line.quantity == (120 if measure else None)


def test_speech_is_characters_and_transcriptions_are_seconds_at_openai(tmp_path):
    speech = page(object="organization.usage.audio_speeches.result", model="tts-1", characters=45)
    heard = page(object="organization.usage.audio_transcriptions.result", model="whisper-1", seconds=20)
    path = write_json(tmp_path / "pages.json", [speech, heard])

    spoken, transcribed = read_invoice([path], "openai", MappingFile(), UTC).lines

    assert (spoken.model, spoken.unit, spoken.quantity, spoken.quantity_step) == ("tts-1", "character", 45, 0)
    assert (transcribed.model, transcribed.unit, transcribed.quantity_step) == ("whisper-1", "audio_second", 1)


def test_minutes_of_elevenlabs_are_seconds_of_audio(tmp_path):
    table = cells(column_units=[None, None, "min"], rows=[["2026-11-20", "scribe_v2", Decimal("1.25")]])

    (line,) = read_invoice([write_json(tmp_path / "t.json", table)], "elevenlabs", MappingFile(), UTC).lines

    assert (line.unit, line.quantity, line.quantity_step) == ("audio_second", 75, Decimal("0.6"))


def test_pages_that_are_missing_and_other_results_are_said(tmp_path):
    content = page(object="organization.usage.images.result")
    path = write_json(tmp_path / "page.json", {**content, "has_more": True})

    notes = read_invoice([path], "openai", MappingFile(), UTC).notes

    assert notes == (
        "Results of another kind are not compared: organization.usage.images.result.",
        "A page has has_more = true: give the pages that follow too, or their lines are missing.",
    )


# the command


@pytest.fixture
def planted(calls, tmp_path):
    """An invoice of Deepgram with one price that differs."""
    bill = Bill(calls.records, "deepgram")
    bill.lines[DAYS[1], "nova-3", "audio_second"][1] *= 2
    usage_file = write_json(tmp_path / "usage.json", billing.deepgram_usage(bill))
    billing_file = write_json(tmp_path / "billing.json", billing.deepgram_billing(bill))
    files = ["--vendor", "Deepgram", "--invoice", str(usage_file), "--invoice", str(billing_file)]
    return ["reconcile", str(calls.span_file), *files]


def test_the_exit_status_tells_differences_from_bad_input(calls, planted, tmp_path):
    bill = Bill(calls.records, "deepgram")
    same = write_json(tmp_path / "same.json", billing.deepgram_usage(bill))
    arguments = ["reconcile", str(calls.span_file), "--vendor", "deepgram", "--invoice"]
    missing = run(*arguments, str(tmp_path / "none.json"))

    assert run(*planted).exit_code == 1
    assert run(*arguments, str(same)).exit_code == 0
    assert missing.exit_code == 2
    assert "none.json: got FileNotFoundError, expected a readable file in UTF-8" in missing.stderr
    assert run(*arguments, str(same), "--time-zone", "Mars").exit_code == 2
    assert run(*planted, "--tolerance", "lots").exit_code == 2


@pytest.mark.parametrize("days", [[], ["--since", str(DAYS[1]), "--until", str(DAYS[2])]])
def test_calls_may_be_in_a_database(calls, days, tmp_path):
    with duckdb.connect(tmp_path / "traces.duckdb") as database:
        fill_duckdb(database, calls.spans)
    path = write_json(tmp_path / "usage.json", billing.deepgram_usage(Bill(calls.records, "deepgram")))
    arguments = ["reconcile", "--connect", f"duckdb://{tmp_path / 'traces.duckdb'}", "--vendor", "deepgram"]

    made = json.loads(run(*arguments, "--invoice", str(path), "--json", *days).output)

    assert made["findings"] == {"matched": 4 if days else 8}


def test_json_csv_and_parquet_have_every_digit(planted, tmp_path):
    path = tmp_path / "made.parquet"
    made = json.loads(run(*planted, "--json", "--parquet", str(path)).output)
    rows = list(csv.DictReader(io.StringIO(run(*planted, "--csv").output)))
    stored = parquet.read_table(path).to_pylist()

    assert made["findings"] == {"matched": 7, "price differs": 1}
    assert len(rows) == len(stored) == len(made["comparisons"]) == 8
    (row,) = [row for row in rows if row["finding"] == "price differs"]
    (line,) = [each for each in made["comparisons"] if each["finding"] == "price differs"]
    assert (row["first"], row["model"], row["unit"]) == (str(DAYS[1]), "nova-3", "audio_second")
    assert Decimal(row["usd_difference"]) == Decimal(row["our_usd"]) == Decimal(line["usd_difference"])
    assert sum(row["our_usd"] for row in stored) == Decimal(made["our_usd"])
    assert line["explanations"] == ["0.0096 USD per 60 with them, 0.0048 with us"]


def test_the_table_has_the_differences_and_fits_80_columns(planted):
    shown = Text.from_ansi(run(*planted, COLUMNS="80", FORCE_COLOR="1").output).plain
    everything = run(*planted, "--all").output

    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "7 matched, 1 price differs" in shown
    assert shown.count("nova-3") == 1
    assert everything.count("nova-3") == 4


def test_a_mapping_file_applies_to_a_known_format(calls, tmp_path):
    invoice = write_json(tmp_path / "records.json", billing.twilio_records(Bill(calls.records, "twilio")))
    mapping = tmp_path / "twilio.toml"
    mapping.write_text('[models]\ntrunking-termination = "sip"\n')
    arguments = ["reconcile", str(calls.record_file), "--vendor", "twilio", "--invoice", str(invoice)]

    without, with_mapping = run(*arguments), run(*arguments, "--mapping", str(mapping))

    assert (without.exit_code, with_mapping.exit_code) == (1, 0)
    assert "The invoice has no line of sip: a mapping file can state the vendor's names." in without.stdout
    assert "not compared (3): calls, sms, totalprice." in with_mapping.stdout


def test_the_mapping_files_of_the_documentation_can_be_read(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "invoices.md").read_text()
    blocks = re.findall(r'```toml title="[\w-]+\.toml"\n(.*?)```', text, re.DOTALL)

    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.toml").write_text(block)
        assert read_mapping_file(tmp_path / f"{number}.toml") != MappingFile()


def test_a_vendor_that_the_calls_do_not_use_is_said(calls, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(WIDE_MAPPING)
    (tmp_path / "wide.csv").write_text(f"day,model,in,cached,out,usd\n{DAYS[0]},a,1,1,1,0.2\n")
    files = ["--invoice", str(tmp_path / "wide.csv"), "--mapping", str(mapping)]

    result = run("reconcile", str(calls.record_file), "--vendor", "deepgrm", *files)

    assert result.exit_code == 1
    assert (
        "The calls have no usage of deepgrm; their providers: assemblyai, deepgram, elevenlabs, openai, twilio."
        in result.stdout
    )


def test_names_of_a_call_and_of_an_invoice_are_shown_as_they_are(calls, tmp_path):
    bill = Bill(calls.records, "deepgram")
    bill.lines[DAYS[0], "[red]\x1bnova", "audio_second"] = [Decimal(1), Decimal(1)]
    path = write_json(tmp_path / "billing.json", billing.deepgram_billing(bill))

    result = run("reconcile", str(calls.span_file), "--vendor", "deepgram", "--invoice", str(path))

    assert "[red]?nova" in result.stdout


def test_an_invoice_of_many_years_is_compared(night, tmp_path):
    """Deepgram answers with all days since a start that is given, and the engine finds the calls at each midnight."""
    billed = dict(zip(DAYS, (10, 37, 10, 10), strict=True))
    first = DAYS[0].replace(year=2016)

    made = reconcile(night.span_file, seconds_invoice(billed, tmp_path), "deepgram", first=first)

    assert found(made) == {}
    assert made.first == first
    assert [each.first for each in made.comparisons if each.moved_quantity] == DAYS[1:3]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMATS)
def test_any_mixture_of_differences_is_found(calls, name, seed, tmp_path):
    kept, chance = FORMATS[name], random.Random(seed)
    bill = Bill(calls.records, kept.vendor)
    expected = {}
    for key in chance.sample(list(bill.lines), len(bill.lines) // 2):
        (day, model, unit), (quantity, usd) = key, bill.lines[key]
        finding = chance.choice([Finding.MISSING_WITH_THEM, Finding.QUANTITY, Finding.PRICE])
        if finding is Finding.MISSING_WITH_THEM:
            del bill.lines[key]
        elif finding is Finding.QUANTITY:
            bill.lines[key] = [quantity * 2, usd * 2]
            finding = finding if kept.has_quantity else Finding.COST
        else:
            bill.lines[key][1] = usd * Decimal("1.1")
            finding = finding if kept.has_quantity else Finding.COST
        if kept.has_usd or finding is not Finding.PRICE:
            expected[day, "aura-2*" if model.startswith("aura-2") else model, unit] = finding

    invoice = kept.invoice(bill, tmp_path)
    made = reconcile(calls.record_file, invoice, kept.vendor, first=DAYS[0], last=DAYS[-1])

    assert found(made) == expected
