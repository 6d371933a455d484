"""Threads, forks, slow and failing exporters, process exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import PRICES, llm_metrics, stt_metrics, tts_metrics
from ..test_recorded import Report

THREADS, REQUESTS = 16, 60
LLM_USD, STT_USD = Decimal("0.000152"), Decimal("0.0048") / 60


def report(metrics):
    text = json.dumps(metrics)
    ScriptedSTT([]).emit("metrics_collected", Report({"report": metrics["type"], "label": "x", "json": text}))


def open_sessions(provider, count):
    tracer = provider.get_tracer("livekit-agents")
    return tracer, [tracer.start_span("agent_session") for _ in range(count)]


def work(tracer, session, thread):
    """Make requests and reports of one thread in a shared session; all differ, so each is matched."""
    with trace.use_span(session, end_on_exit=False):
        for number in range(REQUESTS):
            report(stt_metrics(request_id=f"{thread}-{number}", audio_duration=1.0))
            metrics = llm_metrics(request_id=f"{thread}-{number}")
            with tracer.start_as_current_span("llm_request", attributes={"lk.llm_metrics": json.dumps(metrics)}):
                report(metrics)
            if number % 10 == 0:
                with tracer.start_as_current_span("user_turn"):
                    pass


def cost_on(spans):
    return sum((Decimal(span.attributes.get("voice_cost.usd", "0")) for span in spans), Decimal(0))


@pytest.fixture
def pipeline(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    yield processor, provider, exporter
    provider.shutdown()


def test_sixteen_threads_share_sessions(pipeline, caplog):
    processor, provider, exporter = pipeline
    tracer, sessions = open_sessions(provider, 4)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda thread: work(tracer, sessions[thread % 4], thread), range(THREADS)))
    for session in sessions:
        session.end()

    spans = exporter.get_finished_spans()
    totals = [Decimal(s.attributes["voice_cost.session.usd"]) for s in spans if s.name == "agent_session"]
    assert cost_on(spans) == sum(totals) == THREADS * REQUESTS * (LLM_USD + STT_USD)
    assert processor.stats().failed == 0
    assert [record for record in caplog.records if record.name == "otel_voice_cost"] == []


@pytest.mark.parametrize("stop", ["shutdown", "force_flush", "uninstall"])
def test_shutdown_while_threads_end_spans(pipeline, stop):
    """Every span is exported, and no unit is priced twice."""
    processor, provider, exporter = pipeline
    tracer, sessions = open_sessions(provider, 4)
    stopper = threading.Timer(0.05, getattr(processor, stop))
    stopper.start()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda thread: work(tracer, sessions[thread % 4], thread), range(THREADS)))
    stopper.join()
    for session in sessions:
        session.end()

    spans = exporter.get_finished_spans()
    names = Counter(span.name for span in spans)
    assert names["llm_request"] == THREADS * REQUESTS
    assert names["user_turn"] == THREADS * REQUESTS / 10
    assert 0 < cost_on(spans) <= THREADS * REQUESTS * (LLM_USD + STT_USD)
    assert processor.stats().failed == 0
    if stop == "force_flush":
        assert cost_on(spans) == THREADS * REQUESTS * (LLM_USD + STT_USD)


def test_wrapping_on_a_provider_with_concurrent_processors(price_catalog):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(active_span_processor=ConcurrentMultiSpanProcessor(4))
    for _ in range(3):
        provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    processor = VoiceCostSpanProcessor(SimpleSpanProcessor(exporter), catalog=price_catalog)
    provider.add_span_processor(processor)
    tracer, sessions = open_sessions(provider, 2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda thread: work(tracer, sessions[thread % 2], thread), range(4)))
    for session in sessions:
        session.end()
    provider.shutdown()

    assert cost_on(exporter.get_finished_spans()) == 4 * REQUESTS * (LLM_USD + STT_USD)
    assert processor.stats().failed == 0


class Hangs(SpanExporter):
    """An exporter that blocks until it is released."""

    def __init__(self):
        self.go, self.spans = threading.Event(), []

    def export(self, spans):
        self.go.wait(30)
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("wrapping", [False, True])
def test_a_hanging_exporter_delays_nothing_else(price_catalog, wrapping):
    exporter = Hangs()
    batch = BatchSpanProcessor(exporter, schedule_delay_millis=10)
    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(batch if wrapping else None, catalog=price_catalog))
    if not wrapping:
        provider.add_span_processor(batch)
    tracer, (session,) = open_sessions(provider, 1)

    work(tracer, session, 0)
    session.end()

    assert exporter.spans == []
    exporter.go.set()
    provider.shutdown()
    assert cost_on(exporter.spans) == REQUESTS * (LLM_USD + STT_USD)


class Fails(SpanExporter):
    def export(self, spans):
        raise ConnectionError("content")


def test_an_exporter_that_raises_does_not_affect_others(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    processor = VoiceCostSpanProcessor(SimpleSpanProcessor(Fails()), catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(exporter), catalog=price_catalog))
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass

    assert [span.attributes["voice_cost.usd"] for span in exporter.get_finished_spans()] == ["0.009"]
    provider.shutdown()


def test_a_clock_that_jumps_back(pipeline):
    """An hour between two reports, and a session that ends before its start: all is counted, nothing is negative."""
    processor, provider, exporter = pipeline
    now = time.time_ns()
    tracer = provider.get_tracer("livekit-agents")
    session = tracer.start_span("agent_session", start_time=now)
    with trace.use_span(session):
        attributes = {"lk.tts_metrics": json.dumps(tts_metrics(timestamp=now / 1e9 - 3_600))}
        tracer.start_span("tts_request", attributes=attributes, start_time=now).end(now - 3_600 * 10**9)
        report(stt_metrics(audio_duration=1.0))
    session.end(now - 3_600 * 10**9)

    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["agent_session"].attributes["voice_cost.session.usd"] == "0.00908"
    assert spans["agent_session"].attributes["voice_cost.session.seconds"] >= 0
    assert processor.stats().failed == 0


class Keeps(SpanExporter):
    """Like the SDK's in-memory exporter, without its lock, which a child would inherit locked."""

    def __init__(self):
        self.spans = []

    def export(self, spans):
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


