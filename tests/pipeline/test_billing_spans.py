"""Spans that bill: money worked out by hand."""

from __future__ import annotations

import json

import pytest

from ..conftest import llm_metrics, realtime_metrics, tts_metrics, usd


def test_language_model_is_billed_per_token(end_llm_span):
    """300 input tokens at $0.40 and 20 output tokens at $1.60 a million cost $0.000152."""
    span = end_llm_span()

    assert span.attributes["voice_cost.usd"] == "0.000152"
    assert span.attributes["gen_ai.usage.cost"] == 0.000152


def test_cached_tokens_are_not_also_counted_as_input(end_llm_span):
    """172 fresh at $0.40, 128 cached at $0.10, 20 out at $1.60 a million."""
    span = end_llm_span(prompt_cached_tokens=128)

    assert str(usd(span)) == "0.0001136"
    assert span.attributes["voice_cost.quantity.input_token"] == 172
    assert span.attributes["voice_cost.quantity.cached_input_token"] == 128


def test_cache_writes_are_priced_as_input_if_they_have_no_price(end_llm_span):
    """200 fresh and 100 written at $0.40, 20 out at $1.60 a million: $0.000152."""
    span = end_llm_span(cache_creation_tokens=100)

    assert str(usd(span)) == "0.000152"
    assert span.attributes["voice_cost.quantity.cache_write_token"] == 100
    assert span.attributes["voice_cost.quantity.input_token"] == 200


def test_reasoning_tokens_are_priced_as_output_once(end_llm_span):
    """LiveKit counts reasoning within completion: 20 output tokens in all, 12 of them reasoning."""
    span = end_llm_span(reasoning_tokens=12)

    assert str(usd(span)) == "0.000152"
    assert span.attributes["voice_cost.quantity.output_token"] == 8
    assert span.attributes["voice_cost.quantity.reasoning_token"] == 12


def test_thinking_tokens_that_google_leaves_out_are_counted(end_llm_span):
    """livekit-plugins-google counts thinking only in the total."""
    span = end_llm_span(total_tokens=400, metadata={"model_name": "gemini-x", "model_provider": "Gemini"})

    assert span.attributes["voice_cost.quantity.reasoning_token"] == 80


def test_speech_is_billed_per_character(end_tts_span):
    """180 characters at $50 a million cost $0.009."""
    span = end_tts_span()

    assert span.attributes["voice_cost.usd"] == "0.009"
    assert span.attributes["voice_cost.quantity.character"] == 180
    assert "voice_cost.quantity.audio_second" not in span.attributes


@pytest.mark.parametrize("name", ["realtime_inference", "realtime_metrics", "agent_turn", "realtime_assistant_turn"])
def test_realtime_modalities_are_kept_apart(end_realtime_span, name):
    """40 text at $4, 64 cached text at $0.40, 104 audio at $32, 96 cached audio at $0.40, 20 text out at
    $16, 80 audio out at $64, all a million: 160 + 25.6 + 3328 + 38.4 + 320 + 5120 = 8992 millionths.
    """
    span = end_realtime_span(name)

    assert str(usd(span)) == "0.008992"
    assert span.attributes["voice_cost.quantity.input_audio_token"] == 104
    assert span.attributes["voice_cost.quantity.cached_input_audio_token"] == 96


def test_realtime_connection_time_is_billed_if_it_has_a_price(end_realtime_span):
    """90 seconds at $0.08 a minute cost $0.12."""
    span = end_realtime_span(
        session_duration=90.0,
        input_tokens=0,
        output_tokens=0,
        total_tokens=0,
        input_token_details={},
        output_token_details={},
        metadata={"model_name": "grok-voice", "model_provider": "api.x.ai"},
    )

    assert str(usd(span)) == "0.12"


def test_unknown_model_gets_no_cost_rather_than_zero(end_tts_span):
    span = end_tts_span(metadata={"model_name": "sonic-99", "model_provider": "Cartesia"})

    assert span.attributes["voice_cost.unpriced"] == "no tts rate for cartesia/sonic-99"
    assert "voice_cost.usd" not in span.attributes
    assert "gen_ai.usage.cost" not in span.attributes
    assert "langfuse.observation.cost_details" not in span.attributes
    assert span.attributes["voice_cost.quantity.character"] == 180


