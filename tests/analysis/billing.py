"""Calls on several days, and invoices for what they used, in the formats of the vendors.

An invoice is made of the records of the calls, so it agrees with them until a difference is planted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from opentelemetry import trace

from otel_voice_cost.cost import EXACT
from otel_voice_cost.prices.price_sheet import parse_sheet

from ..conftest import llm_metrics, realtime_metrics, stt_metrics, tts_metrics
from ..faults.test_concurrency import report

FIRST = date(2026, 11, 20)
DAYS = [FIRST + timedelta(days=number) for number in range(4)]
SIP = {"lk.sip.callID": "SCL_1", "lk.sip.trunkID": "ST_1"}

TELEPHONY = """
[[rate]]
provider = "twilio"
model = "sip"
component = "telephony"
unit = "session_second"
usd = 0.0085
per = 60
increment = 60
"""

MORE_PRICES = """
source = "https://example.com/pricing"
checked = 2026-11-01

[[rate]]
provider = "elevenlabs"
model = "eleven_flash_v2_5"
component = "tts"
unit = "character"
usd = 40
per = 1_000_000

[[rate]]
provider = "deepgram"
model = "aura-2-*"
component = "tts"
unit = "character"
usd = 30
per = 1_000_000
confidence = "low"
"""


def with_more_prices(catalog):
    sheet = parse_sheet(MORE_PRICES, "more.toml")
    assert not sheet.problems
    return catalog.with_sheet(sheet)


def at(day, hour=12, minute=0, second=0):
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=timezone.utc)


def _ns(moment):
    return int(moment.timestamp() * 1_000) * 1_000_000


class Stage:
    """One call on a clock of its own: every span has the times that it is given."""

    def __init__(self, call, began, seconds, number):
        self.call, self.began, self.number = call, began, number
        self.ended = began + timedelta(seconds=seconds)
        attributes = {**SIP, "session.id": f"session-{number}", "lk.agent_name": "desk"}
        self.session = call.tracer.start_span("agent_session", attributes=attributes, start_time=_ns(began))

    def __enter__(self):
        self._current = trace.use_span(self.session, end_on_exit=False)
        self._current.__enter__()
        return self

    def __exit__(self, *_):
        self._current.__exit__(None, None, None)
        self.session.end(_ns(self.ended))

    def span(self, name, moment, attributes):
        span = self.call.tracer.start_span(name, attributes=attributes, start_time=_ns(moment - timedelta(seconds=1)))
        span.end(_ns(moment))

    def hears(self, moment, seconds, model="nova-3", provider="Deepgram"):
        metadata = {"model_name": model, "model_provider": provider}
        report(stt_metrics(request_id=f"stt-{moment}-{model}", audio_duration=seconds, metadata=metadata))
        self.span("user_turn", moment, {})

    def thinks(self, moment, **fields):
        metrics = llm_metrics(request_id=f"llm-{moment}-{self.number}", **fields)
        self.span("llm_request", moment, {"lk.llm_metrics": json.dumps(metrics)})

    def speaks(self, moment, characters, model, provider):
        metrics = tts_metrics(
            request_id=f"tts-{moment}-{model}-{self.number}",
            characters_count=characters,
            metadata={"model_name": model, "model_provider": provider},
        )
        self.span("tts_request", moment, {"lk.tts_metrics": json.dumps(metrics)})

    def converses(self, moment):
        metrics = realtime_metrics(request_id=f"realtime-{moment}-{self.number}")
        self.span("realtime_inference", moment, {"lk.realtime_model_metrics": json.dumps(metrics)})


def hold_days(call, days=DAYS):
    """Hold three calls a day, all of different amounts."""
    number = 0
    for day in days:
        for hour in (9, 13, 17):
            number += 1
            began = at(day, hour)
            with Stage(call, began, 95 + number, number) as stage:
                moment = began + timedelta(seconds=30)
                stage.hears(moment, 2.5 + number / 8)
                stage.hears(moment, 3.25 + number / 4, "universal-streaming", "AssemblyAI")
                stage.thinks(
                    moment, prompt_tokens=300 + number, prompt_cached_tokens=128, completion_tokens=20 + number
                )
                stage.speaks(moment, 150 + number, "eleven_flash_v2_5", "ElevenLabs")
                stage.speaks(moment, 90 + number, "aura-2-thalia-en", "Deepgram")
                stage.converses(moment)


class Bill:
    """Billed quantity and US dollars by day, model and unit of one vendor, of which an invoice is made."""

    def __init__(self, records, provider, day_of=lambda record: record.started_at.date()):
        self.lines = defaultdict(lambda: [Decimal(0), Decimal(0)])
        for record in records:
            for part in record.parts:
                for line in part.lines if part.provider == provider else ():
                    cell = self.lines[day_of(record), part.model, line.unit.value]
                    cell[0] = EXACT.add(cell[0], line.amount)
                    cell[1] = EXACT.add(cell[1], line.usd)

    def __iter__(self):
        return iter(sorted((*key, *cell) for key, cell in self.lines.items()))

    def by_model(self):
        """Yield day, model and the quantities and dollars of its units."""
        grouped = defaultdict(dict)
        for day, model, unit, quantity, usd in self:
            grouped[day, model][unit] = (quantity, usd)
        return sorted((*key, units) for key, units in grouped.items())


def write_json(path, *documents):
    """Write documents; a `Decimal` becomes a number with its digits, as the API would write them."""
    marks = {}

    def mark(value):
        if isinstance(value, Decimal):
            key = f"@@{len(marks)}@@"
            marks[f'"{key}"'] = f"{value:f}"
            return key
        raise TypeError(value)

    text = "\n".join(json.dumps(document, default=mark) for document in documents)
    for key, digits in marks.items():
        text = text.replace(key, digits)
    path.write_text(text)
    return path


def _seconds(day):
    return int(at(day, 0).timestamp())


def openai_usage(bill, days=DAYS):
    """A page of /v1/organization/usage/completions, grouped by model. OpenAI names the snapshot."""
    found = defaultdict(list)
    for day, model, units in bill.by_model():
        count = {unit: int(quantity) for unit, (quantity, _) in units.items()}

        def tokens(name, modality, count=count):
            return count.get(f"{name}_{modality}_token", 0) + (
                count.get(f"{name}_token", 0) if modality == "text" else 0
            )

        result = {
            "object": "organization.usage.completions.result",
            "model": f"{model}-2025-04-14",
            "input_tokens": sum(n for unit, n in count.items() if "input" in unit),
            "output_tokens": sum(n for unit, n in count.items() if "output" in unit),
            "input_cached_tokens": sum(n for unit, n in count.items() if "cached" in unit),
            "num_model_requests": 3,
            "project_id": None,
            **{
                f"{field}_{modality}_tokens": tokens(unit, modality)
                for field, unit in (("input", "input"), ("input_cached", "cached_input"), ("output", "output"))
                for modality in ("text", "audio", "image")
            },
        }
        found[day].append(result)
    return _page(found, days)


_PARTS = {
    "input_token": (None, "input"),
    "cached_input_token": (None, "cached input"),
    "output_token": (None, "output"),
    "input_text_token": ("text", "input"),
    "cached_input_text_token": ("text", "cached input"),
    "output_text_token": ("text", "output"),
    "input_audio_token": ("audio", "input"),
    "cached_input_audio_token": ("audio", "cached input"),
    "output_audio_token": ("audio", "output"),
}


def openai_costs(bill, days=DAYS):
    """A page of /v1/organization/costs, grouped by line item."""
    found = defaultdict(list)
    for day, model, unit, quantity, usd in bill:
        modality, part = _PARTS[unit]
        found[day].append(
            {
                "object": "organization.costs.result",
                "amount": {"value": usd, "currency": "usd"},
                "line_item": f"{model}-2025-04-14{f' {modality}' if modality else ''}, {part}",
                "quantity": quantity,
                "quantity_unit": "tokens",
                "project_id": None,
            }
        )
    return _page(found, days)


def _page(found, days):
    buckets = [
        {
            "object": "bucket",
            "start_time": _seconds(day),
            "end_time": _seconds(day) + 86_400,
            "results": found.get(day, []),
        }
        for day in days
    ]
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def deepgram_usage(bill, days=DAYS):
    """An answer of /usage/breakdown, grouped by models. Its hours are binary fractions."""
    results = []
    for day, model, unit, quantity, _ in bill:
        name = "Aura-2" if model.startswith("aura-2") else model.title()
        is_time = unit == "audio_second"
        results.append(
            {
                "hours": float(quantity) / 3600 if is_time else 0,
                "total_hours": float(quantity) / 3600 if is_time else 0,
                "agent_hours": 0,
                "tokens_in": 0,
                "tokens_out": 0,
                "tts_characters": 0 if is_time else int(quantity),
                "requests": 3,
                "grouping": {"start": str(day), "end": str(day), "models": [name]},
            }
        )
    return _answer(results, days)


def deepgram_billing(bill, days=DAYS):
    """An answer of /billing/breakdown, grouped by line item."""
    results = [
        {
            "dollars": usd,
            "grouping": {
                "start": str(day),
                "end": str(day),
                "accessor": None,
                "deployment": None,
                "line_item": "sync::aura-2" if model.startswith("aura-2") else f"streaming::{model}",
                "tags": None,
            },
        }
        for day, model, _, _, usd in bill
    ]
    return _answer(results, days)


def _answer(results, days):
    resolution = {"units": "day", "amount": 1}
    return {"start": str(days[0]), "end": str(days[-1]), "resolution": resolution, "results": results}


def elevenlabs_usage(bill, credits_per_character=Decimal("0.5")):
    """A table of usage-by-product-over-time, grouped by model and currency."""
    rows = [
        [f"{day}T00:00:00Z", "TTS", model, "usd", quantity * credits_per_character, usd]
        for day, model, _, quantity, usd in bill
    ]
    return {
        "columns": ["timestamp", "product_type", "model", "fiat_currency", "total_usage", "total_cost"],
        "column_types": ["DateTime", "String", "String", "String", "Float", "Float"],
        "column_units": [None, None, None, None, "credits", "usd"],
        "rows": rows,
    }


def elevenlabs_stats(bill, days=DAYS):
    """An answer of the deprecated /v1/usage/character-stats, broken down by model."""
    usage = defaultdict(lambda: [Decimal(0)] * len(days))
    for day, model, _, quantity, _ in bill:
        usage[model][days.index(day)] = quantity
    return {"time": [_seconds(day) * 1_000 for day in days], "usage": dict(usage)}


def twilio_records(bill):
    """A page of Usage/Records/Daily.json, with categories that contain others and one of another product."""
    records = []
    for day, _, _, quantity, usd in bill:
        minutes = f"{quantity / 60:f}"
        for category, usage, price in (
            ("calls", minutes, usd),
            ("trunking-termination", minutes, usd),
            ("sms", "4", Decimal("0.0316")),
            ("totalprice", "0", usd + Decimal("0.0316")),
        ):
            unit = {"sms": "messages", "totalprice": "usd"}.get(category, "minutes")
            records.append(
                {
                    "category": category,
                    "start_date": str(day),
                    "end_date": str(day),
                    "as_of": f"{day}T23:59:59+00:00",
                    "usage": usage,
                    "usage_unit": unit,
                    "price": f"{price:f}",
                    "price_unit": "usd",
                }
            )
    return {"first_page_uri": "/2010-04-01", "next_page_uri": None, "usage_records": records}
