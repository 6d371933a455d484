"""A price sheet is read whatever stands in it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_voice_cost import Component, Mode, PriceCatalog, Unit, Usage
from otel_voice_cost.cost import cost_of
from otel_voice_cost.prices.sheet import parse_sheet

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
WORDS = [
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
    """Sound entries are kept, every other is a problem; what was kept costs no less than nothing."""
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
        cost = cost_of(usage, catalog.card_for(usage))
        assert cost.usd is None or cost.usd >= 0
        assert isinstance(catalog.explain(usage), list)


@given(st.text(max_size=60))
@pytest.mark.parametrize("prefix", ["", "{", '"a/b".stt = ', "[[rate]]\n", "[discount]\n"])
def test_no_text_raises(prefix, text):
    parse_sheet(prefix + text, "x")
