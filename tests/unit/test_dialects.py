"""Attributes for each backend."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from otel_voice_cost import Component, Cost, Mode, Rate, SessionCost, Settings, Unit, Usage, VoiceCostSpanProcessor
from otel_voice_cost.bill import Bill, TraceCost
from otel_voice_cost.cost import CostLine
from otel_voice_cost.export.attributes import OwnAttributes
from otel_voice_cost.export.dialects import DialectChain, Options, SpanView, find_builders, resolve_dialects
from otel_voice_cost.sources.livekit import LiveKitSource
from otel_voice_cost.sources.livekit.spans import SPAN_RULES

from ..conftest import AT, llm_metrics
from ..langfuse_model import content_of


def heard(seconds: str, usd: str) -> Cost:
    rate = Rate(
        provider="deepgram",
        model=("nova-3",),
        component=Component.STT,
        unit=Unit.AUDIO_SECOND,
        usd=Decimal("0.0048"),
        per=60,
        loaded_from="deepgram.toml",
        source="https://deepgram.com/pricing",
        checked=AT.date(),
        display_name="Nova",
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
    return Cost(usage=usage, usd=Decimal(usd), lines=(line,), rate_source=rate.source, display_name="Nova")


def written(cost: Cost, *names: str, name: str = "user_turn", options: Options | None = None, **attributes):
    return chain(*names, options=options).cost_attributes(cost, view(name, attributes))


def chain(*names: str, options: Options | None = None) -> DialectChain:
    options = options or Options()
    return DialectChain(names, options, OwnAttributes(options))


def view(name: str, attributes) -> SpanView:
    rule = SPAN_RULES[name]
    return SpanView(attributes, rule.role, rule.component, None, LiveKitSource().texts)


def test_own_attributes_explain_the_cost():
    assert written(heard("5.05", "0.000404")) == {
        "voice_cost.component": "stt",
        "voice_cost.provider": "deepgram",
        "voice_cost.model": "nova-3",
        "voice_cost.mode": "streaming",
        "voice_cost.quantity.audio_second": 5.05,
        "voice_cost.usd": "0.000404",
        "voice_cost.rate": "0.0048 USD per 60 audio_second",
        "voice_cost.estimated": False,
        "voice_cost.rate_source": "deepgram.toml https://deepgram.com/pricing 2026-11-23",
    }


def test_a_revision_is_on_costs_and_on_missing_ones():
    missing = Cost(usage=heard("1", "0").usage, usd=None, unpriced_reason="no rate")

    for cost in (heard("5.05", "0.000404"), missing):
        assert "voice_cost.revision" not in written(cost)
        got = written(cost, options=Options(revision="2026.11.1"))
        assert got == written(cost) | {"voice_cost.revision": "2026.11.1"}


def test_genai_writes_missing_attributes_and_the_cost_as_a_double():
    got = written(heard("5.05", "0.000404"), "genai", **{"gen_ai.request.model": "whisper"})

    assert {key: value for key, value in got.items() if key.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "speech_to_text",
        "gen_ai.provider.name": "deepgram",
        "gen_ai.response.model": "nova-3",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cost": 0.000404,
    }


def test_speech_is_not_written_as_tokens_if_disabled():
    got = written(heard("5.05", "0.000404"), "genai", options=Options(speech_as_tokens=False))

    assert "gen_ai.usage.input_tokens" not in got


def test_langfuse_gets_whole_seconds_and_disjoint_buckets():
    """A fraction of a unit would be dropped with its key."""
    got = written(heard("5.0504", "0.00040403"), "langfuse")

    assert got["langfuse.observation.type"] == "generation"
    assert got["langfuse.observation.model.name"] == "Nova"
    assert got["langfuse.observation.usage_details"] == '{"input_audio_seconds": 5, "total": 5}'
    assert got["langfuse.observation.cost_details"] == '{"input_audio_seconds": 0.00040403, "total": 0.00040403}'
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


def test_realtime_buckets_have_langfuses_names(end_realtime_span):
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
    from otel_voice_cost.export.dialects.langfuse import _BUCKETS  # noqa: PLC0415  # the table is the rule under test

    assert set(_BUCKETS) == set(Unit)
    assert all(("input" in name) != ("output" in name) for name in _BUCKETS.values())


def test_a_failed_request_stays_a_generation(end_span):
    metrics = llm_metrics(prompt_tokens=0, completion_tokens=0, total_tokens=0)
    span = end_span("llm_request", {"lk.llm_metrics": json.dumps(metrics), "gen_ai.request.model": "gpt-4.1-mini"})

    assert span.attributes["langfuse.observation.cost_details"] == '{"total": 0}'
    assert "langfuse.observation.type" not in span.attributes


def test_only_chosen_dialects_are_written(price_catalog, exporter):
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
    assert find_builders().keys() == {
        *("genai", "langfuse", "langsmith", "langwatch", "logfire", "mlflow"),
        *("openinference", "posthog", "sentry", "signoz"),
    }


def answered(usd: str = "0.0001136") -> Cost:
    """A language model's request: 172 fresh, 128 cached, 8 out and 12 reasoning tokens."""
    prices = {
        Unit.INPUT_TOKEN: ("172", "0.0000688"),
        Unit.CACHED_INPUT_TOKEN: ("128", "0.0000128"),
        Unit.OUTPUT_TOKEN: ("8", "0.0000128"),
        Unit.REASONING_TOKEN: ("12", "0.0000192"),
    }
    usage = Usage(
        component=Component.LLM,
        provider="openai",
        model="gpt-4.1-mini",
        quantities={unit: Decimal(amount) for unit, (amount, _) in prices.items()},
        at=AT,
    )
    lines = tuple(
        CostLine(
            unit=unit,
            amount=Decimal(amount),
            rate=Rate(
                provider="openai",
                model=("gpt-4.1-mini",),
                component=Component.LLM,
                unit=unit,
                usd=Decimal(1),
                loaded_from="x",
            ),
            usd=Decimal(cost),
            list_usd=Decimal(cost),
        )
        for unit, (amount, cost) in prices.items()
    )
    return Cost(usage=usage, usd=Decimal(usd), lines=lines)


