"""Locks of applications: waits for this package's lock are limited, and it is never held while waiting for theirs."""

from __future__ import annotations

import json
import logging
import threading
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.accounting.session import REGISTRY

from ..conftest import llm_metrics, stt_metrics, tts_metrics
from .test_edges import Line

PATIENCE_SECONDS = 10  # for what takes a tenth; a deadlock takes for ever


def in_time(step):
    """Run a step in a thread; return True if it ended."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return not thread.is_alive()


@pytest.fixture(params=["before", "wrapping"])
def line(request, price_catalog, exporter):
    REGISTRY.reset()  # the sessions that other tests left running would be settled here
    line = Line(price_catalog, exporter, wrapping=request.param == "wrapping")
    yield line
    line.provider.shutdown()


def costs(spans):
    return [span.attributes.get("voice_cost.usd") for span in spans]


class TakesTheOther:
    """Two application threads: one holds the package's lock and waits for the application's, the other vice versa."""

    def __init__(self):
        self.their_lock = threading.Lock()
        self.has_ours, self.has_theirs = threading.Event(), threading.Event()

    def finalize(self):
        """Code that a garbage collection inside the package may call, such as a log handler with a lock."""
        self.has_ours.set()
        self.has_theirs.wait()
        with self.their_lock:
            pass

    def in_ours(self):
        REGISTRY.gate.do(self.finalize)

    def in_theirs(self, step):
        with self.their_lock:
            self.has_theirs.set()
            self.has_ours.wait()
            step()


def stand_off(step):
    """Run a step under the application's lock, while a thread that holds the package's lock waits for it."""
    threads = TakesTheOther()
    ours = threading.Thread(target=threads.in_ours, daemon=True)
    ours.start()
    came_back = in_time(lambda: threads.in_theirs(step))
    ours.join(PATIENCE_SECONDS)
    return came_back and not ours.is_alive()


def test_spans_and_reports_never_wait_long_for_the_lock(line):
    with line.session() as session:

        def step():
            with trace.use_span(session):
                line.request("llm_request", "lk.llm_metrics", llm_metrics())
                line.report("stt_metrics", stt_metrics())
                line.tracer.start_span("agent_turn").end()

        assert stand_off(step)

    assert costs(line.spans("llm_request")) == ["0.000152"]
    (ended,) = line.spans("agent_session")
    assert ended.attributes["voice_cost.session.usd"] == "0.000552"
    assert [len(line.spans(name)) for name in ("agent_turn", "stt_usage")] == [1, 1]
    assert line.processor.stats().failed == 0


@pytest.mark.parametrize(
    "step",
    [
        lambda line: line.processor.force_flush(100),
        lambda line: line.processor.current_cost(),
        lambda line: line.processor.stats(),
        lambda line: line.session().__enter__(),
    ],
    ids=["flush", "live", "stats", "session"],
)
def test_nothing_else_waits_long_for_the_lock(line, step):
    with line.session():
        line.report("stt_metrics", stt_metrics())
        assert stand_off(lambda: step(line))


def test_postponed_steps_keep_their_order(line):
    """A request that begins and ends while another thread holds the lock is still a child of its turn."""
    with line.session() as session:

        def step():
            with trace.use_span(session), line.tracer.start_as_current_span("agent_turn"):
                line.request()

        assert stand_off(step)

    (turn,) = line.spans("agent_turn")
    assert turn.attributes["voice_cost.turn.usd"] == "0.009"


def test_a_span_that_ends_inside_the_package_is_exported_once_with_its_cost(line):
    def step():
        line.request()
        assert line.spans("tts_request") == []

    with line.session():
        REGISTRY.gate.do(step)

    assert costs(line.spans("tts_request")) == ["0.009"]
    assert line.spans("tts_request")[0].context.trace_flags.sampled


def test_a_span_that_ends_inside_the_package_is_exported_once_by_a_subclassed_exporter(price_catalog, exporter):
    class Filtering(BatchSpanProcessor):
        def on_end(self, span):
            if "lk.tts_metrics" in span.attributes:
                super().on_end(span)

    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(Filtering(exporter))
    tracer = provider.get_tracer("livekit-agents")

    REGISTRY.gate.do(
        lambda: tracer.start_span("tts_request", attributes={"lk.tts_metrics": json.dumps(tts_metrics())}).end()
    )
    provider.shutdown()

    assert costs(exporter.get_finished_spans()) == ["0.009"]


def test_a_log_handler_is_called_without_the_lock(line):
    held = []

    class Handler(logging.Handler):
        def emit(self, record):
            held.append(REGISTRY.gate.is_held_here())

    handler, logger = Handler(), logging.getLogger("otel_voice_cost")
    logger.addHandler(handler)
    try:
        with line.session():
            line.request(metrics=tts_metrics(metadata={"model_name": "unheard-of", "model_provider": "nobody"}))
            line.request(metrics="no JSON")
    finally:
        logger.removeHandler(handler)

    assert held == [False, False]


def test_a_span_that_ends_while_metrics_are_collected(price_catalog, exporter):
    """The metrics SDK holds each instrument's lock while it collects it; a garbage collection may run then."""
    inside = []

    class Reservoir:
        """Its exemplars are collected with that lock held."""

        def __init__(self, **_):
            pass

        def offer(self, *_):
            pass

        def collect(self, _attributes):
            inside.append(None)
            line.request()
            return []

    view = View(instrument_name="voice_cost.priced", exemplar_reservoir_factory=lambda _aggregation: Reservoir)
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], views=[view], exemplar_filter=AlwaysOnExemplarFilter())
    line = Line(price_catalog, exporter, meter_provider=meters)
    line.request()

    assert in_time(reader.collect)

    assert len(inside) == 1
    assert costs(line.spans("tts_request")) == ["0.009"] * 2
    line.provider.shutdown()


def test_uncollected_metrics_are_still_added_up(price_catalog, exporter):
    class Instrument:
        def __init__(self):
            self.values = []

        def add(self, value, _labels):
            self.values.append(value)

        record = add

    class Plain:
        """A third-party meter provider without asynchronous instruments."""

        def __init__(self):
            self.instruments = {}

        def get_meter(self, *_, **__):
            return self

        def create_counter(self, name, **_):
            return self.instruments.setdefault(name, Instrument())

        create_histogram = create_counter

    meters = Plain()
    line = Line(price_catalog, exporter, meter_provider=meters)
    made = 0
    priced = meters.instruments["voice_cost.priced"].values
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(priced) < 500 and time.monotonic() < deadline:
        line.request()
        made += 1

    assert sum(priced) >= 500
    line.provider.shutdown()
    assert sum(priced) == made


def test_usage_spans_inside_another_multi_processor(price_catalog, exporter):
    provider, inside = TracerProvider(), SynchronousMultiSpanProcessor()
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    inside.add_span_processor(processor)
    inside.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(inside)
    line = Line.on(provider, processor, exporter)
    with line.session():
        line.report("stt_metrics", stt_metrics())

    assert costs(line.spans("stt_usage")) == ["0.0004"]
    provider.shutdown()