def fork_in_the_middle():
    """Fork while threads price spans; every child and the parent must count their own usage."""
    price_catalog = PriceCatalog([parse_sheet(PRICES, "prices.toml").rates])
    exporter, provider = Keeps(), TracerProvider()
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    tracer, sessions = open_sessions(provider, 2)
    threads = [threading.Thread(target=work, args=(tracer, sessions[n % 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            exit_code = 1
            try:
                exporter.spans.clear()
                processor.force_flush()
                child_tracer, (session,) = open_sessions(provider, 1)
                with trace.use_span(session):
                    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
                    child_tracer.start_span("tts_request", attributes=attributes).end()
                session.end()
                processor.shutdown()
                exit_code = 0 if cost_on(exporter.spans) == Decimal("0.009") else 2
            finally:
                os._exit(exit_code)
        children.append(child)
    for thread in threads:
        thread.join()

    deadline = time.monotonic() + 30
    statuses = []
    for child in children:
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, 9)
            time.sleep(0.01)
        statuses.append(os.waitstatus_to_exitcode(done[1]))
    for session in sessions:
        session.end()

    assert statuses == [0] * len(children)
    assert cost_on(exporter.spans) == 4 * REQUESTS * (LLM_USD + STT_USD)
    provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_threads_price_spans():
    """A child gets new locks, and leaves its parent's sessions to the parent.

    In a process that coverage.py does not trace: the lock of its collector (`Collector.lock_data`, coverage 7) stays
    shut in a child when another thread held it.
    """
    code = "from tests.faults.test_concurrency import fork_in_the_middle as f; f()"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr


EXITS = """
import json
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, BatchSpanProcessor
from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from tests.conftest import stt_metrics
from tests.faults.test_concurrency import report

provider = TracerProvider()
provider.add_span_processor(VoiceCostSpanProcessor())
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
set_tracer_provider(provider)
session = provider.get_tracer("livekit-agents").start_span("agent_session")
with trace.use_span(session):
    report(stt_metrics())
"""


def test_the_interpreter_shuts_down_while_a_session_runs():
    """The SDK calls shutdown() at exit, and pending speech-to-text usage is still exported."""
    done = subprocess.run([sys.executable, "-c", EXITS], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert '"name": "stt_usage"' in done.stdout
    assert '"voice_cost.usd"' in done.stdout