def test_a_request_cut_off_before_its_usage_report_has_a_reason(end_llm_span):
    """LiveKit reports zero tokens for a cancelled request; the vendor bills some."""
    span = end_llm_span(cancelled=True, prompt_tokens=0, completion_tokens=0, total_tokens=0)

    assert span.attributes["voice_cost.unpriced"] == "LiveKit reported no usage for this request"
    assert "voice_cost.usd" not in span.attributes


def test_a_cost_on_the_span_takes_precedence(end_span):
    """A gateway knows its price; its cost is counted unchanged."""
    span = end_span("llm_request", {"lk.llm_metrics": json.dumps(llm_metrics()), "gen_ai.usage.cost": 0.5})

    assert span.attributes["gen_ai.usage.cost"] == 0.5
    assert span.attributes["voice_cost.usd"] == "0.5"
    assert span.attributes["voice_cost.rate_source"] == "span"


def test_usage_without_metrics_json_is_read_from_the_genai_attributes(end_span):
    """decision_model.evaluate, livekit-agents 1.8.8: 300 in and 20 out, $0.000152."""
    span = end_span(
        "decision_model.evaluate",
        {
            "gen_ai.usage.input_tokens": 300,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.request.model": "gpt-4.1-mini",
            "gen_ai.provider.name": "openai",
        },
    )

    assert str(usd(span)) == "0.000152"


