"""The session, user and trace name that each span of a call tells Langfuse."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_voice_cost import Settings, VoiceCostSpanProcessor
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import llm_metrics, stt_metrics, tts_metrics
from ..langfuse_model import session_of

SESSION, TRACE_NAME, USER = "langfuse.session.id", "langfuse.trace.name", "langfuse.user.id"


class Report:
    type, label = "stt_metrics", "livekit.plugins.deepgram.stt.STT"

    def model_dump_json(self):
        return json.dumps(stt_metrics())


@contextmanager
def open_session(provider, **attributes):
    """A session of LiveKit's that gets its attributes after its start, as in a job."""
    tracer = provider.get_tracer("livekit-agents")
    with tracer.start_as_current_span("agent_session") as session:
        session.set_attributes({key.replace("__", "."): value for key, value in attributes.items()})
        yield tracer


def speak(tracer, **attributes):
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    with tracer.start_as_current_span("agent_turn"), tracer.start_as_current_span("tts_node"):
        attributes = {"lk.tts_metrics": json.dumps(tts_metrics()), **given}
        with tracer.start_as_current_span("tts_request", attributes=attributes):
            pass


def told(exporter, key=SESSION):
    return {span.name: span.attributes.get(key) for span in exporter.get_finished_spans()}


def test_a_call_without_ids_is_the_session_of_its_trace(provider, exporter):
    """Langfuse 4 reads the session of each span: without one, its Sessions page has no row."""
    set_tracer_provider(provider)
    with open_session(provider) as tracer:
        speak(tracer)
        with tracer.start_as_current_span("user_turn"):
            ScriptedSTT([]).emit("metrics_collected", Report())
        ScriptedSTT([]).emit("metrics_collected", Report())

    spans = exporter.get_finished_spans()
    assert {span.name for span in spans} == {
        *("agent_session", "agent_turn", "stt_usage", "tts_node", "tts_request", "user_turn")
    }
    assert {span.attributes[SESSION] for span in spans} == {f"{spans[0].context.trace_id:032x}"}


def test_a_job_is_a_session(provider, exporter):
    with open_session(provider, lk__job_id="AJ_1") as tracer:
        speak(tracer)

    assert set(told(exporter).values()) == {"AJ_1"}


@pytest.mark.parametrize("key", [SESSION, "session.id", "gen_ai.conversation.id"])
def test_an_id_on_a_span_is_never_replaced(provider, exporter, key):
    with open_session(provider, lk__job_id="AJ_1", **{key.replace(".", "__"): "theirs"}) as tracer:
        speak(tracer, **{key.replace(".", "__"): "of the span"})

    sessions = {span.name: session_of(span.attributes) for span in exporter.get_finished_spans()}
    assert sessions.pop("tts_request") == "of the span"
    assert set(sessions.values()) == {"theirs"}
    spans = {span.name: span.attributes for span in exporter.get_finished_spans()}
    assert spans["tts_request"][key] == "of the span"
    assert key == SESSION or SESSION not in spans["tts_request"]


@pytest.mark.parametrize("key", [SESSION, "session.id", "gen_ai.conversation.id"])
def test_the_id_of_the_applications_span_above_is_the_calls(provider, exporter, key):
    """Langfuse 3 has one session for a trace: another id on the spans below would replace the application's."""
    with provider.get_tracer("app").start_as_current_span("handle", attributes={key: "theirs", "user.id": "u-1"}):
        with open_session(provider, lk__job_id="AJ_1") as tracer:
            speak(tracer)

    sessions = {span.name: session_of(span.attributes) for span in exporter.get_finished_spans()}
    assert set(sessions.values()) == {"theirs"}
    assert {user for name, user in told(exporter, USER).items() if name != "handle"} == {"u-1"}


def test_an_id_that_the_application_sets_later_holds_from_then_on(provider, exporter):
    with open_session(provider) as tracer:
        speak(tracer)
        speak(tracer, langfuse__session__id="theirs")

    first, *_, last = [span.attributes[SESSION] for span in exporter.get_finished_spans()]
    assert first == f"{exporter.get_finished_spans()[0].context.trace_id:032x}"
    assert last == "theirs"


def test_sessions_of_one_process_keep_their_ids(provider, exporter):
    for job in ("AJ_1", "AJ_2"):
        with open_session(provider, lk__job_id=job) as tracer:
            speak(tracer)

    by_trace = {(span.context.trace_id, span.attributes[SESSION]) for span in exporter.get_finished_spans()}
    assert sorted(session for _, session in by_trace) == ["AJ_1", "AJ_2"]


def test_requests_outside_of_calls_get_no_session(provider, exporter, end_tts_span):
    assert SESSION not in end_tts_span().attributes


def test_other_dialects_write_no_session(price_catalog, exporter):
    provider = TracerProvider()
    settings = Settings(dialects=("genai", "openinference"))
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, settings=settings))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with open_session(provider, lk__agent_label="my_agent.Clerk") as tracer:
        speak(tracer)

    assert not any(key.startswith("langfuse.") for span in exporter.get_finished_spans() for key in span.attributes)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"lk.agent_label": "my_agent.Clerk"}, "Clerk"),
        ({"lk.agent_label": "front_desk"}, "front_desk"),
        ({"lk.agent_label": "my_agent.Clerk", "lk.agent_name": "support"}, "support"),
        ({"lk.agent_label": "my_agent.Clerk", "lk.agent_name": ""}, "Clerk"),
        ({"lk.agent_label": "my_agent.Clerk", TRACE_NAME: "theirs"}, "theirs"),
        ({}, None),
    ],
)
def test_a_trace_has_the_name_of_the_agent(provider, exporter, attributes, name):
    """All are named agent_session otherwise."""
    with provider.get_tracer("livekit-agents").start_as_current_span("agent_session", attributes=attributes):
        speak(provider.get_tracer("livekit-agents"))

    assert set(told(exporter, TRACE_NAME).values()) == {name}


@pytest.mark.parametrize(("scope", "is_named"), [("livekit-agents", True), ("app", False)])
def test_a_trace_of_the_application_keeps_its_name(provider, exporter, scope, is_named):
    """LiveKit's own root is job_entrypoint."""
    with provider.get_tracer(scope).start_as_current_span("above"):
        with open_session(provider, lk__agent_label="Clerk") as tracer:
            speak(tracer)

    assert told(exporter, TRACE_NAME)["tts_request"] == ("Clerk" if is_named else None)


def test_a_session_below_a_span_of_another_process_does_not_name_its_trace(provider, exporter):
    from opentelemetry import trace  # noqa: PLC0415

    remote = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(remote), open_session(provider, lk__agent_label="Clerk") as tracer:
        speak(tracer)

    assert set(told(exporter, TRACE_NAME).values()) == {None}
    assert set(told(exporter).values()) == {f"{1:032x}"}


def test_a_request_of_a_language_model_belongs_to_its_session_too(provider, exporter):
    with open_session(provider, lk__job_id="AJ_1") as tracer:
        attributes = {"lk.llm_metrics": json.dumps(llm_metrics())}
        with tracer.start_as_current_span("llm_request", attributes=attributes):
            pass

    assert told(exporter)["llm_request"] == "AJ_1"
