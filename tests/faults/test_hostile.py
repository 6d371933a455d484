"""Any attributes, any JSON, any objects: nothing raises, nothing is priced wrongly."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_voice_cost.sources.livekit.spans import METRICS_KEYS, SPAN_RULES

from .properties import KEYS, METRICS, check_prices, check_report, check_span, pipeline

FIELDS = sorted({field for metrics in METRICS.values() for field in metrics})
HUGE = [10**15, 10**30, -1, 2**63, 1e308, 5e-324, float("nan"), float("inf"), "9" * 5_000, "\ud800", "\x00", "a" * 300]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 10_000),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(HUGE),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=8,
)
cuts = st.one_of(st.none(), st.integers(0, 300))


@st.composite
def metrics_texts(draw, kind):
    """Metrics as JSON: with fields replaced or removed, and truncated."""
    fields = {**METRICS[kind], **draw(st.dictionaries(st.sampled_from(sorted(METRICS[kind])), values, max_size=4))}
    for gone in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
        del fields[gone]
    return json.dumps(fields)[: draw(cuts)]


attributes = st.dictionaries(
    st.one_of(
        st.sampled_from([*METRICS_KEYS, "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"]),
        st.sampled_from(["gen_ai.usage.cost", "gen_ai.request.model", "gen_ai.provider.name", "lk.pii.input_text"]),
        st.text(min_size=1, max_size=9),
    ),
    st.one_of(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans()),
    max_size=6,
)


@pytest.mark.parametrize("kind", KEYS)
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_metrics_on_a_span(kind, data):
    name, key = KEYS[kind]

    check_span(name, {key: data.draw(metrics_texts(kind))})


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.sampled_from([name for name in SPAN_RULES if name != "agent_session"]), st.text(max_size=9)),
    attributes,
)
@example("llm_request", {"gen_ai.usage.cost": 1e308})
@example("llm_request", {"gen_ai.usage.input_tokens": 5, "gen_ai.request.model": "\ud800"})
def test_any_attributes_on_any_span(name, attributes):
    check_span(name, attributes)


@pytest.mark.parametrize("kind", METRICS)
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_report(kind, data):
    check_report(data.draw(metrics_texts(kind)), METRICS[kind]["type"])


@pytest.mark.parametrize(
    "text", ["1e999999999", "9" * 5_000, "[" * 50_000, '"' + "a" * 1_000_000 + '"', "-0", "1E-999"]
)
@pytest.mark.parametrize("field", ["characters_count", "audio_duration", "timestamp", "label", "metadata"])
def test_very_long_numbers_and_texts(field, text):
    whole = json.dumps({**METRICS["tts"], field: "HERE"}).replace('"HERE"', text)

    check_span("tts_request", {"lk.tts_metrics": whole})
    check_report(whole, "tts_metrics")


class Cyclic:
    """A metrics object that cannot be converted to JSON, because of a cycle."""

    type = "stt_metrics"
    label = "x"

    def model_dump_json(self):
        return json.dumps(_cycle())


def _cycle():
    ring = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize("metrics", [Cyclic(), None, "text", 7, object(), {"type": "stt_metrics"}])
def test_a_report_that_is_not_a_metrics_object(metrics):
    from otel_voice_cost.testing.components import ScriptedSTT  # noqa: PLC0415  # needs LiveKit

    held = pipeline()
    ScriptedSTT([]).emit("metrics_collected", metrics)

    assert held.take()[1] in ([], ["ValueError"])


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(max_size=80), st.dictionaries(st.text(max_size=8), values, max_size=4).map(json.dumps)))
def test_any_price_sheet(text):
    check_prices(text)