def test_a_custom_llm_node_is_priced_by_its_own_usage(end_span):
    """It names no model, so there is no price; the usage is not lost."""
    span = end_span("llm_node", {"gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 20})

    assert span.attributes["voice_cost.unpriced"] == "no llm rate for unknown/unknown"
    assert span.attributes["voice_cost.quantity.input_token"] == 300


@pytest.mark.parametrize(
    "name",
    ["llm_node", "tts_node", "llm_request_run", "tts_request_run", "llm_fallback_adapter", "judge_evaluation"],
)
def test_spans_that_repeat_a_model_carry_no_cost(end_span, name):
    span = end_span(name, {"gen_ai.request.model": "gpt-4.1-mini", "gen_ai.provider.name": "openai"})

    assert "gen_ai.usage.cost" not in span.attributes
    assert "voice_cost.usd" not in span.attributes
    assert span.attributes["langfuse.observation.cost_details"] == '{"total": 0}'
    assert span.attributes["langfuse.observation.type"] == "span"


def judge(tracer, *, request_ends):
    usage = {
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.request.model": "gpt-4.1-mini",
        "gen_ai.provider.name": "openai",
    }
    with tracer.start_as_current_span("judge_evaluation", attributes=usage):
        request = tracer.start_span("llm_request", attributes={"lk.llm_metrics": json.dumps(llm_metrics())})
        if request_ends:
            request.end()


@pytest.mark.parametrize("request_ends", [True, False])
def test_a_judge_outside_a_session_is_billed_once(provider, exporter, request_ends):
    """It repeats its request's tokens, and LiveKit never ends that request."""
    judge(provider.get_tracer("livekit-agents"), request_ends=request_ends)

    costs = [span.attributes.get("voice_cost.usd") for span in exporter.get_finished_spans()]
    assert [cost for cost in costs if cost] == ["0.000152"]


def test_a_judge_inside_a_session_leaves_its_usage_to_the_report(provider, exporter):
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"):
        judge(tracer, request_ends=False)

    assert not any("voice_cost.usd" in span.attributes for span in exporter.get_finished_spans())


def test_spans_of_another_scope_are_not_changed(end_span):
    attributes = {"lk.llm_metrics": json.dumps(llm_metrics())}

    assert dict(end_span("llm_request", attributes, scope="somebody").attributes) == attributes


def test_livekit_spans_without_usage_are_not_changed(end_span):
    assert dict(end_span("eou_wait", {"lk.x": 1}).attributes) == {"lk.x": 1}


def test_a_span_of_a_newer_release_is_priced_by_its_metrics(end_span, caplog):
    span = end_span("speech_synthesis", {"lk.tts_metrics": json.dumps(tts_metrics())})
    end_span("speech_synthesis", {"lk.tts_metrics": json.dumps(tts_metrics())})

    (record,) = caplog.records
    assert "speech_synthesis is a span of a newer LiveKit" in record.message

    assert span.attributes["voice_cost.usd"] == "0.009"


def test_attributes_set_by_livekit_stay_unchanged(end_span):
    before = {
        "lk.llm_metrics": json.dumps(llm_metrics()),
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "GPT-4.1-mini",
        "gen_ai.operation.name": "chat",
    }

    after = end_span("llm_request", before).attributes

    assert {key: after[key] for key in before} == before
    assert after["gen_ai.response.model"] == "gpt-4.1-mini"


def test_an_outer_speech_request_whose_inner_one_bills_is_not_billed_again(provider, exporter):
    """synthesize() built on stream(): two nested spans, one piece of work."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"), tracer.start_as_current_span("tts_request") as outer:
        with tracer.start_as_current_span("tts_request_run"):
            with tracer.start_as_current_span("tts_request") as inner:
                inner.set_attribute("lk.tts_metrics", json.dumps(tts_metrics()))
        outer.set_attribute("lk.tts_metrics", json.dumps(tts_metrics(request_id="outer")))

    inner, _, outer, session = exporter.get_finished_spans()
    assert inner.attributes["voice_cost.usd"] == "0.009"
    assert "voice_cost.usd" not in outer.attributes
    assert session.attributes["voice_cost.session.usd"] == "0.009"


def test_two_equal_reports_are_two_requests(provider, exporter):
    """The same metrics twice are two requests, not a repeated one."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"):
        for _ in range(2):
            with tracer.start_as_current_span("tts_request") as span:
                span.set_attribute("lk.tts_metrics", json.dumps(tts_metrics()))

    assert exporter.get_finished_spans()[-1].attributes["voice_cost.session.usd"] == "0.018"


def test_unnamed_realtime_tokens_are_text(end_realtime_span):
    """Tokens of unknown modality are billed as text: 100 in at $4, 10 out at $16 a million."""
    span = end_realtime_span(input_tokens=100, output_tokens=10, input_token_details={}, output_token_details={})

    assert str(usd(span)) == "0.00056"


def test_unnamed_cached_tokens_are_text_first(end_realtime_span):
    """160 cached of 104 text and 200 audio: all the text and 56 of the audio."""
    details = {**realtime_metrics()["input_token_details"], "cached_tokens_details": None}
    span = end_realtime_span(input_token_details=details)

    assert span.attributes["voice_cost.quantity.cached_input_text_token"] == 104
    assert span.attributes["voice_cost.quantity.cached_input_audio_token"] == 56
    assert span.attributes["voice_cost.quantity.input_audio_token"] == 144
    assert "voice_cost.quantity.input_text_token" not in span.attributes


def test_nested_speech_requests_bill_once_outside_a_session_too(provider, exporter):
    """A program may call synthesize() without any AgentSession."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("tts_request") as outer:
        with tracer.start_as_current_span("tts_request_run"), tracer.start_as_current_span("tts_request") as inner:
            inner.set_attribute("lk.tts_metrics", json.dumps(tts_metrics()))
        outer.set_attribute("lk.tts_metrics", json.dumps(tts_metrics(request_id="outer")))

    costs = [span.attributes.get("voice_cost.usd") for span in exporter.get_finished_spans()]
    assert costs == ["0.009", None, None]


def test_an_unpriced_model_is_logged_once(end_llm_span, caplog):
    for _ in range(2):
        end_llm_span(metadata={"model_name": "new-model", "model_provider": "acme"})

    assert [record.message for record in caplog.records] == [
        "No cost: no llm rate for acme/new-model. Write a price in VOICE_COST_PRICES."
    ]
