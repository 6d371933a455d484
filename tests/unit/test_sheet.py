"""Any price sheet can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_voice_cost import Component, Mode, PriceCatalog, Unit, Usage
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.prices.price_sheet import parse_sheet

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
WORDS = [
    "list_prices",
    *("rate", "discount", "markup", "name", "alias", "plan", "addon", "currency", "provider", "a/b", "*/*", "a/*"),
    *("stt", "llm", "tts", "price", "since", "until", "mode", "percent", "input", "model", "component", "unit", "usd"),
]
TEXTS = [
    "free",
    "1/min",
    "3 INR/1k characters",
    "20%",
    "2026-01-01",
    "a",
    "a/b",
    "a/*",
    "*",
    "streaming",
    "stt",
    "batch",
    "",
]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(TEXTS),
    st.sampled_from(["1e999999", "-1", "0", "NaN", "9" * 99, "1e-999999"]),
)
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=6))
@example({"currency": {"INR": "1e999999"}, "a/b": {"tts": "3 INR/1k characters"}})
@example({"currency": {"INR": "1e-999999"}, "a/b": {"tts": "3 INR/1k characters"}})
def test_no_document_raises(document):
    """Valid entries are kept, every other is a problem; no kept price is negative."""
    sheet = parse_sheet(json.dumps(document), "x")
    catalog = PriceCatalog([]).with_sheet(sheet)

    for component in ("stt", "tts"):
        usage = Usage(
            component=Component(component),
            provider="a",
            model="b",
            quantities={Unit.AUDIO_SECOND: Decimal(1), Unit.CHARACTER: Decimal(1)},
            at=AT,
            mode=Mode.BATCH,
        )
        cost = calculate_cost(usage, catalog.card_for(usage))
        assert cost.usd is None or cost.usd >= 0
        assert isinstance(catalog.explain(usage), list)


@given(st.text(max_size=60))
@pytest.mark.parametrize("prefix", ["", "{", '"a/b".stt = ', "[[rate]]\n", "[discount]\n"])
def test_no_text_raises(prefix, text):
    parse_sheet(prefix + text, "x")


PRICE = '"deepgram/nova-3".stt = "0.0043/min"'


@pytest.mark.parametrize("text", [PRICE, '{"deepgram/nova-3": {"stt": "0.0043/min"}}', f"# prices\r\n{PRICE}"])
def test_a_byte_order_mark_is_skipped(text):
    """Editors on Windows write one."""
    assert parse_sheet("\ufeff" + text, "x") == parse_sheet(text, "x")
    assert [str(rate.usd) for rate in parse_sheet("\ufeff" + text, "x").rates] == ["0.0043"]


def test_a_byte_order_mark_alone_is_an_empty_sheet():
    assert parse_sheet("\ufeff \n", "x").problems == ()


RATE = {"provider": "acme", "model": "voice-1", "component": "tts", "unit": "character", "usd": 1}


def problems_of(*rates, **document) -> list[str]:
    sheet = parse_sheet(json.dumps({"rate": [{**RATE, **rate} for rate in rates], **document}), "prices.toml")
    assert len(sheet.rates) >= len(rates)
    return list(map(str, sheet.problems))


def test_a_duplicate_price_is_reported_and_the_first_holds():
    document = {"rate": [RATE, {**RATE, "usd": 2}, {**RATE, "model": "voice-2"}]}
    sheet = parse_sheet(json.dumps(document), "prices.toml")
    catalog = PriceCatalog([]).with_sheet(sheet)

    assert [str(problem) for problem in sheet.problems] == [
        "prices.toml, rate 2 (voice-1): got a second price of 'voice-1', 2 USD per 1 character, "
        "expected one for a unit and its days; prices.toml, rate 1 (voice-1) has 1 USD per 1 character"
    ]
    for model in ("voice-1", "voice-2"):
        assert catalog.rate_for(provider="acme", model=model, component="tts", unit="character").usd == 1


@pytest.mark.parametrize(
    ("rates", "document", "message"),
    [
        ([{}, {}], {}, "rate 2 (voice-1): got a second price of 'voice-1'"),
        ([{}, {"model": "VOICE-1", "provider": "Acme"}], {}, "rate 2 (VOICE-1): got a second price of 'voice-1'"),
        ([{"model": ["a", "b", "c"]}, {"model": ["d", "b", "c"]}], {}, "got a second price of 'b' and 1 more, 1 USD"),
        ([{"model": "v*"}, {"model": ["v*", "w"]}], {}, "got a second price of 'v*'"),
        ([{"since": "2026-01-01"}] * 2, {}, "got a second price"),
        ([{"addon": "x"}, {"addon": "X"}], {}, "got a second price"),
        ([{}, {"fallback": True}], {}, "got a second price"),
        (
            [{}],
            {"acme/voice-1": {"tts": "3/1M characters"}},
            "acme/voice-1.tts: got a second price of 'voice-1', 3 USD",
        ),
        ([], {"a/b": {"stt": ["1/min", "2/min"]}}, "a/b.stt: got a second price of 'b', 2 USD per 60 audio_second"),
        ([], {"a/b": {"stt": ["free", {"input_text": "1/1M tokens"}]}}, "a/b.stt: got a second price of 'b', 1 USD"),
        ([], {"a/b": {"stt": "1/min"}, "A/b": {"stt": "2/hour"}}, "A/b.stt: got a second price of 'b', 2 USD per 3600"),
    ],
)
def test_each_duplicate_price_is_reported(rates, document, message):
    (problem,) = problems_of(*rates, **document)

    assert message in problem


@pytest.mark.parametrize(
    "other",
    [
        {"since": "2026-01-01"},
        {"until": "2026-01-01"},
        {"mode": "batch"},
        {"plan": "pro"},
        {"addon": "effects"},
        {"unit": "audio_second"},
        {"component": "stt", "unit": "audio_second"},
        {"provider": "other"},
        {"model": "voice-*"},
        {"model": "*"},
        {"model": "eu:voice-1"},
    ],
)
def test_prices_for_different_conditions_are_not_duplicates(other):
    assert problems_of({}, other) == []


def test_an_id_that_one_entry_repeats_is_not_a_mistake():
    assert problems_of({"model": ["a", "a"]}) == []


def test_a_custom_price_over_a_shipped_one_is_not_a_mistake():
    catalog = PriceCatalog.default().with_prices({"deepgram/nova-3": {"stt": "1/min"}})

    assert catalog.with_prices({"deepgram/nova-3": {"stt": "2/min"}}).rate_for(
        provider="deepgram", model="nova-3", component="stt", unit="audio_second"
    ).usd == Decimal(2)


DEEP = ".".join("a" * 17)


@pytest.mark.parametrize(
    "text",
    [
        f"{DEEP} = 1",
        f"x = 1\n\n[{DEEP}]",
        f"[[ {DEEP} ]]",
        f"x = {{ {DEEP} = 1 }}",
        " . ".join(["'a'"] * 17) + " = 1",
        ".".join(['"a.\\"b"'] * 17) + " = 1",
        f'x = """\n\' """\n{DEEP} = 1',
        f"x = '''\n\" '''\n{DEEP} = 1",
        f'x = """a"""""\n{DEEP} = 1',
    ],
)
def test_a_key_with_too_many_parts_is_rejected_before_parsing(text):
    (problem,) = parse_sheet(text, "x").problems

    assert "got a dotted key of more than 16 parts in line" in str(problem)


