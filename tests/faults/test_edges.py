"""At the edges: logging that raises, interrupts, callbacks that hang or exit, threads that cannot start."""

from __future__ import annotations

import _thread
import asyncio
import json
import logging
import threading
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from otel_voice_cost import Budget, PriceCatalog, Settings, VoiceCostSpanProcessor, install
from otel_voice_cost._runtime import process_end as _process_end
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import SPEECH, llm_metrics, stt_metrics, tts_metrics
from ..test_recorded import Report

OURS = logging.getLogger("otel_voice_cost")


class RaisingHandler(logging.Handler):
    """A handler without `handleError`, like those of applications."""

    def handle(self, record):
        raise KeyError("a field that only the application's records have")


class RaisingFilter(logging.Filter):
    def filter(self, record):
        return record.tenant  # AttributeError for all records of others


@pytest.fixture(params=["handler", "filter"])
def broken_logging(request):
    handler, wants = RaisingHandler(), RaisingFilter()
    if request.param == "handler":
        OURS.addHandler(handler)
    else:
        OURS.addFilter(wants)
    yield
    OURS.removeHandler(handler)
    OURS.removeFilter(wants)


class Line:
    """A provider that LiveKit uses, with methods to create spans and reports."""

    def __init__(self, catalog, exporter, *, wrapping=False, behind=(), **options):
        simple = SimpleSpanProcessor(exporter)
        self.exporter, self.provider = exporter, TracerProvider()
        self.processor = VoiceCostSpanProcessor(simple if wrapping else None, catalog=catalog, **options)
        for processor in (self.processor, *behind, *([] if wrapping else [simple])):
            self.provider.add_span_processor(processor)
        self._use()

    @classmethod
    def on(cls, provider, processor, exporter):
        """On a provider that is complete."""
        line = cls.__new__(cls)
        line.provider, line.processor, line.exporter = provider, processor, exporter
        line._use()
        return line

    def _use(self):
        set_tracer_provider(self.provider)
        self.tracer = self.provider.get_tracer("livekit-agents")

    def session(self):
        return self.tracer.start_as_current_span("agent_session")

    def request(self, name="tts_request", key="lk.tts_metrics", metrics=None):
        text = metrics if isinstance(metrics, str) else json.dumps(metrics or tts_metrics())
        self.tracer.start_span(name, attributes={key: text}).end()

    def report(self, kind, metrics, component=None):
        text = metrics if isinstance(metrics, str) else json.dumps(metrics)
        report = Report({"report": kind, "label": "x", "json": text})
        (component or ScriptedSTT([])).emit("metrics_collected", report)

    def spans(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def line(price_catalog, exporter):
    line = Line(price_catalog, exporter)
    yield line
    line.provider.shutdown()


UNKNOWN = {"model_name": "unheard-of", "model_provider": "nobody"}


@pytest.mark.parametrize(
    "metrics", [tts_metrics(metadata=UNKNOWN), tts_metrics(characters_count=-1)], ids=["unpriced", "malformed"]
)
def test_logging_that_raises_loses_no_span(broken_logging, line, metrics):
    with line.session():
        line.request(metrics=metrics)

    (span,) = line.spans("tts_request")
    assert span.attributes["voice_cost.unpriced"]
    (session,) = line.spans("agent_session")
    assert session.attributes["voice_cost.session.unpriced"] == 1


@pytest.mark.parametrize(
    "metrics", [stt_metrics(metadata=UNKNOWN), stt_metrics(audio_duration=-1)], ids=["unpriced", "malformed"]
)
def test_logging_that_raises_does_not_block_reports_to_livekit(broken_logging, line, metrics):
    component, heard = ScriptedSTT([]), []
    component.on("metrics_collected", heard.append)
    with line.session():
        line.report("stt_metrics", metrics, component)

    assert len(heard) == 1
    assert line.spans("agent_session")[0].attributes["voice_cost.session.unpriced"] == 1


def test_a_fault_is_logged_even_after_many_other_lines(line, caplog):
    for number in range(1_200):
        line.request(metrics=tts_metrics(metadata={"model_name": f"m{number}", "model_provider": "nobody"}))
    line.request(metrics="{broken")

    assert "No cost for tts_request" in caplog.records[-1].message


class Interrupting(PriceCatalog):
    """Prices whose look-up is interrupted."""

    def __init__(self, error):
        super().__init__([])
        self.error = error

    def rule_for(self, usage):
        raise self.error

    def card_for(self, usage):
        raise self.error


@pytest.mark.parametrize("wrapping", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interrupt_is_reraised_and_the_span_is_exported(exporter, error, wrapping):
    seen = []

    class Sees(SpanProcessor):
        def on_end(self, span):
            seen.append(span.name)

    line = Line(Interrupting(error()), exporter, wrapping=wrapping, behind=[] if wrapping else [Sees()])

    with pytest.raises(error):
        line.request()

    assert [span.name for span in exporter.get_finished_spans()] == ["tts_request"]
    assert seen == ([] if wrapping else ["tts_request"])
    line.provider.shutdown()


def test_an_interrupted_report_reaches_livekits_listeners(exporter):
    line = Line(Interrupting(KeyboardInterrupt()), exporter)
    component, heard = ScriptedSTT([]), []
    component.on("metrics_collected", heard.append)

    with line.session(), pytest.raises(KeyboardInterrupt):
        line.report("stt_metrics", stt_metrics(), component)

    assert len(heard) == 1
    line.provider.shutdown()


def test_an_interrupted_end_of_a_session_is_completed_at_shutdown(price_catalog, exporter):
    class InterruptedOnce(PriceCatalog):
        def card_for(self, usage):
            if usage.model == "interrupts":
                raise KeyboardInterrupt
            return price_catalog.card_for(usage)

    records = []
    line = Line(InterruptedOnce([]), exporter, on_session_end=records.append)
    session = line.tracer.start_span("agent_session")
    with trace.use_span(session):
        line.report("stt_metrics", stt_metrics())
        for model in ("gpt-4.1-mini", "interrupts", "gpt-4.1-mini"):
            metadata = {"model_name": model, "model_provider": "openai"}
            line.report("llm_metrics", llm_metrics(request_id=model, metadata=metadata))
    with pytest.raises(KeyboardInterrupt):
        session.end()
    assert [span.name for span in exporter.get_finished_spans()] == ["agent_session"]
    line.provider.shutdown()

    assert {span.name: span.attributes["voice_cost.usd"] for span in exporter.get_finished_spans()[1:]} == {
        "llm_usage": "0.000304",
        "stt_usage": "0.0004",
    }
    assert [record.usd for record in records] == [Decimal("0.000704")]


@pytest.mark.parametrize("timeout_millis", [float("inf"), float("nan"), -1, 0])
def test_a_flush_accepts_any_timeout(line, timeout_millis):
    with line.session():
        line.report("stt_metrics", stt_metrics())
        line.processor.force_flush(timeout_millis)
        line.provider.shutdown()

    assert len(line.spans("stt_usage")) == 1


def test_process_exit_waits_for_all_processors_in_parallel():
    """LiveKit kills a job process that takes ten seconds, and each processor may take five."""
    together, met = threading.Barrier(2), []

    class Slow:
        def settle(self):
            together.wait(5)
            met.append(self)

    both = [Slow(), Slow()]
    for one in both:
        _process_end.at_process_end(one.settle)

    _process_end._settle_all()

    assert len(met) == 2


def test_a_hanging_callback_does_not_block_the_flush_of_the_exporter(price_catalog, exporter):
    hangs = threading.Event()
    provider = TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=lambda _: hangs.wait()))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    provider.get_tracer("livekit-agents").start_span("agent_session").end()

    flushed = provider.force_flush(500)

    assert flushed
    assert [span.name for span in exporter.get_finished_spans()] == ["agent_session"]
    hangs.set()
    provider.shutdown()


