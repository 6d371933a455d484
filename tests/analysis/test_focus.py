"""Charges in the columns of FOCUS: they add up to the processor's cost, and each is its quantity times its price."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet
from rich.text import Text

from otel_voice_cost import PriceCatalog
from otel_voice_cost.analysis.focus import Accounts, find_charges, write_csv, write_parquet
from otel_voice_cost.analysis.reading import read_calls
from otel_voice_cost.build import sources
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.prices.rates import Tier
from otel_voice_cost.usage import Unit

from ..cli.test_commands import run
from ..conftest import PRICES

KINDS = ["record_file", "span_file"]
COSTS = ["BilledCost", "ContractedCost", "EffectiveCost", "PricingCurrencyEffectiveCost"]
VALIDATOR = shutil.which("focus-validator", path=os.environ.get("FOCUS_VALIDATOR", os.environ["PATH"]))


def utc(*numbers):
    return datetime(*numbers, tzinfo=timezone.utc).replace(tzinfo=None)  # as the engine has them


def charges_of(path, accounts=None, **options):
    accounts = accounts or Accounts(ids={}, names={})
    return find_charges(read_calls([path], sources()), accounts, **options)


def rows_of(path, **options):
    return charges_of(path, **options).rows.to_pyarrow().to_pylist()


def total(rows, column="EffectiveCost"):
    return sum((Decimal(row[column]) for row in rows), Decimal(0))


def by_sku(rows):
    sums = {}
    for row in rows:
        sums[row["SkuId"]] = sums.get(row["SkuId"], 0) + row["EffectiveCost"]
    return sums


def assert_each_is_quantity_times_price(rows):
    for row in rows:
        for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
            product = row["PricingQuantity"] * row[price]
            assert abs(product - row[cost]) <= abs(row[cost]) / 10**9 + Decimal("1e-15"), row


@pytest.mark.parametrize("by_day", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_charges_add_up_to_the_processors_cost_to_the_last_digit(recorded, tmp_path, kind, by_day):
    charges = charges_of(getattr(recorded, kind), by_day=by_day)
    write_csv(charges.rows, tmp_path / "charges.csv")
    write_parquet(charges.rows, tmp_path / "charges.parquet")

    with (tmp_path / "charges.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    stored = parquet.read_table(tmp_path / "charges.parquet").to_pylist()
    for rows in (written, stored):
        assert [total(rows, column) for column in COSTS] == [recorded.usd] * len(COSTS)
    assert charges.totals()["usd"] == recorded.usd
    assert charges.totals()["charge_count"] == len(written) == len(stored)


@pytest.mark.parametrize("kind", KINDS)
def test_each_charge_is_its_quantity_times_its_price(recorded, kind):
    rows = rows_of(getattr(recorded, kind))

    assert_each_is_quantity_times_price(rows)
    tokens = next(row for row in rows if row["SkuMeter"] == "Input Tokens" and row["ServiceName"] == "gpt-4.1-mini")
    assert (tokens["PricingUnit"], tokens["ListUnitPrice"]) == ("1000000 Tokens", Decimal("0.40"))
    assert tokens["PricingQuantity"] == tokens["ConsumedQuantity"] / 10**6
    speech = next(row for row in rows if row["x_Component"] == "stt")
    assert (speech["ConsumedUnit"], speech["PricingUnit"]) == ("Seconds", "Minutes")
    assert speech["ListUnitPrice"] == Decimal("0.0048")


def test_the_cost_of_a_span_is_divided_into_that_of_its_units(recorded):
    assert by_sku(rows_of(recorded.span_file)) == by_sku(rows_of(recorded.record_file))


@pytest.mark.parametrize("kind", KINDS)
def test_a_discount_is_between_list_and_contracted_price(record_calls, price_catalog, kind):
    recorded = record_calls(price_catalog.with_prices({"discount": {"openai": "12.5%"}}))
    rows = rows_of(getattr(recorded, kind))

    assert total(rows) == recorded.usd
    assert total(rows, "ListCost") == sum(record.list_usd for record in recorded.records) > recorded.usd
    assert_each_is_quantity_times_price(rows)
    tokens = [row for row in rows if row["SkuMeter"] == "Input Tokens" and row["ServiceName"] == "gpt-4.1-mini"]
    assert {(row["ListUnitPrice"], row["ContractedUnitPrice"]) for row in tokens} == {
        (Decimal("0.40"), Decimal("0.35"))
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_add_on_is_a_separate_charge(record_calls, kind):
    recorded = record_calls(PriceCatalog.default().with_prices({"addon": {"deepgram/nova-3*": ["keyterm"]}}))
    rows = [row for row in rows_of(getattr(recorded, kind)) if row["x_Component"] == "stt"]

    expected = sum(part.usd for record in recorded.records for part in record.parts if part.component == "stt")
    assert total(rows) == expected
    meters = Counter(row["SkuMeter"] for row in rows)
    assert len(meters) == 2
    assert len(set(meters.values())) == 1
    assert_each_is_quantity_times_price(rows)


def test_a_price_in_another_currency_is_in_dollars(record_calls, price_catalog):
    rupees = {"currency": {"INR": "83"}, "cartesia/sonic-3": {"tts": "30 INR/10k characters"}}
    recorded = record_calls(price_catalog.with_prices(rupees))

    for kind in KINDS:
        rows = [row for row in rows_of(getattr(recorded, kind)) if row["x_Component"] == "tts"]
        assert {row["PricingUnit"] for row in rows} == {"10000 Characters"}
        assert {f"{row['ListUnitPrice']:.12f}" for row in rows} == {f"{Decimal(30) / 83:.12f}"}
        assert_each_is_quantity_times_price(rows)
        assert total(rows_of(getattr(recorded, kind))) == recorded.usd


def test_a_request_that_its_rates_do_not_explain_is_one_charge(record_calls, price_catalog):
    """Two of the requests are beyond a tier, whose price is not in the text of the rate."""
    sheet = parse_sheet(PRICES, "prices.toml")
    tiers = (Tier(301, Decimal("0.70")),)
    rates = [replace(rate, tiers=tiers) if rate.unit is Unit.INPUT_TOKEN else rate for rate in sheet.rates]
    recorded = record_calls(price_catalog.with_sheet(replace(sheet, rates=tuple(rates))))
    rows = rows_of(recorded.span_file)

    assert total(rows) == recorded.usd
    assert_each_is_quantity_times_price(rows)
    whole = [row for row in rows if row["PricingUnit"] == "Units"]
    assert len(whole) == 5  # and one of a gateway in each call
    assert {row["SkuId"] for row in whole} == {"openai/llm/gpt-4.1-mini"}
    assert {(row["PricingQuantity"], row["ConsumedQuantity"], row["ConsumedUnit"]) for row in whole} == {
        (1, 1, "Units")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_usage_without_a_price_is_left_out_and_named(recorded, kind):
    charges = charges_of(getattr(recorded, kind))

    assert {(each.provider, each.model, each.reason, each.call_count) for each in charges.unpriced} == {
        ("nobody", "new", "no tts rate for nobody/new", 3)
    }
    assert "nobody" not in {row["ProviderName"] for row in charges.rows.to_pyarrow().to_pylist()}


def test_a_charge_has_the_period_of_its_call_or_request(recorded):
    start = datetime(2026, 11, 30, 23, 59, 30, 250_000, tzinfo=timezone.utc)
    lines = [json.loads(line) for line in recorded.record_file.read_text().splitlines()]
    call = lines[0] | {"ChargePeriodStart": start.isoformat(), "x_Seconds": "90.5"}
    recorded.record_file.write_text(json.dumps(call) + "\n")

    (period,) = {
        tuple(row[f"{name}Period{end}"] for name in ("Charge", "Billing") for end in ("Start", "End"))
        for row in rows_of(recorded.record_file)
    }
    assert period == (
        utc(2026, 11, 30, 23, 59, 30),
        utc(2026, 12, 1, 0, 1, 2),
        utc(2026, 11, 1),
        utc(2026, 12, 1),
    )
    for row in rows_of(recorded.span_file):
        assert row["ChargePeriodEnd"] - row["ChargePeriodStart"] == timedelta(seconds=1)
    (day,) = {row["ChargePeriodEnd"] - row["ChargePeriodStart"] for row in rows_of(recorded.span_file, by_day=True)}
    assert day == timedelta(days=1)


def test_agent_and_revision_are_tags(record_calls, price_catalog):
    recorded = record_calls(price_catalog, revision='r"7')

    assert {row["Tags"] for row in rows_of(recorded.span_file)} == {json.dumps({"agent": "desk", "revision": 'r"7'})}


def test_a_model_of_another_publisher_names_it(recorded):
    text = recorded.record_file.read_text().replace('"ServiceName": "sonic-3"', '"ServiceName": "cartesia/sonic-3"')
    recorded.record_file.write_text(text.replace('"ProviderName": "cartesia"', '"ProviderName": "livekit"'))

    names = {
        (row["ProviderName"], row["InvoiceIssuerName"], row["PublisherName"]) for row in rows_of(recorded.record_file)
    }
    assert ("livekit", "livekit", "cartesia") in names
    assert ("openai", "openai", "openai") in names


@pytest.mark.parametrize("quantity", ["99999999999", "0.000000000001", "-5", "0"])
def test_amounts_beyond_any_request_change_no_cost(recorded, quantity):
    lines = [json.loads(line) for line in recorded.record_file.read_text().splitlines()]
    for charge in lines[0]["Charges"]:
        charge["x_UsedQuantity"] = charge["ConsumedQuantity"] = quantity
    recorded.record_file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert total(rows_of(recorded.record_file)) == recorded.usd


@pytest.mark.parametrize("price", ["1e400", "NaN", "-1", "free", "0", "99999999999999999999"])
@pytest.mark.parametrize("per", ["60", "0", "99999999999999999999", "1e3"])
def test_a_text_that_is_no_price_changes_no_cost(recorded, price, per):
    lines = [json.loads(line) for line in recorded.record_file.read_text().splitlines()]
    for charge in lines[0]["Charges"]:
        charge |= {"ListUnitPrice": price, "PricingUnit": f"{per} {charge.get('ConsumedUnit')}"}
    recorded.record_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = rows_of(recorded.record_file)

    assert total(rows) == recorded.usd
    assert_each_is_quantity_times_price(rows)


# the command


def test_the_file_is_csv_or_parquet_by_its_ending(recorded, tmp_path):
    for name in ("charges.csv", "charges.parquet"):
        result = run("export", str(recorded.span_file), "--focus", str(tmp_path / name))

        assert result.exit_code == 0
        assert f"{tmp_path / name}: 48 charges, 0.0828 US dollars, FOCUS 1.2." in result.stdout
        assert "Left out: usage without a price." in result.stderr
        assert "tts nobody/new: no tts rate for nobody/new, 3 calls" in result.stderr
    stored = parquet.read_table(tmp_path / "charges.parquet")
    header = (tmp_path / "charges.csv").read_text().splitlines()[0].split(",")
    assert header == stored.column_names
    assert total(stored.to_pylist()) == recorded.usd


def test_csv_and_parquet_have_the_rows_of_the_file_and_json_its_sums(recorded, tmp_path):
    files = [str(tmp_path / name) for name in ("charges.csv", "other.data")]
    printed = run("export", str(recorded.span_file), "--csv", "--focus", files[0], "--parquet", files[1])
    sums = json.loads(run("export", str(recorded.span_file), "--json", "--focus", files[0]).stdout)

    assert printed.stdout == (tmp_path / "charges.csv").read_text()
    assert total(csv.DictReader(io.StringIO(printed.stdout))) == recorded.usd
    assert total(parquet.read_table(files[1]).to_pylist()) == recorded.usd
    assert (sums["charge_count"], Decimal(sums["usd"]), sums["skipped"]) == (48, recorded.usd, 0)
    assert [each["model"] for each in sums["unpriced"]] == ["new"]


def test_accounts_are_by_provider_or_for_all(recorded, tmp_path):
    def accounts(*options):
        run("export", str(recorded.record_file), "--focus", str(tmp_path / "charges.csv"), *options)
        with (tmp_path / "charges.csv").open(newline="") as file:
            return {
                (row["ProviderName"], row["BillingAccountId"], row["BillingAccountName"])
                for row in csv.DictReader(file)
                if row["ProviderName"] != "deepgram"
            }

    given = ("--billing-account", "openai=org-1", "--billing-account", "main", "--billing-account-name", "Voice")
    assert accounts() == {("cartesia", "cartesia", ""), ("openai", "openai", "")}
    assert accounts(*given) == {("cartesia", "main", "Voice"), ("openai", "org-1", "Voice")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--focus: got no file, expected a file that ends in .csv or .parquet, or --csv"),
        (("--focus", "charges.xlsx"), "--focus: got charges.xlsx, expected a file that ends in .csv or .parquet"),
        (
            ("--csv", "--billing-account", "opnai=1"),
            "--billing-account: got opnai=1, expected a value, or PROVIDER=VALUE",
        ),
        (("--csv", "--billing-account", "openai="), "--billing-account: got openai=, expected a value"),
        (("--focus", "none/charges.csv"), "none/charges.csv: got OSError, expected a file that can be written"),
        (("--focus", "none/charges.parquet"), "none/charges.parquet: got OSError, expected a file that can be written"),
    ],
)
def test_a_wrong_option_exits_with_two_and_says_what_is_expected(recorded, options, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run("export", str(recorded.record_file), *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_output_fits_a_terminal_of_80_columns(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("export", str(recorded.record_file), "--focus", "charges.csv", COLUMNS="80", FORCE_COLOR="1")

    assert max(len(line) for line in Text.from_ansi(result.stdout).plain.splitlines()) <= 80


@pytest.mark.skipif(not VALIDATOR, reason="focus-validator is not installed")
@pytest.mark.parametrize("name", ["charges.csv", "charges.parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_finops_own_validator_finds_nothing(record_calls, price_catalog, tmp_path, kind, name):
    """It reports a rule on invoice ids to every file: its two halves exclude each other, and one of them holds."""
    recorded = record_calls(price_catalog.with_prices({"discount": {"openai": "12.5%"}}))
    run("export", str(getattr(recorded, kind)), "--focus", str(tmp_path / name))
    python = Path(VALIDATOR).with_name("python")
    home = subprocess.run(
        [python, "-c", "import focus_validator; print(focus_validator.__path__[0])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    supported = ["NEGOTIATED_PRICING", "PUBLIC_PRICE_LIST", "TAGGING", "UNIT_PRICING", "USAGE_MEASUREMENT"]
    criteria = ",".join(f"{name}_SUPPORTED" for name in supported)

    done = subprocess.run(
        [VALIDATOR, "--data-file", tmp_path / name, "--validate-version", "1.2", "--block-download",
         "--applicability-criteria", criteria],
        cwd=Path(home).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    failed = [line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("❌")]
    assert failed == ["InvoiceId-C-005-C"]
    assert done.stdout.count("PASS") > 200
