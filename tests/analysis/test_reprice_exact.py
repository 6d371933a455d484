"""Repricing in the engine gives, to the last digit, what the processor's calculation gives request by request."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

pytest.importorskip("ibis", reason="the extra `analysis` is not installed")

import ibis
import pyarrow as pa
from genai_prices import data_snapshot
from genai_prices.types import TimeOfDateConstraint

from otel_voice_cost import PriceCatalog
from otel_voice_cost.analysis.reading import PastCalls
from otel_voice_cost.analysis.reprice import reprice_calls
from otel_voice_cost.bill import OTHER_MODELS
from otel_voice_cost.cost import EXACT
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.usage import BILLED_BY_CALL, Component, Mode, Unit, Usage

PRICES = """
source = "https://example.com/pricing"
checked = 2026-11-01
discount = { "openai/gpt-4.1-mini" = "12.5%" }
addon = { "acme/added" = ["extra"] }

[[rate]]
provider = "acme"
model = "dated"
component = "tts"
unit = "character"
usd = 7
per = 300_000
until = 2026-11-10

[[rate]]
provider = "acme"
model = "dated"
component = "tts"
unit = "character"
usd = 11
per = 700_000
since = 2026-11-15
minimum = 50
increment = 64
free = 10

[[rate]]
provider = "acme"
model = "added"
component = "stt"
unit = "audio_second"
usd = 0.0043
per = 70
mode = "streaming"

[[rate]]
provider = "acme"
model = "added"
component = "stt"
unit = "audio_second"
usd = 0.0029
per = 70
mode = "batch"
increment = 15

[[rate]]
provider = "acme"
model = "added"
component = "stt"
unit = "audio_second"
usd = 0.001
per = 60
addon = "extra"