def test_a_flush_emits_the_stt_usage_of_a_thousand_sessions(line):
    """In a thread: a flush blocks an event loop for at most 5 ms."""
    sessions = [line.tracer.start_span("agent_session") for _ in range(1_000)]
    for session in sessions:
        with trace.use_span(session):
            line.report("stt_metrics", stt_metrics())
    makers = set()
    line.provider.add_span_processor(_Threads(makers))

    async def flush():
        line.provider.force_flush()

    asyncio.run(flush())
    line.provider.shutdown()

    assert len(line.spans("stt_usage")) == 1_000
    assert threading.get_ident() not in makers


class _Threads(SpanProcessor):
    def __init__(self, makers):
        self.makers = makers

    def on_end(self, span):
        if span.name == "stt_usage":
            self.makers.add(threading.get_ident())


def test_nothing_is_lost_if_no_thread_can_start(price_catalog, exporter, monkeypatch, tmp_path):
    """As under a process limit, and from Python 3.12 on at interpreter exit."""
    records = []

    def refuse(*_args, **_options):
        raise RuntimeError("can't start new thread")

    settings = Settings(records_file=str(tmp_path / "calls.jsonl"))
    line = Line(price_catalog, exporter, settings=settings, on_session_end=records.append)
    with monkeypatch.context() as limited:
        limited.setattr(_thread, "start_new_thread", refuse)
        limited.setattr(threading, "_start_new_thread", refuse)
        with line.session():
            line.report("stt_metrics", stt_metrics())
            line.provider.force_flush(1_000)
            line.report("stt_metrics", stt_metrics(audio_duration=1.0))
    with line.session():
        line.report("stt_metrics", stt_metrics())
    line.provider.shutdown()

    assert [span.attributes["voice_cost.quantity.audio_second"] for span in line.spans("stt_usage")] == [5, 1, 5]
    assert all("voice_cost.session.usd" in span.attributes for span in line.spans("agent_session"))
    assert len(records) == 2
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) == 2


