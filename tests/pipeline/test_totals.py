"""Totals of turns and sessions."""

from __future__ import annotations

import json

from ..conftest import llm_metrics, tts_metrics


def request(tracer, name, key, metrics):
    with tracer.start_as_current_span(name, attributes={key: json.dumps(metrics)}):
        pass


def test_turns_and_sessions_add_up_the_spans_below_them(provider, exporter):
    """Two turns of $0.000152 for the model and $0.009 for the speech."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"):
        for _ in range(2):
            with tracer.start_as_current_span("agent_turn"), tracer.start_as_current_span("llm_node"):
                request(tracer, "llm_request", "lk.llm_metrics", llm_metrics())
                request(tracer, "tts_request", "lk.tts_metrics", tts_metrics())

    spans = exporter.get_finished_spans()
    for turn in (span for span in spans if span.name == "agent_turn"):
        assert turn.attributes["voice_cost.turn.usd"] == "0.009152"
        assert turn.attributes["voice_cost.turn.llm.usd"] == "0.000152"
        assert turn.attributes["voice_cost.turn.tts.usd"] == "0.009"
        assert "gen_ai.usage.cost" not in turn.attributes
    session = spans[-1].attributes
    assert session["voice_cost.session.usd"] == "0.018304"
    assert session["voice_cost.session.unpriced"] == 0
    assert "gen_ai.usage.cost" not in session
    assert session["voice_cost.session.seconds"] > 0


def test_unpriced_usage_is_counted_in_the_totals(provider, exporter):
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"), tracer.start_as_current_span("agent_turn"):
        unknown = {"model_name": "sonic-99", "model_provider": "Cartesia"}
        request(tracer, "tts_request", "lk.tts_metrics", tts_metrics(metadata=unknown))

    _, turn, session = exporter.get_finished_spans()
    assert (turn.attributes["voice_cost.turn.usd"], turn.attributes["voice_cost.turn.unpriced"]) == ("0", 1)
    assert session.attributes["voice_cost.session.unpriced"] == 1


def test_sessions_of_one_trace_are_kept_apart(provider, exporter):
    """AgentSessions started in one task nest: the second is a child of the first."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session"):
        request(tracer, "tts_request", "lk.tts_metrics", tts_metrics())
        with tracer.start_as_current_span("agent_session"):
            request(tracer, "llm_request", "lk.llm_metrics", llm_metrics())

    _, _, inner, outer = exporter.get_finished_spans()
    assert inner.attributes["voice_cost.session.usd"] == "0.000152"
    assert outer.attributes["voice_cost.session.usd"] == "0.009"


def test_application_spans_in_between_do_not_break_the_totals(provider, exporter):
    """A tool that opens its own span and calls a model inside it."""
    livekit, application = provider.get_tracer("livekit-agents"), provider.get_tracer("my.app")
    with livekit.start_as_current_span("agent_session"), application.start_as_current_span("look up"):
        request(livekit, "llm_request", "lk.llm_metrics", llm_metrics())

    assert exporter.get_finished_spans()[-1].attributes["voice_cost.session.usd"] == "0.000152"
