"""The three set-ups, the wrong order, two processors, and a disabled processor."""

from __future__ import annotations

import gc
import json
import logging

import pytest
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NoOpTracerProvider, SpanContext, Status, StatusCode

from otel_voice_cost import Settings, VoiceCostError, VoiceCostSpanProcessor, install

from ..conftest import tts_metrics


def end_tts(provider: TracerProvider) -> None:
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics())}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass


def costs(exporter: InMemorySpanExporter) -> list[object]:
    return [span.attributes.get("voice_cost.usd") for span in exporter.get_finished_spans()]


def test_added_before_the_exporter(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(BatchSpanProcessor(exporter))

    end_tts(provider)
    provider.force_flush()

    assert costs(exporter) == ["0.009"]


def test_wrapping_leaves_other_pipelines_untouched(price_catalog):
    """In any order, the wrapped pipeline receives the cost, those before and after it do not."""
    before, wrapped, behind = InMemorySpanExporter(), InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(before))
    provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(wrapped), catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(behind))

    end_tts(provider)

    assert (costs(before), costs(wrapped), costs(behind)) == ([None], ["0.009"], [None])


def test_wrapping_keeps_every_field(price_catalog):
    """Dropped counts, links, events, status, scope and resource are the same on copy and original."""
    plain, wrapped = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(span_limits=SpanLimits(max_events=1, max_links=1, max_span_attributes=2))
    provider.add_span_processor(SimpleSpanProcessor(plain))
    provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(wrapped), catalog=price_catalog))
    links = [Link(SpanContext(1, number, is_remote=True)) for number in (1, 2)]
    with provider.get_tracer("livekit-agents", "1.8.9").start_as_current_span("tts_request", links=links) as span:
        span.set_attributes({"a": 1, "b": 2, "lk.tts_metrics": json.dumps(tts_metrics())})
        span.add_event("one")
        span.add_event("two")
        span.set_status(Status(StatusCode.ERROR, "broken"))

    (before,), (after,) = plain.get_finished_spans(), wrapped.get_finished_spans()
    assert (after.dropped_attributes, after.dropped_events, after.dropped_links) == (1, 1, 1)
    for field in ("name", "context", "parent", "kind", "start_time", "end_time", "status", "events", "links"):
        assert getattr(after, field) == getattr(before, field)
    assert after.resource is before.resource
    assert after.instrumentation_scope is before.instrumentation_scope
    assert before.attributes.items() < after.attributes.items()


def test_swapping_keeps_the_dropped_count(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider(span_limits=SpanLimits(max_span_attributes=2))
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request") as span:
        span.set_attributes({"a": 1, "b": 2, "lk.tts_metrics": json.dumps(tts_metrics())})

    (exported,) = exporter.get_finished_spans()
    assert exported.dropped_attributes == 1
    assert exported.attributes["voice_cost.usd"] == "0.009"


def test_install_puts_the_processor_first(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    installed = install(provider, catalog=price_catalog)
    end_tts(provider)

    assert costs(exporter) == ["0.009"]
    assert install(provider) is installed
    end_tts(provider)
    assert costs(exporter) == ["0.009", "0.009"]


def test_a_second_install_logs_the_options_that_it_ignores(price_catalog, caplog):
    provider = TracerProvider()
    install(provider, catalog=price_catalog)

    install(provider)
    assert "ignored" not in caplog.text
    install(provider, catalog=price_catalog, on_session_end=print)

    assert "ignored catalog, on_session_end. Pass them to the first call." in caplog.text


def test_install_moves_a_processor_that_was_added_too_late(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    provider.add_span_processor(processor)

    assert install(provider) is processor
    end_tts(provider)

    assert costs(exporter) == ["0.009"]


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (NoOpTracerProvider(), "got NoOpTracerProvider, expected opentelemetry.sdk.trace.TracerProvider"),
        (
            TracerProvider(active_span_processor=ConcurrentMultiSpanProcessor(), shutdown_on_exit=False),
            "wrap the exporting processor",
        ),
    ],
)
def test_install_logs_advice_for_a_provider_it_cannot_change(provider, message, price_catalog):
    with pytest.raises(VoiceCostError, match=message):
        install(provider, catalog=price_catalog)


def test_the_wrong_order_is_logged_once(price_catalog, caplog):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))

    end_tts(provider)
    end_tts(provider)

    (message,) = [record.message for record in caplog.records]
    assert "VoiceCostSpanProcessor was added after SimpleSpanProcessor" in message
    assert "install(provider)" in message