def test_unmatched_reports_are_priced_as_they_arrive(line):
    """So few of them are left at the end of the session."""
    with line.session():
        for number in range(4_096):
            line.report("llm_metrics", llm_metrics(request_id=f"r{number}"))
        priced = line.processor.stats().priced
    line.provider.shutdown()

    assert priced == 4_096 - 32
    (own,) = line.spans("llm_usage")
    assert own.attributes["voice_cost.quantity.input_token"] == 300 * 4_096


def test_usage_without_amounts_is_counted_as_unpriced_everywhere(price_catalog, exporter):
    records = []
    line = Line(price_catalog, exporter, on_session_end=records.append)
    with line.session():
        with line.tracer.start_as_current_span("agent_turn"):
            line.tracer.start_span("llm_request", attributes={"gen_ai.request.model": "gpt-4.1-mini"}).end()
            line.request("llm_request", "lk.llm_metrics", llm_metrics(prompt_cached_tokens=301))
            line.request()
        line.report("stt_metrics", stt_metrics(audio_duration=-1))
    line.provider.shutdown()

    reasons = [span.attributes.get("voice_cost.unpriced") for span in exporter.get_finished_spans()]
    assert sum(reason is not None for reason in reasons) == 3
    (turn,), (session,), (record,) = line.spans("agent_turn"), line.spans("agent_session"), records
    assert turn.attributes["voice_cost.turn.unpriced"] == 2
    assert session.attributes["voice_cost.session.unpriced"] == 3
    assert record.unpriced_count == 3
    assert line.processor.stats().unpriced == 3
    assert Decimal(session.attributes["voice_cost.session.usd"]) == record.usd == Decimal("0.009")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_budget_callback_that_exits_does_not_end_the_event_loop(price_catalog, exporter, caplog, is_async):
    called = []

    def leave(record):
        called.append("exceeded")
        raise SystemExit(SPEECH)

    async def leave_later(record):
        leave(record)

    budget = Budget(
        usd_per_session="0.001",
        on_warning=lambda _: called.append("warned"),
        on_exceeded=leave_later if is_async else leave,
    )

    async def call():
        line = Line(price_catalog, exporter, budget=budget)
        with line.session():
            line.request()  # carries it past both marks
            await asyncio.sleep(0.05)
        line.provider.shutdown()

    asyncio.run(call())

    assert called == ["warned", "exceeded"]
    (line,) = [record for record in caplog.records if "more than its budget" in record.message]
    assert line.levelno == logging.WARNING
    assert "Error in a budget callback: SystemExit (test_edges.py:" in caplog.text


