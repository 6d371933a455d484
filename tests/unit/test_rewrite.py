"""Attributes replaced on an ended span."""

from __future__ import annotations

import copy

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.export.span_attributes import copy_attributes, sdk_shares_spans, set_attributes


def snapshot(attributes):
    return ReadableSpan(name="s", attributes=attributes, resource=Resource({}))


def test_the_installed_sdk_shows_replaced_attributes():
    assert sdk_shares_spans()


def test_an_sdk_that_hides_replaced_attributes_is_detected(monkeypatch, caplog, price_catalog):
    """Such an SDK gives each processor a separate snapshot."""

    class Copies(SynchronousMultiSpanProcessor):
        def on_end(self, span):
            for processor in self._span_processors:
                processor.on_end(copy.copy(span))

    monkeypatch.setattr("otel_voice_cost.export.span_attributes.SynchronousMultiSpanProcessor", Copies)

    VoiceCostSpanProcessor(SimpleSpanProcessor(InMemorySpanExporter()), catalog=price_catalog).shutdown()
    assert caplog.records == []
    VoiceCostSpanProcessor(catalog=price_catalog).shutdown()

    assert "Wrap the exporting processor instead: VoiceCostSpanProcessor(BatchSpanProcessor(...))" in caplog.text


def test_the_container_of_the_live_span_is_not_touched():
    container = BoundedAttributes(attributes={"a": 1}, immutable=True)
    span = snapshot(container)

    set_attributes(span, {**copy_attributes(span), "b": 2})

    assert dict(container) == {"a": 1}
    assert dict(span.attributes) == {"a": 1, "b": 2}


def test_the_old_container_stays_unchanged():
    """The live span and other pipelines share it."""
    old = BoundedAttributes(attributes={"a": 1}, immutable=True)
    span = snapshot(old)
    set_attributes(span, {**copy_attributes(span), "b": 2})

    assert dict(old) == {"a": 1}
    assert span.attributes == {"a": 1, "b": 2}


def test_a_copy_leaves_the_span_unchanged_and_keeps_the_data_of_others(price_catalog):
    """A wrapped processor receives a copy: others on the provider get the span unchanged."""

    class Redacts(SpanProcessor):
        def on_end(self, span):
            span.stash = "LiveKit's"

    own, other = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(Redacts())
    provider.add_span_processor(VoiceCostSpanProcessor(SimpleSpanProcessor(own), catalog=price_catalog))
    provider.add_span_processor(SimpleSpanProcessor(other))
    with provider.get_tracer("livekit-agents").start_as_current_span("llm_request") as span:
        span.set_attribute("gen_ai.usage.input_tokens", 300)
        span.set_attribute("gen_ai.request.model", "gpt-4o-mini")

    (copied,), (original,) = own.get_finished_spans(), other.get_finished_spans()
    assert "voice_cost.component" in copied.attributes
    assert "voice_cost.component" not in original.attributes
    assert copied.stash == "LiveKit's"


def test_a_span_without_attributes_can_get_some():
    span = snapshot(None)
    assert copy_attributes(span) == {}
    set_attributes(span, {"b": 2})
    assert span.attributes == {"b": 2}