[[rate]]
provider = "acme"
model = "line"
component = "telephony"
unit = "session_second"
usd = 0.0085
per = 60
increment = 60
"""
# component, provider, model and the units that it reports
MODELS = [
    ("tts", "acme", "dated", ["character", "audio_second"]),
    ("stt", "acme", "added", ["audio_second"]),
    ("telephony", "acme", "line", ["session_second"]),
    ("llm", "openai", "gpt-4.1-mini", ["input_token", "cached_input_token", "output_token"]),
    ("llm", "google", "gemini-2.5-pro", ["input_token", "cached_input_token", "output_token"]),  # tiers
    ("llm", "deepseek", "deepseek-chat", ["input_token", "output_token"]),  # cheaper at night
    ("realtime", "openai", "gpt-realtime", ["input_text_token", "input_audio_token", "output_audio_token", "request"]),
    ("tts", "nobody", "new", ["character"]),
    ("new component", "acme", "dated", ["character"]),
    ("llm", None, None, ["input_token", "new_unit"]),
    ("llm", "openai", "gpt-4.1-mini", ["input_token", "new_unit"]),
    ("other", OTHER_MODELS, OTHER_MODELS, []),
]
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("request", "component", "provider", "model", "mode", "unit")]
    + [(name, pa.string()) for name in ("rate_source", "addon")]
    + [("unreported", pa.string()), ("used_at", pa.timestamp("us"))]
    + [(name, pa.decimal128(38, 24)) for name in ("amount", "usd")]
    + [("is_sum", pa.bool_())]
)  # fmt: skip


NOVEMBER = datetime(2026, 11, 1, tzinfo=timezone.utc).replace(tzinfo=None)


def amount_of(unit, chance):
    if unit.endswith("_second"):
        return Decimal(chance.randint(0, 90_000)) / 1000
    if chance.random() < 0.1:
        return Decimal(chance.choice([0, 199_999, 200_000, 200_001, 400_000]))
    return Decimal(chance.randint(0, 300))


def make_rows(chance, count):
    """Return rows of random requests of all kinds."""
    rows = []
    for number in range(count):
        component, provider, model, units = chance.choice(MODELS)
        common = {
            "request": str(number),
            "component": component,
            "provider": provider,
            "model": model,
            "mode": chance.choice([None, "streaming", "batch"]) if component == "stt" else None,
            "rate_source": chance.choice(["page", "page", "page", None, "span"]),
            "used_at": NOVEMBER + timedelta(seconds=chance.randint(0, 20 * 86_400), microseconds=1),
            "is_sum": chance.random() < 0.3,
        }
        chosen = [unit for unit in units if chance.random() < 0.8]
        usd = chance.choice([None, Decimal(chance.randint(0, 10**9)).scaleb(-18)])
        for position, unit in enumerate(chosen or [None]):
            amount = None if unit is None or chance.random() < 0.05 else amount_of(unit, chance)
            rows.append(common | {"unit": unit, "amount": amount, "usd": None if position else usd})
        if chosen and chance.random() < 0.2:  # two rates of one unit, and an add-on, as in a record
            rows.append(rows[-1] | {"amount": amount_of(chosen[-1], chance), "usd": usd})
            rows.append(rows[-1] | {"addon": "extra", "usd": Decimal("0.001")})
        if chance.random() < 0.1:
            rows.append(common | {"unreported": "failed", "usd": Decimal(1)})
    return rows


def past_of(rows):
    connection = ibis.duckdb.connect()
    connection.con.register(
        "given", pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], SCHEMA)
    )
    connection.con.execute("CREATE TABLE usage AS FROM given")
    return PastCalls(usage=connection.table("usage"), calls=None, problems=(), skipped=0, reported=None)


def by_request(rows, catalog, at):
    """Price each request by itself; return the sums of each model."""
    requests = defaultdict(list)
    for row in rows:
        if row.get("unreported") is None:
            requests[row["request"], row["component"], row["provider"], row["model"], row["mode"]].append(row)
    models = defaultdict(lambda: defaultdict(Decimal) | {"before": [], "after": [], "reasons": set(), "notes": set()})
    for (_, component, provider, model, mode), group in requests.items():
        sums = models[component or "unknown", provider or "unknown", model or "unknown"]
        paid = [row["usd"] for row in group if row.get("usd") is not None]
        before = sum(paid, Decimal(0)) if paid else None
        after, reason, notes = price(component, provider, model, mode, group, before, catalog, at)
        sums["notes"] |= notes
        if before is not None:
            sums["before"].append(before)
        if after is not None:
            sums["after"].append(after)
        if before is None:
            sums["unpriced_before"] += 1
            sums["gained"] += after or 0
        if after is None:
            sums["unpriced_after"] += 1
            sums["lost"] += before or 0
            sums["reasons"].add(reason)
        if before is not None and after is not None:
            sums["difference"] += EXACT.subtract(after, before)
    return models


def price(component, provider, model, mode, group, before, catalog, at):
    if any(row.get("rate_source") == "span" for row in group):
        return before, "unknown", {"further"} if provider == OTHER_MODELS else set()
    rows = [row for row in group if row["unit"] and row["amount"] is not None and row.get("addon") is None]
    if not rows:
        return None, "no amount was recorded", set()
    quantities = defaultdict(Decimal)
    for row in rows:
        quantities[row["unit"]] += row["amount"]
    above_zero = {unit: amount for unit, amount in quantities.items() if amount > 0}
    if not above_zero:
        return before, "unknown", {"free"}
    try:
        usage = Usage(
            component=Component(component),
            provider=provider or "",
            model=model or "",
            quantities={Unit(unit): amount for unit, amount in above_zero.items()},
            at=at or min(row["used_at"] for row in group).replace(tzinfo=timezone.utc),
            mode=Mode(mode) if mode else Mode.STREAMING if component == "stt" else None,
        )
    except ValueError as error:
        return None, str(error), set()
    cost = calculate_cost(usage, catalog.card_for(usage))
    notes = set()
    if mode is None and component == "stt":
        batch = replace(usage, mode=Mode.BATCH)
        if calculate_cost(batch, catalog.card_for(batch)).usd != cost.usd:
            notes.add("mode")
    rules = any(line.rate.tiers or not (usage.mode is Mode.STREAMING or line.rate.is_plain) for line in cost.lines)
    if group[0]["is_sum"] and rules and usage.component not in BILLED_BY_CALL:
        notes.add("sum")
    return cost.usd, cost.unpriced_reason, notes


JUNE = datetime(2025, 6, 1, tzinfo=timezone.utc).replace(tzinfo=None)  # as in the table, which is in UTC
NOTES = {
    "further": "beyond 64",
    "free": "within the free amount",
    "mode": "streaming from batch",
    "sum": "sums of requests",
}


@pytest.fixture(scope="module")
def catalog():
    sheet = parse_sheet(PRICES, "prices.toml")
    assert not sheet.problems, sheet.problems
    return PriceCatalog.default().with_sheet(sheet)


@pytest.mark.parametrize("at", [None, datetime(2026, 11, 3, 2, tzinfo=timezone.utc)])
@pytest.mark.parametrize("seed", range(6))
def test_the_engine_agrees_with_the_processor_on_random_requests(catalog, seed, at):
    rows = make_rows(random.Random(seed), 1_500)

    repriced = reprice_calls(past_of(rows), catalog, at)

    expected = by_request(rows, catalog, at)
    assert {(m.component, m.provider, m.model) for m in repriced.models} == set(expected)
    for model in repriced.models:
        sums = expected[model.component, model.provider, model.model]
        assert model.before_usd == (sum(sums["before"]) if sums["before"] else None)
        assert model.after_usd == (sum(sums["after"]) if sums["after"] else None)
        assert (model.difference_usd, model.gained_usd, model.lost_usd) == (
            sums["difference"], sums["gained"], sums["lost"],
        )  # fmt: skip
        assert (model.unpriced_before, model.unpriced_after) == (sums["unpriced_before"], sums["unpriced_after"])
        assert model.reasons == sums["reasons"]
        assert len(model.approximations) == len(sums["notes"])
        assert all(any(NOTES[note] in text for text in model.approximations) for note in sums["notes"])
    assert {model.model for model in repriced.models if model.after_usd} >= {"dated", "added", "line", "deepseek-chat"}


def test_times_of_day_of_prices_are_whole_minutes():
    """Requests are grouped by minute where prices depend on the hour."""
    models = [model for provider in data_snapshot.get_snapshot().providers for model in provider.models]
    constraints = [price.constraint for model in models if isinstance(model.prices, list) for price in model.prices]
    times = [time for c in constraints if isinstance(c, TimeOfDateConstraint) for time in (c.start_time, c.end_time)]

    assert times
    assert {(time.second, time.microsecond) for time in times} == {(0, 0)}


def test_a_price_by_the_hour_holds_to_the_minute(catalog):
    """The edges of DeepSeek's cheap hours: 00:30 and 16:30."""
    edges = [JUNE.replace(hour=hour, minute=29, second=59, microsecond=999_999) for hour in (0, 16)]
    for edge in edges:
        costs = set()
        for moment in (edge, edge + timedelta(microseconds=1)):
            row = {
                "request": "1", "component": "llm", "provider": "deepseek", "model": "deepseek-chat",
                "unit": "input_token", "amount": Decimal(1_000_000), "used_at": moment, "is_sum": False,
                "mode": None, "usd": Decimal(1),
            }  # fmt: skip
            (model,) = reprice_calls(past_of([row]), catalog).models
            assert model.after_usd == by_request([row], catalog, None)["llm", "deepseek", "deepseek-chat"]["after"][0]
            costs.add(model.after_usd)
        assert len(costs) == 2