def test_a_processor_built_in_a_running_loop_logs_it_once(price_catalog, caplog):
    async def build():
        VoiceCostSpanProcessor(catalog=price_catalog).shutdown()

    VoiceCostSpanProcessor(catalog=price_catalog).shutdown()
    assert "running event loop" not in caplog.text
    asyncio.run(build())
    assert caplog.text.count("built inside a running event loop") == 1


def test_a_span_with_an_unhashable_name_is_exported(line):
    with line.session():
        span = line.tracer.start_span("llm_request")
        span.update_name(["no", "name"])
        span.end()

    assert len(line.exporter.get_finished_spans()) == 2
    assert line.processor.stats().failed == 1


def test_attributes_in_a_mapping_without_copy_are_read(price_catalog, exporter):
    class Plain:
        """A minimal mapping."""

        def __init__(self, items):
            self._items = dict(items)

        def keys(self):
            return self._items.keys()

        def __getitem__(self, key):
            return self._items[key]

        def __len__(self):
            return len(self._items)

    class Leaves(SpanProcessor):
        def on_end(self, span):
            span._attributes = Plain(span.attributes)

    provider = TracerProvider()
    for processor in (Leaves(), VoiceCostSpanProcessor(catalog=price_catalog), SimpleSpanProcessor(exporter)):
        provider.add_span_processor(processor)
    provider.get_tracer("livekit-agents").start_span(
        "tts_request", attributes={"lk.tts_metrics": json.dumps(tts_metrics())}
    ).end()
    provider.shutdown()

    assert exporter.get_finished_spans()[0]._attributes["voice_cost.usd"] == "0.009"


def test_install_accepts_the_arguments_of_the_processor(price_catalog, exporter):
    records, provider = [], TracerProvider()
    processor = install(
        provider, catalog=price_catalog, on_session_end=records.append, budget=Budget(usd_per_session=1)
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    provider.get_tracer("livekit-agents").start_span("agent_session").end()
    provider.shutdown()

    assert len(records) == 1
    assert processor.would_exceed() is False


def test_a_session_that_ends_while_the_provider_shuts_down_has_one_record(price_catalog):
    """Both end the same session, many times: only one records it."""
    for _ in range(200):
        records, provider = [], TracerProvider()
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=records.append))
        session = provider.get_tracer("livekit-agents").start_span("agent_session")
        ending = threading.Thread(target=session.end)
        ending.start()
        provider.shutdown()
        ending.join()
        assert len(records) == 1


@pytest.mark.parametrize("name", ["agent_session", "agent_turn", "llm_node", "tts_node"])
@pytest.mark.parametrize(
    ("key", "cost"), [("gen_ai.usage.cost", 0.01), ("langfuse.observation.cost_details", '{"total": 0.01}')]
)
def test_an_application_cost_on_a_span_around_requests_is_logged(line, caplog, name, key, cost):
    for _ in range(2):
        line.tracer.start_span(name, attributes={key: cost}).end()

    assert caplog.text.count(f"A {key} of the application is on {name}") == 1
    assert caplog.text.count("count them twice") == 1
