"""Prices in a variable."""

from __future__ import annotations

import json

import pytest

from otel_voice_cost.prices.short_form import parse_short_form


def read(document):
    rates, problems = parse_short_form(json.dumps(document), "VOICE_COST_PRICES")
    return [(r.provider, r.model[0], r.component.value, r.unit.value, str(r.usd), r.per) for r in rates], problems


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
    ],
)
def test_quotes_as_vendors_print_them(component, price, unit, usd, per):
    assert read({"acme/m*": {component: price}}) == ([("acme", "m*", component, unit, usd, per)], [])


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
        ({"nova-2": {"stt": "1/min"}}, "VOICE_COST_PRICES, nova-2: got no slash, expected provider/model"),
        ({"a/b": "1/min"}, "VOICE_COST_PRICES, a/b: got '1/min', expected {\"stt\": price}"),
        ({"a/b": {"asr": "1/min"}}, "VOICE_COST_PRICES, a/b.asr: got 'asr', expected one of llm, realtime, stt, tts"),
        ({"a/b": {"stt": 1}}, 'VOICE_COST_PRICES, a/b.stt: got 1, expected a price such as "0.0043/min"'),
        ({"a/b": {"stt": "-1/min"}}, "VOICE_COST_PRICES, a/b.stt: got '-1/min', expected a price"),
        ({"a/b": {"stt": "1/0 min"}}, "VOICE_COST_PRICES, a/b.stt: got '1/0 min', expected a whole number of units"),
        ({"a/b": {"stt": "1/characters"}}, "VOICE_COST_PRICES, a/b.stt: got '1/characters', expected a unit of stt"),
        ({"a/b": {"llm": "1/min"}}, "VOICE_COST_PRICES, a/b.llm: got '1/min', expected a unit of llm"),
        ({"a/b": {"llm": "1/1M tokens"}}, "expected a unit of llm, or tokens under input, cached_input"),
        ({"a/b": {"llm": {"inptu": "1/1M tokens"}}}, "VOICE_COST_PRICES, a/b.llm.inptu: got '1/1M tokens', expected"),
        (
            {"a/b": {"llm": {"input": "1/request"}}},
            "VOICE_COST_PRICES, a/b.llm.input: got '1/request', expected tokens",
        ),
    ],
)
def test_a_mistake_is_named_and_the_other_entries_hold(document, message):
    rates, problems = read({**document, "good/one": {"tts": "50/1M characters"}})

    assert message in str(problems[0])
    assert [provider for provider, *_ in rates] == ["good"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "got no JSON, expected JSON: "), ("[1]", "got list, expected an object"), ("[" * 99_999, "got no JSON")],
)
def test_what_is_no_object_is_one_problem(text, message):
    rates, problems = parse_short_form(text, "VOICE_COST_PRICES")

    assert rates == []
    assert message in str(problems[0])


def test_nothing_is_nothing():
    assert parse_short_form("  ", "VOICE_COST_PRICES") == ([], [])
