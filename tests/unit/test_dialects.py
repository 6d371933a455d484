"""What each backend is told."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from otel_voice_cost import Component, Cost, Mode, Rate, Settings, Unit, Usage, VoiceCostSpanProcessor
from otel_voice_cost.cost import CostLine
from otel_voice_cost.dialects import Dialects, SpanFacts, available_dialects

from ..conftest import AT, llm_metrics


def heard(seconds: str, usd: str) -> Cost:
    rate = Rate(
        provider="deepgram",
        model=("nova-3",),
        component=Component.STT,
        unit=Unit.AUDIO_SECOND,
        usd=Decimal("0.0048"),
        per=60,
        origin="deepgram.toml",
        source="https://deepgram.com/pricing",
        checked=AT.date(),
        name="Nova",
    )
    line = CostLine(unit=Unit.AUDIO_SECOND, amount=Decimal(seconds), rate=rate, usd=Decimal(usd), list_usd=Decimal(usd))
    usage = Usage(
        component=Component.STT,
        provider="deepgram",
        model="nova-3",
        quantities={Unit.AUDIO_SECOND: Decimal(seconds)},
        at=AT,
        mode=Mode.STREAMING,
    )
    return Cost(usage=usage, usd=Decimal(usd), lines=(line,), rate_source=rate.source, name="Nova")


def written(cost: Cost, *names: str, name: str = "user_turn", speech_as_tokens: bool = True, **attributes):
    dialects = Dialects(names, speech_as_tokens=speech_as_tokens)
    return dialects.cost_attributes(cost, SpanFacts(name=name, attributes=attributes, is_error=False))


def test_our_own_attributes_explain_the_cost():
    assert written(heard("5.05", "0.000404")) == {
        "voice_cost.component": "stt",
        "voice_cost.quantity.audio_second": 5.05,
        "voice_cost.usd": "0.000404",
        "voice_cost.rate": "0.0048 USD per 60 audio_second",
        "voice_cost.estimated": False,
        "voice_cost.rate_source": "deepgram.toml https://deepgram.com/pricing 2026-11-23",
    }


def test_genai_writes_what_is_missing_and_the_cost_as_a_double():
    got = written(heard("5.05", "0.000404"), "genai", **{"gen_ai.request.model": "whisper"})

    assert {key: value for key, value in got.items() if key.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "speech_to_text",
        "gen_ai.provider.name": "deepgram",
        "gen_ai.response.model": "nova-3",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 505,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cost": 0.000404,
    }


def test_speech_is_not_written_as_tokens_where_that_is_off():
    got = written(heard("5.05", "0.000404"), "genai", speech_as_tokens=False)

    assert "gen_ai.usage.input_tokens" not in got


def test_langfuse_gets_whole_milliseconds_and_disjoint_buckets():
    """A fraction of a unit would be dropped with its key."""
    got = written(heard("5.0504", "0.00040403"), "langfuse")

    assert got["langfuse.observation.type"] == "generation"
    assert got["langfuse.observation.model.name"] == "Nova"
    assert got["langfuse.observation.usage_details"] == '{"input_audio_milliseconds": 5050, "total": 5050}'
    assert got["langfuse.observation.cost_details"] == '{"input_audio_milliseconds": 0.00040403, "total": 0.00040403}'
    assert "langfuse.observation.level" not in got


@pytest.mark.parametrize(
    ("usd", "stored"),
    [
        ("0.0005646666666666665", "0.000564666667"),  # Langfuse cuts after 12 places instead of rounding
        ("0.0000000000005", "0.000000000001"),
        ("0.00000000000049", "0"),
        ("1234.5", "1234.5"),
        ("100", "100"),
    ],
)
def test_langfuse_costs_are_rounded_half_up_to_twelve_places(usd, stored):
    got = written(heard("1", usd), "langfuse")["langfuse.observation.cost_details"]

    assert json.loads(got, parse_float=Decimal, parse_int=Decimal)["total"] == Decimal(stored)
    assert "E" not in got


def test_langfuse_shows_a_billed_speech_request_that_it_hides_by_default(end_tts_span):
    assert end_tts_span().attributes["langfuse.observation.level"] == "DEFAULT"


def test_language_model_buckets_do_not_overlap(end_llm_span):
    """300 input tokens of which 128 cached, 20 output tokens of which 12 reasoning."""
    span = end_llm_span(prompt_cached_tokens=128, reasoning_tokens=12)

    assert json.loads(span.attributes["langfuse.observation.usage_details"]) == {
        "input": 172,
        "input_cached_tokens": 128,
        "output": 8,
        "output_reasoning_tokens": 12,
        "total": 320,
    }
    assert json.loads(span.attributes["langfuse.observation.cost_details"]) == {
        "input": 0.0000688,
        "input_cached_tokens": 0.0000128,
        "output": 0.0000128,
        "output_reasoning_tokens": 0.0000192,
        "total": 0.0001136,
    }
    assert span.attributes["gen_ai.usage.input_tokens"] == 300
    assert span.attributes["gen_ai.usage.output_tokens"] == 20


def test_realtime_buckets_have_langfuses_own_names(end_realtime_span):
    details = end_realtime_span().attributes["langfuse.observation.usage_details"]

    assert json.loads(details) == {
        "input_text_tokens": 40,
        "input_cached_text_tokens": 64,
        "input_audio_tokens": 104,
        "input_cached_audio_tokens": 96,
        "output_text_tokens": 20,
        "output_audio_tokens": 80,
        "total": 404,
    }


def test_every_bucket_names_exactly_one_direction():
    """Langfuse's pages sum by the substrings "input" and "output"."""
    from otel_voice_cost.dialects.langfuse import _BUCKETS  # noqa: PLC0415  # the table is the rule under test

    assert set(_BUCKETS) == set(Unit)
    assert all(("input" in name) != ("output" in name) for name in _BUCKETS.values())


def test_a_failed_request_stays_a_generation(end_span):
    metrics = llm_metrics(prompt_tokens=0, completion_tokens=0, total_tokens=0)
    span = end_span("llm_request", {"lk.llm_metrics": json.dumps(metrics), "gen_ai.request.model": "gpt-4.1-mini"})

    assert span.attributes["langfuse.observation.cost_details"] == '{"total": 0}'
    assert "langfuse.observation.type" not in span.attributes


def test_a_chosen_dialect_alone_is_written(price_catalog, exporter):
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    settings = Settings(dialects=("genai",))
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, settings=settings))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"lk.llm_metrics": json.dumps(llm_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("llm_request", attributes=attributes):
        pass

    written = exporter.get_finished_spans()[0].attributes
    assert "gen_ai.usage.cost" in written
    assert not any(key.startswith("langfuse.") for key in written)


def test_the_dialects_that_ship():
    assert available_dialects() == {"genai", "langfuse"}
