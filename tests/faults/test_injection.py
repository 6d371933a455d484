"""Every step made to fail in turn, over a recorded conversation: the call, its spans and their order stay whole."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.bill import Bill
from otel_voice_cost.dialects import genai, langfuse, voice_cost
from otel_voice_cost.ending import Ending
from otel_voice_cost.livekit import listening
from otel_voice_cost.meters import Meters
from otel_voice_cost.own_spans import SpanMaker
from otel_voice_cost.pipeline import Pipeline
from otel_voice_cost.sessions import SessionBook

from ..conftest import SPEECH
from ..test_recorded import play, scenarios

SCENARIOS = [case.values[0] for case in scenarios() if case.id.startswith("1.8.9")]
OWN = ("llm_usage", "realtime_usage", "stt_usage", "tts_usage")

STEPS = [
    *[("otel_voice_cost.pipeline", name) for name in ("rule_of", "attributes_of", "decoded", "read_metrics")],
    *[("otel_voice_cost.pipeline", name) for name in ("read_gen_ai_usage", "usage_fragments")],
    *[("otel_voice_cost.processor", name) for name in ("span_key", "is_livekit", "add_attributes", "read_event")],
    ("otel_voice_cost.processor", "order_problem"),
    *[("otel_voice_cost.own_spans", name) for name in ("livekit_provider", "livekit_tracer")],
    *[("otel_voice_cost.ending", name) for name in ("decoded", "read_metrics", "_inherited", "moment")],
    ("otel_voice_cost.pricing", "cost_of"),
    *[(genai, "cost_attributes"), (langfuse, "cost_attributes"), (voice_cost, "cost_attributes")],
    *[(langfuse, "repeat_attributes"), (langfuse, "session_attributes"), (voice_cost, "total_attributes")],
    *[(SessionBook, name) for name in ("open", "begin", "node", "finish", "close", "drain", "report", "claim")],
    *[(SessionBook, name) for name in ("claim_like", "unclaimed", "accrue", "take_heard", "take_unclaimed")],
    *[(SessionBook, name) for name in ("add_cost", "take_turn")],
    *[(Pipeline, name) for name in ("attributes_for", "report")],
    *[(Ending, name) for name in ("accrue", "end", "own_span", "record", "settle", "_left")],
    *[(SpanMaker, name) for name in ("make", "note_provider", "take")],
    (Bill, "add"),
    *[(VoiceCostSpanProcessor, name) for name in ("_begin_session", "_make_spans", "_settle", "_report")],
    (Meters, "_labels_of"),
]


class InjectedError(Exception):
    """Raised in place of a step."""


@pytest.fixture(params=STEPS, ids=lambda step: f"{getattr(step[0], '__name__', step[0])}.{step[1]}".split(".", 1)[-1])
def broken_step(request, monkeypatch):
    """A step that fails, and how often it was reached."""
    monkeypatch.setattr(listening._hook, "_listeners", ())  # processors of other tests would log it too
    holder, name = request.param
    reached = Counter()

    def fail(*args, **kwargs):
        reached["times"] += 1
        raise InjectedError(SPEECH)

    if isinstance(holder, str):
        monkeypatch.setattr(f"{holder}.{name}", fail)
    else:
        monkeypatch.setattr(holder, name, fail)
    return reached


def hold_all(*processors):
    """Play every conversation of 1.8.9 through a provider; return what LiveKit's spans were when they left."""
    exporter, providers = InMemorySpanExporter(), []
    cuts = [{}, {"max_span_attribute_length": 200}, {"max_span_attributes": 4}]  # metrics cut off, and dropped
    for limits in cuts:
        provider = TracerProvider(span_limits=SpanLimits(**limits))
        for processor in (*processors, SimpleSpanProcessor(exporter)):
            provider.add_span_processor(processor)
        set_tracer_provider(provider)
        for entries in SCENARIOS:
            play(entries, provider)
        provider.force_flush()
        providers.append(provider)
    for provider in providers:
        provider.shutdown()
    return [span for span in exporter.get_finished_spans() if span.name not in OWN]


@pytest.fixture(scope="module")
def untouched():
    """The spans without us."""
    return hold_all()


def test_the_span_leaves_whole_and_in_order(untouched, broken_step, price_catalog, caplog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)

    spans = hold_all(processor)

    assert [span.name for span in spans] == [span.name for span in untouched]
    for span, before in zip(spans, untouched, strict=True):
        assert {**span.attributes, **before.attributes} == dict(span.attributes)
        assert (span.start_time, span.end_time, span.status.status_code) == (
            before.start_time,
            before.end_time,
            before.status.status_code,
        )
    assert broken_step["times"] > 0, "no conversation comes by this step"
    assert processor.stats().failed >= min(broken_step["times"], 1)
    assert SPEECH not in caplog.text
    lines = [r.message for r in caplog.records if r.name == "otel_voice_cost" and r.levelno >= logging.WARNING]
    faults = Counter(line for line in lines if "InjectedError" in line)
    assert faults
    assert set(faults.values()) == {1}
    assert len(faults) <= len({span.name for span in spans}) + len(OWN) + 4  # once per kind and place


def test_a_fault_costs_no_other_span_its_price(untouched, price_catalog, monkeypatch):
    """One model's failure leaves every other request priced."""
    real = langfuse.cost_attributes

    def fail(cost, span, options):
        if span.name == "tts_request":
            raise InjectedError(SPEECH)
        return real(cost, span, options)

    whole = hold_all(VoiceCostSpanProcessor(catalog=price_catalog))
    monkeypatch.setattr(langfuse, "cost_attributes", fail)

    spans = hold_all(VoiceCostSpanProcessor(catalog=price_catalog))

    for span, sound in zip(spans, whole, strict=True):
        if span.name not in ("tts_request", "agent_session"):
            assert span.attributes.get("voice_cost.usd") == sound.attributes.get("voice_cost.usd")