def test_a_key_of_80_kilobytes_is_rejected_at_once():
    """`tomllib` takes more than 30 s for it."""
    code = """
from otel_voice_cost.prices.price_sheet import parse_sheet
for text in (".".join("a" * 40_000) + " = 1", "x = 1\\n[" + "a." * 1_900_000 + "a]", "a . " * 900_000 + "a = 1"):
    (problem,) = parse_sheet(text, "x").problems
    assert "a dotted key of more than 16 parts" in str(problem), problem
"""

    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 16) + " = 1",
        f"# {DEEP}\n{PRICE}",
        f'"a/{DEEP}".stt = "1/min"',
        f"'a/{DEEP}'.stt = \"{DEEP}\"",
        'source = """\n' + DEEP + '\n"""\n' + PRICE,
        "[alias]\n" + "\n".join(f'"a/{n}.{n}" = "b/{n}.{n}"' for n in range(30)),
        "[[rate]]\nmodel = [" + ", ".join(f'"m-{n}.0"' for n in range(1_000)) + "]",
        "x = [" + ", ".join(f"{n}.5" for n in range(1_000)) + "]",
    ],
)
def test_dots_elsewhere_are_not_a_mistake(text):
    assert not any("parts" in str(problem) for problem in parse_sheet(text, "x").problems)


@pytest.mark.parametrize(
    "value",
    [
        "sk-lf-123",
        "pk_live_1",
        "Bearer abcdefghijklmnopq",
        "AKIA1234567890ABCDEFG",
        "1234abcd" * 3,
        "https://u:pw@host/x",
    ],
)
def test_a_message_quotes_no_secret(value):
    sheet = parse_sheet(json.dumps({"a/b": {"stt": value}, "discount": {value: value}, f"{value}/x": 1}), "x")

    assert len(sheet.problems) == 3
    for problem in sheet.problems:
        assert value not in str(problem)
        assert "***" in str(problem)


@pytest.mark.parametrize(
    "value",
    [
        "cheap",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "gpt-4.1-mini-2025-04-14",
        "9" * 40,
        "risk-model",
        "a basic plan",
    ],
)
def test_a_message_quotes_everything_else(value):
    (problem,) = parse_sheet(json.dumps({"a/b": {"stt": value}}), "x").problems

    assert problem.value == repr(value)[:60]


@pytest.mark.parametrize("value", ["1e" + "9" * 20, "9" * 5_000, "[" * 200 + "]" * 200])
def test_a_number_out_of_range_is_a_problem(value):
    text = json.dumps({"rate": [{**RATE, "usd": "VALUE"}]}).replace('"VALUE"', value)

    assert len(parse_sheet(text, "x").problems) == 1