def test_the_right_order_is_not_logged(provider, caplog):
    end_tts(provider)

    assert caplog.records == []


def test_concurrent_processors_cause_a_warning(price_catalog, caplog):
    multi = ConcurrentMultiSpanProcessor()
    provider = TracerProvider(active_span_processor=multi, shutdown_on_exit=False)
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))

    end_tts(provider)

    assert "Wrap the exporting processor" in caplog.text


def test_a_second_processor_stays_passive(price_catalog, caplog):
    """Each of two wrapped pipelines would write the cost; a session is accounted for once."""
    first, second, provider = InMemorySpanExporter(), InMemorySpanExporter(), TracerProvider()
    for exporter in (first, second):
        provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(exporter), catalog=price_catalog))
    with provider.get_tracer("livekit-agents").start_as_current_span("agent_session"):
        end_tts(provider)

    assert costs(first)[0] == "0.009"
    assert costs(second) == [None, None]
    assert "this one is passive" in caplog.text


def test_a_disabled_processor_passes_everything_on_unchanged(price_catalog):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog, settings=Settings(enabled=False)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    end_tts(provider)
    provider.shutdown()

    assert set(exporter.get_finished_spans()[0].attributes) == {"lk.tts_metrics"}


def test_the_variable_disables_the_processor(monkeypatch):
    monkeypatch.setenv("VOICE_COST_ENABLED", "false")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(exporter)))

    end_tts(provider)

    assert set(exporter.get_finished_spans()[0].attributes) == {"lk.tts_metrics"}


class Recorder(SpanProcessor):
    """A downstream that records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.millis = -1

    def on_start(self, span, parent_context=None):
        self.calls.append("on_start")

    def _on_ending(self, span):
        self.calls.append("_on_ending")

    def on_end(self, span):
        self.calls.append("on_end")

    def shutdown(self):
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis=30_000):
        self.calls.append("force_flush")
        self.millis = timeout_millis
        return False


def test_downstream_receives_every_lifecycle_call(price_catalog):
    downstream = Recorder()
    processor = VoiceCostSpanProcessor(downstream, catalog=price_catalog)
    provider = TracerProvider()
    provider.add_span_processor(processor)

    end_tts(provider)
    flushed = processor.force_flush(5_000)
    provider.shutdown()

    assert [call for call in downstream.calls if call != "_on_ending"] == [
        "on_start",
        "on_end",
        "force_flush",
        "shutdown",
    ]
    assert flushed is False
    assert 0 < downstream.millis <= 5_000


def test_a_downstream_that_raises_does_not_affect_the_call(price_catalog, caplog):
    """The SDK would let it end the call; the exception is logged without its message."""

    class Raises(SpanProcessor):
        def fail(self, *args):
            raise RuntimeError("content")

        on_start = on_end = shutdown = force_flush = _on_ending = fail

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    processor = VoiceCostSpanProcessor(Raises(), catalog=price_catalog)
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    end_tts(provider)

    assert not processor.force_flush()
    provider.shutdown()
    assert len(exporter.get_finished_spans()) == 1
    assert processor.stats().failed >= 3
    assert "Error in the wrapped processor: RuntimeError (test_ways_in.py:" in caplog.text
    assert "content" not in caplog.text


def test_after_shutdown_spans_pass_unchanged(price_catalog):
    exporter = InMemorySpanExporter()
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    processor.shutdown()
    processor.shutdown()
    end_tts(provider)

    assert costs(exporter) == [None]


def test_logging_configuration_stays_unchanged(price_catalog):
    """No handler or level is set on any logger."""
    VoiceCostSpanProcessor(catalog=price_catalog).shutdown()

    logger = logging.getLogger("otel_voice_cost")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(was_enabled):
    before = gc.isenabled()
    try:
        (gc.enable if was_enabled else gc.disable)()
        VoiceCostSpanProcessor()
        with pytest.raises(AttributeError):
            VoiceCostSpanProcessor(settings="no settings")

        assert gc.isenabled() is was_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_no_garbage_collection_begins_while_prices_are_read():
    began, threshold = [], gc.get_threshold()
    gc.callbacks.append(lambda phase, _info: began.append(phase))
    try:
        gc.set_threshold(100)
        VoiceCostSpanProcessor()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.pop()

    assert len(began) < 20  # some before and after; reading prices would begin a hundred times as many