def beside_ours(attributes):
    return {key: value for key, value in attributes.items() if not key.startswith("voice_cost.")}


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("logfire", {"operation.cost": 0.0001136}),
        (
            "posthog",
            {"$ai_total_cost_usd": 0.0001136, "$ai_input_cost_usd": 0.0000816, "$ai_output_cost_usd": 0.000032},
        ),
        (
            "sentry",
            {
                "gen_ai.cost.total_tokens": 0.0001136,
                "gen_ai.cost.input_tokens": 0.0000816,
                "gen_ai.cost.output_tokens": 0.000032,
            },
        ),
        (
            "signoz",
            {
                "_signoz.gen_ai.total_cost": 0.0001136,
                "_signoz.gen_ai.input_cost": 0.0000816,
                "_signoz.gen_ai.output_cost": 0.000032,
            },
        ),
        (
            "mlflow",
            {"mlflow.llm.cost": '{"input_cost": 8.16e-05, "output_cost": 3.2e-05, "total_cost": 0.0001136}'},
        ),
        (
            "langsmith",
            {
                "langsmith.span.kind": "llm",
                "langsmith.usage_metadata": '{"input_tokens": 300, "output_tokens": 20, "total_tokens": 320, '
                '"input_cost": 8.16e-05, "output_cost": 3.2e-05, "total_cost": 0.0001136}',
            },
        ),
        ("langwatch", {"langwatch.metrics": '{"cost": 0.0001136}'}),
        (
            "openinference",
            {
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4.1-mini",
                "llm.provider": "openai",
                "llm.token_count.prompt": 300,
                "llm.token_count.completion": 20,
                "llm.token_count.total": 320,
                "llm.token_count.prompt_details.cache_read": 128,
                "llm.token_count.completion_details.reasoning": 12,
                "llm.cost.total": 0.0001136,
                "llm.cost.prompt": 0.0000816,
                "llm.cost.completion": 0.000032,
                "llm.cost.prompt_details.cache_read": 0.0000128,
                "llm.cost.completion_details.reasoning": 0.0000192,
            },
        ),
    ],
)
def test_each_backend_gets_its_own_attributes(dialect, expected):
    assert beside_ours(written(answered(), dialect, name="llm_request")) == expected


def test_speech_in_the_attributes_of_each_backend():
    """5.05 seconds of audio: all of it is input."""
    cost = heard("5.05", "0.000404")

    assert beside_ours(written(cost, "langwatch")) == {
        "gen_ai.usage.audio_seconds": 5.05,
        "langwatch.metrics": '{"cost": 0.000404}',
    }
    assert json.loads(written(cost, "langsmith")["langsmith.usage_metadata"])["input_tokens"] == 5
    assert written(cost, "openinference")["llm.token_count.prompt"] == 5
    assert written(cost, "posthog")["$ai_output_cost_usd"] == 0


@pytest.mark.parametrize("dialect", sorted(find_builders()))
def test_an_unknown_price_is_zero_in_no_dialect(dialect):
    unknown = Cost(usage=answered().usage, usd=None, unpriced_reason="no llm rate for openai/gpt-9")
    attributes = written(unknown, dialect, name="llm_request")

    assert [key for key in attributes if "cost" in key.removeprefix("voice_cost.")] == []
    assert "cost" not in str(attributes.get("langsmith.usage_metadata", ""))


