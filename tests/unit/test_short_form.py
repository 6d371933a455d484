"""Prices in a variable."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal

import pytest

from otel_voice_cost import Mode
from otel_voice_cost.prices.price_sheet import PriceSheet, parse_sheet


def read(document):
    sheet = parse_sheet(json.dumps(document), "VOICE_COST_PRICES")
    rates = [(r.provider, r.model[0], r.component.value, r.unit.value, str(r.usd), r.per) for r in sheet.rates]
    return rates, list(sheet.problems)


def test_the_example_of_the_documentation():
    rates, problems = read(
        {
            "deepgram/nova-2": {"stt": "0.0043/min"},
            "cartesia/sonic-3": {"tts": "50/1M characters"},
            "openai/gpt-4.1-mini": {
                "llm": {"input": "0.40/1M tokens", "cached_input": "0.10/1M tokens", "output": "1.60/1M tokens"}
            },
        }
    )

    assert problems == []
    assert rates == [
        ("deepgram", "nova-2", "stt", "audio_second", "0.0043", 60),
        ("cartesia", "sonic-3", "tts", "character", "50", 1_000_000),
        ("openai", "gpt-4.1-mini", "llm", "input_token", "0.40", 1_000_000),
        ("openai", "gpt-4.1-mini", "llm", "cached_input_token", "0.10", 1_000_000),
        ("openai", "gpt-4.1-mini", "llm", "output_token", "1.60", 1_000_000),
    ]


@pytest.mark.parametrize(
    ("component", "price", "unit", "usd", "per"),
    [
        ("stt", "0.39/hour", "audio_second", "0.39", 3_600),
        ("stt", "0.0001/s", "audio_second", "0.0001", 1),
        ("stt", "0.12 / 30 seconds", "audio_second", "0.12", 30),
        ("tts", "0.05/1k characters", "character", "0.05", 1_000),
        ("tts", "15/1M bytes", "utf8_byte", "15", 1_000_000),
        ("tts", "0.015/minute", "audio_second", "0.015", 60),
        ("realtime", "0.08/min", "session_second", "0.08", 60),
        ("llm", "0.01/request", "request", "0.01", 1),
        ("stt", "0/min", "audio_second", "0", 60),
        ("tts", " 0.05\tUSD /  1 k   characters ", "character", "0.05", 1_000),
        ("tts", "15 /1.5 M utf8 bytes", "utf8_byte", "15", 1_500_000),
        ("stt", "1/   min", "audio_second", "1", 60),
        ("stt", "$0.0043/min", "audio_second", "0.0043", 60),
        ("stt", "0.0043 per minute", "audio_second", "0.0043", 60),
        ("stt", "$0.26 USD per Hour", "audio_second", "0.26", 3_600),
        ("tts", "6.5e-5/character", "character", "0.000065", 1),
        ("tts", ".000065 per character", "character", "0.000065", 1),
        ("tts", "65/1,000,000 characters", "character", "65", 1_000_000),
        ("tts", "$65 per million characters", "character", "65", 1_000_000),
        ("tts", "0.065/thousand chars", "character", "0.065", 1_000),
        ("stt", {"per_minute": 0.0043}, "audio_second", "0.0043", 60),
        ("stt", {"hour": "$0.26"}, "audio_second", "0.26", 3_600),
        ("tts", {"per_character": 6.5e-5}, "character", "0.000065", 1),
        ("tts", {"per_1M_characters": 65}, "character", "65", 1_000_000),
        ("llm", {"output": "$1.60/MTok"}, "output_token", "1.60", 1_000_000),
    ],
)
def test_quotes_as_vendors_print_them(component, price, unit, usd, per):
    assert read({"acme/m*": {component: price}}) == ([("acme", "m*", component, unit, usd, per)], [])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"deepgram_nova2": 0.0043},
            "deepgram_nova2: got an unknown key, expected provider/model, such as deepgram/nova-2",
        ),
        ({"gpt-4o-mini-tts": 1}, "provider/model, such as azure/gpt-4o-mini-tts or openai/gpt-4o-mini-tts"),
        ({"currencies": {"INR": 80}}, "currencies: got an unknown key, expected provider/model, or currency"),
        ({"a/b": {"sst": "1/min"}}, "a/b.sst: got 'sst', expected stt"),
        (
            {"a/b": {"llm": {"inptu": "1/1M tokens"}}},
            "a/b.llm.inptu: got '1/1M tokens', expected input, or a unit: request",
        ),
        ({"a/b": {"tts": 6.5e-5}}, 'got 0.000065, expected the price with its unit, such as "0.000065/character"'),
        ({"a/b": {"stt": "1/word"}}, "got '1/word', expected a unit of stt: s, min, hour, request; or tokens under"),
        (
            {"a/b": {"stt": "0,0043/min"}},
            'a/b.stt: got \'0,0043/min\', expected a price such as "0.0043/min" or "free"',
        ),
        ({"a/b": {"stt": [None, True]}}, "a/b.stt: got nothing, expected a price such as"),
        (
            {"rate": [{"provider": "a", "model": [], "component": "stt", "unit": "request"}]},
            "model: got [], expected at least one",
        ),
    ],
)
def test_a_refusal_names_the_nearest_key_and_the_units_that_fit(document, expected):
    rates, problems = read(document)

    assert rates == []
    assert expected in str(problems[0])
    assert not any(
        word in str(problem) for problem in problems for word in ("Decimal", "None", "True", "Input", "valid")
    )


def test_free_is_a_price_of_zero_for_every_unit():
    rates, problems = read({"local/whisper": {"stt": "free"}})

    assert problems == []
    assert {(unit, usd) for *_, unit, usd, _ in rates} == {
        ("audio_second", "0"),
        ("input_audio_token", "0"),
        ("input_text_token", "0"),
        ("output_text_token", "0"),
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"nova-2": {"stt": "1/min"}}, "VOICE_COST_PRICES, nova-2: got an unknown key, expected provider/model"),
        ({"a/b": "1/min"}, "VOICE_COST_PRICES, a/b: got '1/min', expected a price by component, such as {\"stt\""),
        (
            {"a/b": {"asr": "1/min"}},
            "VOICE_COST_PRICES, a/b.asr: got 'asr', expected one of avatar, interruption, llm, ",
        ),
        ({"a/b": {"stt": 1}}, 'VOICE_COST_PRICES, a/b.stt: got 1, expected the price with its unit, such as "1/min"'),
        ({"a/b": {"stt": "-1/min"}}, "VOICE_COST_PRICES, a/b.stt: got '-1/min', expected a price"),
        ({"a/b": {"stt": "1/0 min"}}, "VOICE_COST_PRICES, a/b.stt: got '1/0 min', expected a whole number of units"),
        ({"a/b": {"stt": "1/" + "9" * 9_000 + " min"}}, "a/b.stt: got '1/9999"),
        ({"a/b": {"stt": "1/12 34"}}, "VOICE_COST_PRICES, a/b.stt: got '1/12 34', expected a price"),
        ({"a/b": {"stt": "1/characters"}}, "VOICE_COST_PRICES, a/b.stt: got '1/characters', expected a unit of stt"),
        ({"a/b": {"llm": "1/min"}}, "VOICE_COST_PRICES, a/b.llm: got '1/min', expected a unit of llm"),
        ({"a/b": {"llm": "1/1M tokens"}}, "expected a unit of llm: request; or tokens under input, cached_input"),
        ({"a/b": {"llm": {"inptu": "1/1M tokens"}}}, "VOICE_COST_PRICES, a/b.llm.inptu: got '1/1M tokens', expected"),
        (
            {"a/b": {"llm": {"input": "1/request"}}},
            "VOICE_COST_PRICES, a/b.llm.input: got '1/request', expected tokens",
        ),
    ],
)
def test_a_mistake_is_reported_and_the_other_entries_are_used(document, message):
    rates, problems = read({**document, "good/one": {"tts": "50/1M characters"}})

    assert message in str(problems[0])
    assert [provider for provider, *_ in rates] == ["good"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "got no JSON, expected JSON: "),
        ('{"a":' * 99_999, "got no JSON"),
        ('{"a/b": {}, "a/b": {}}', "got no JSON, expected JSON: the key 'a/b' is there twice"),
        ("[1]x", "got no TOML, expected TOML: "),
        ("nova-2", "got no TOML"),
    ],
)
def test_text_that_is_neither_json_nor_toml_is_one_problem(text, message):
    sheet = parse_sheet(text, "VOICE_COST_PRICES")

    assert sheet.rates == ()
    assert message in str(sheet.problems[0])


def test_an_empty_text_has_no_prices():
    assert parse_sheet("  ", "VOICE_COST_PRICES") == PriceSheet()


def test_the_same_in_toml():
    sheet = parse_sheet('"deepgram/nova-2".stt = "0.0043/min"\n["local/whisper*"]\nstt = "free"', "VOICE_COST_PRICES")

    assert sheet.problems == ()
    assert str(sheet.rates[0]) == "0.0043 USD per 60 audio_second"
    assert {rate.model for rate in sheet.rates} == {("nova-2",), ("whisper*",)}


def test_a_price_holds_on_days_and_in_a_mode():
    document = {
        "deepgram/nova-3": {
            "stt": [
                {"price": "0.0050/min", "until": "2026-12-31"},
                {"price": "0.0040/min", "since": "2027-01-01", "mode": "streaming"},
            ]
        },
        "openai/gpt-4.1": {"llm": {"input": "1/1M tokens", "output": "4/1M tokens", "since": "2026-10-01"}},
    }
    rates = parse_sheet(json.dumps(document), "VOICE_COST_PRICES").rates

    assert [(r.unit.value, str(r.usd), str(r.since), str(r.until), r.mode) for r in rates] == [
        ("audio_second", "0.0050", "None", "2026-12-31", None),
        ("audio_second", "0.0040", "2027-01-01", "None", Mode.STREAMING),
        ("input_token", "1", "2026-10-01", "None", None),
        ("output_token", "4", "2026-10-01", "None", None),
    ]


def test_another_currency_has_its_exchange_rate():
    """30 rupees per 10,000 characters at 80 a dollar are $37.5 per million."""
    document = {"currency": {"INR": "80"}, "sarvam/bulbul:v3": {"tts": "30 INR/10k characters"}}
    (rate,) = parse_sheet(json.dumps(document), "VOICE_COST_PRICES").rates

    assert rate.usd / rate.per == Decimal("37.5") / 1_000_000
    assert str(rate) == "30 INR per 10000 character at 80 INR per USD"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a/b": {"tts": "3 INR/1k characters"}}, "a/b.tts, currency: got 'INR', expected [currency] with INR"),
        ({"currency": {"INR": 0}}, "currency.INR: got 0, expected how much of the currency one US dollar buys"),
        ({"currency": 3}, "currency: got 3, expected a table"),
        ({"discount": {"deepgram": "120%"}}, "discount.deepgram: got '120%', expected a share such as \"20%\", 100%"),
        ({"discount": {"deepgram": 0.2}}, "discount.deepgram: got 0.2, expected a share"),
        ({"discount": {"deepgram": {"percent": "2%", "from": 1}}}, "discount.deepgram: got {'percent'"),
        ({"markup": {"*": {"percent": "30%", "since": "soon"}}}, "markup.*: got {'percent': '30%', 'since': 'soon'}"),
        ({"name": {"sonic-3": "Cartesia"}}, "name.sonic-3: got 'Cartesia', expected provider/model"),
        ({"alias": {"proxy": "openai/gpt-4.1"}}, "alias.proxy: got 'openai/gpt-4.1', expected a provider"),
        ({"alias": {"proxy/gpt": "openai/*"}}, "alias.proxy/gpt: got 'openai/*', expected one * at the end of both"),
        ({"plan": {"livekit": 3}}, "plan.livekit: got 3, expected a name"),
        ({"addon": {"deepgram": "diarize"}}, "addon.deepgram: got 'diarize', expected a list of features"),
        ({"a/b": {"stt": {"since": "2026-01-01"}}}, "a/b.stt: got {'since': '2026-01-01'}, expected a price"),
        ({"a/b": {"stt": {"price": "1/min", "since": "soon"}}}, "a/b.stt, since: got 'soon', expected a day such as"),
        ({"a/b": {"stt": {"price": "1/min", "mode": "live"}}}, "a/b.stt, mode: got 'live', expected 'batch' or"),
    ],
)
def test_a_mistake_in_overrides_is_reported(document, message):
    sheet = parse_sheet(json.dumps({**document, "good/one": {"tts": "50/1M characters"}}), "VOICE_COST_PRICES")

    assert f"VOICE_COST_PRICES, {message}" in str(sheet.problems[0])
    assert len(sheet.problems) == 1
    assert [rate.provider for rate in sheet.rates] == ["good"]


def test_a_price_text_is_read_in_linear_time():
    """A text of 400 spaces took more than 30 s: the regular expression tried each way to split them."""
    code = """
from otel_voice_cost.prices.price_sheet import parse_sheet
import json
for n in (400, 20_000):
    for text in ("1/" + " " * n + "!", "1" + " " * n + "!", "1/1" + " " * n + "!", "1/k" + " " * n + "!",
                 "1" * n + "!", "1." + "1" * n + "!", "1/" + "1" * n + "!", "1/" + "a " * n + "!",
                 "1 USD" + " " * n + "/" + " " * n + "5" + " " * n + "M" + " " * n + "!", "1/" + "k" * n + "!",
                 "$" + " " * n + "1 per" + " " * n + "!", "1/" + "1," * n + "!", "1e" + "1" * n + "!",
                 "1/1," + "111," * n + "!"):
        for sheet in ({"a/b": {"stt": text}}, {"discount": {"a": text}}, {"rate": [{"model": text}]}):
            assert parse_sheet(json.dumps(sheet), "x").problems
"""

    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
