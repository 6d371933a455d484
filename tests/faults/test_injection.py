"""Make every function fail in turn, over recorded conversations: the call, its spans and their order stay intact."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import Budget, Component, PriceCatalog, Settings, VoiceCostSpanProcessor
from otel_voice_cost.export.dialects.langfuse import Langfuse
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.sources import Role
from otel_voice_cost.sources.livekit import hooks

from ..conftest import PRICES, SPEECH
from ..test_recorded import play, scenarios
from .discovery import InjectedError, failing, functions, reached_by

SCENARIOS = [case.values[0] for case in scenarios() if case.id.startswith("1.8.9")]
OWN = ("llm_unreported", "llm_usage", "realtime_usage", "stt_usage", "tts_unreported", "tts_usage")
CUTS = [{}, {"max_span_attribute_length": 200}, {"max_span_attributes": 4}]  # metrics cut off, and dropped

# Called by the SDK, LiveKit and Python itself, or by the guard.
ENTRANCES = {
    *(f"VoiceCostSpanProcessor.{name}" for name in ("on_start", "_begin", "on_end", "_on_ending", "_on_report")),
    *(f"VoiceCostSpanProcessor.{name}" for name in ("force_flush", "shutdown", "uninstall", "_guarded")),
    *("Gate.outside", "_call_all"),
    *("_Hook._emit", "_Hook._notify", "Hook.drop", "ListenerSubscription.__init__.<locals>.<lambda>", "_forget"),
    *(f"Diagnostics.{name}" for name in ("record_fault", "guard", "count", "counts", "warn_once", "info_once")),
    *(f"Diagnostics.{name}" for name in ("debug", "_log", "_is_first", "_add_one")),
    *("_Said.is_first", "_Said.__init__", "_find_line", "_log"),
}


def processor_in_use(folder):
    """A processor with all options, so that playback covers much of the package."""
    return VoiceCostSpanProcessor(
        catalog=PriceCatalog([parse_sheet(PRICES, "prices.toml").rates]),
        settings=Settings(records_file=str(folder / "calls.jsonl")),
        meter_provider=MeterProvider([InMemoryMetricReader()]),
        on_session_end=lambda record: record.usd,
        budget=Budget(usd_per_session="0.001"),
    )


def hold_all(*processors):
    """Play every conversation of 1.8.9 through a provider; return LiveKit's exported spans."""
    exporter, providers = InMemorySpanExporter(), []
    for limits in CUTS:
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


@pytest.fixture(scope="session")
def reached(tmp_path_factory):
    """Every function that playback calls, by its name."""
    processor = processor_in_use(tmp_path_factory.mktemp("records"))
    logging.disable(logging.CRITICAL)  # the SDK's lines on cut attributes, which are slow under a profiler
    try:
        codes = reached_by(lambda: hold_all(processor))
    finally:
        logging.disable(logging.NOTSET)
    found = functions()
    return {found[code].__qualname__ + ":" + found[code].__module__: found[code] for code in codes if code in found}


@pytest.fixture(scope="module")
def untouched():
    """The spans without this package."""
    return hold_all()


def test_playback_covers_most_of_the_package(reached):
    assert len(reached) > 200


@pytest.mark.parametrize("part", range(8))
def test_spans_are_exported_complete_and_in_order(part, reached, untouched, monkeypatch, caplog, tmp_path):
    """Each case takes some of the functions, so that workers share them."""
    names = sorted(name for name in reached if name.split(":")[0] not in ENTRANCES)
    problems = {}
    for name in names[part::8]:
        monkeypatch.setattr(hooks._hook, "subscriptions", ())  # processors of other tests would log it too
        caplog.clear()
        processor = processor_in_use(tmp_path)
        with failing(reached[name]):
            try:
                spans = hold_all(processor)
            except InjectedError as error:
                problems[name] = f"escaped from {_way_of(error)}"
                continue
            times = InjectedError.times
        problem = _problem(spans, untouched, processor, times, caplog)
        if problem:
            problems[name] = problem
    assert problems == {}


def _way_of(error):
    trace, way = error.__traceback__, []
    while trace is not None:
        way.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return " > ".join(way[-5:])


def _problem(spans, untouched, processor, times, caplog):
    if [span.name for span in spans] != [span.name for span in untouched]:
        return "spans are missing or in another order"
    for span, before in zip(spans, untouched, strict=True):
        if {**span.attributes, **before.attributes} != dict(span.attributes):
            return f"an attribute of {span.name} has changed"
        if (span.start_time, span.end_time, span.status.status_code) != (
            before.start_time,
            before.end_time,
            before.status.status_code,
        ):
            return f"{span.name} has changed"
    if times == 0:
        return "no conversation comes by this function"
    if SPEECH in caplog.text:
        return "speech in the log"
    lines = [r.message for r in caplog.records if r.name == "otel_voice_cost" and r.levelno >= logging.WARNING]
    faults = Counter(line for line in lines if "InjectedError" in line)
    if not faults or processor.stats().failed < 1:
        return "neither counted nor logged"
    if set(faults.values()) != {1}:
        return f"logged more than once: {faults}"
    return None


def test_a_fault_does_not_affect_other_spans(untouched, price_catalog, monkeypatch):
    """One model's failure leaves every other request priced."""
    real = Langfuse.cost_attributes

    def fail(self, cost, span):
        if span.role is Role.REQUEST and span.component is Component.TTS:
            raise InjectedError
        return real(self, cost, span)

    whole = hold_all(VoiceCostSpanProcessor(catalog=price_catalog))
    monkeypatch.setattr(Langfuse, "cost_attributes", fail)

    spans = hold_all(VoiceCostSpanProcessor(catalog=price_catalog))

    for span, sound in zip(spans, whole, strict=True):
        if span.name not in ("tts_request", "agent_session"):
            assert span.attributes.get("voice_cost.usd") == sound.attributes.get("voice_cost.usd")