@pytest.mark.parametrize("dialect", sorted(find_builders()))
def test_a_cost_without_parts_is_written_as_a_whole(dialect):
    """The span carries it, from a gateway."""
    whole = Cost(usage=answered().usage, usd=Decimal("0.5"), rate_source="span")
    attributes = written(whole, dialect, name="llm_request")

    assert any("0.5" in str(value) for key, value in attributes.items() if not key.startswith("voice_cost."))


def test_an_unknown_dialect_is_a_problem_and_the_others_are_used():
    names, (problem,) = resolve_dialects(("genai", "semconv", "langfuse"))

    assert names == ("genai", "langfuse")
    assert "got 'semconv', expected one of genai, langfuse, langsmith" in str(problem)


def test_langfuse_token_sums_exclude_speech_if_disabled():
    got = written(heard("5.05", "0.000404"), "langfuse", options=Options(speech_as_tokens=False))

    assert got["langfuse.observation.usage_details"] == "{}"
    assert got["langfuse.observation.metadata.input_audio_seconds"] == 5
    assert json.loads(got["langfuse.observation.cost_details"])["total"] == 0.000404
    tokens = written(answered(), "langfuse", name="llm_request", options=Options(speech_as_tokens=False))
    assert json.loads(tokens["langfuse.observation.usage_details"])["total"] == 320


@pytest.mark.parametrize(("seconds", "shown"), [("0.2", 1), ("0.5", 1), ("1.49", 1), ("1.5", 2), ("3600", 3600)])
def test_langfuse_gets_at_least_one_second_of_any_speech(seconds, shown):
    """Usage of zero would look like a cost without usage."""
    got = written(heard(seconds, "0.1"), "langfuse")["langfuse.observation.usage_details"]

    assert json.loads(got) == {"input_audio_seconds": shown, "total": shown}


def test_content_that_langfuse_shows_by_itself_stays():
    """With one of langfuse.observation.input and output, Langfuse ignores all other names of content."""
    options = Options(langfuse_content=True)
    for attributes in ({"input": "asked", "output": "answered"}, {"gen_ai.input.messages": "asked"}):
        got = {**attributes, **written(answered(), "langfuse", name="llm_request", options=options, **attributes)}
        assert content_of(got) == (attributes.get("input", "asked"), attributes.get("output"))
    said = {"lk.pii.response.text": "hi", "gen_ai.input.messages": "asked"}
    got = {**said, **chain("langfuse", options=options).wrapper_attributes(view("agent_turn", said))}
    assert content_of(got) == ("asked", None)


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("user_turn", {"lk.pii.user_transcript": "hello"}, {"langfuse.observation.output": "hello"}),
        ("user_turn", {"lk.user_transcript": "hello"}, {"langfuse.observation.output": "hello"}),
        ("tts_request", {"lk.pii.input_text": "hi"}, {"langfuse.observation.input": "hi"}),
        ("realtime_inference", {"lk.pii.response.text": "hi"}, {"langfuse.observation.output": "hi"}),
        ("tts_request", {"lk.pii.input_text": "hi", "langfuse.observation.input": "set"}, {}),
        ("tts_request", {}, {}),
        (
            "agent_turn",
            {"lk.pii.user_input": "hello", "lk.pii.response.text": "hi"},
            {"langfuse.observation.input": "hello", "langfuse.observation.output": "hi"},
        ),
    ],
)
def test_conversation_text_is_shown_only_if_enabled(name, attributes, expected):
    """Since 1.7 LiveKit writes names that Langfuse does not read; content removed by its filter stays removed."""

    def content(options):
        if name == "agent_turn":
            got = chain("langfuse", options=options).wrapper_attributes(view(name, attributes))
        else:
            got = written(heard("1", "0.1"), "langfuse", name=name, options=options, **attributes)
        return {key: value for key, value in got.items() if key.endswith((".input", ".output"))}

    assert content(Options(langfuse_content=True)) == expected
    assert content(Options()) == {}


def test_a_list_of_traces_can_be_filtered_by_what_a_call_cost():
    bill = Bill()
    bill.add(heard("60", "0.01"))
    bill.add(Cost(usage=heard("1", "0").usage, usd=None, unpriced_reason="no rate"))
    record = SessionCost(
        session_id="s", trace_id="t", span_id="p", agent=None, started_at=AT, seconds=Decimal(30), ended=True,
        parts=bill.parts(), turns=(),
    )  # fmt: skip

    assert beside_ours(chain("langfuse").session_attributes(record, TraceCost().plus(record))) == {
        "langfuse.trace.metadata.voice_cost_usd": 0.01,
        "langfuse.trace.metadata.voice_cost_stt_usd": 0.01,
        "langfuse.trace.metadata.voice_cost_unpriced": 1,
        "langfuse.trace.metadata.voice_cost_usd_per_minute": 0.02,
    }
