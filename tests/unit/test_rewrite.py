"""Attributes swapped on a snapshot."""

from __future__ import annotations

import copy

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.export.span_attributes import add_attributes, sdk_shares_spans, with_attributes


def snapshot(attributes):
    return ReadableSpan(name="s", attributes=attributes, resource=Resource({}))


def test_the_installed_sdk_shows_the_swap():
    assert sdk_shares_spans()


def test_an_sdk_that_hides_the_swap_is_found_out(monkeypatch, caplog, price_catalog):
    """One that gives each processor a snapshot of its own."""

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

    add_attributes(span, {"b": 2})

    assert dict(container) == {"a": 1}
    assert dict(span.attributes) == {"a": 1, "b": 2}


def test_the_old_container_stays_as_it_was():
    """The live span and other pipelines share it."""
    old = BoundedAttributes(attributes={"a": 1}, immutable=True)
    span = snapshot(old)
    add_attributes(span, {"b": 2})

    assert dict(old) == {"a": 1}
    assert span.attributes == {"a": 1, "b": 2}


def test_a_copy_leaves_the_span_as_it_was_and_keeps_what_others_put_there():
    span = snapshot(BoundedAttributes(attributes={"a": 1}, immutable=True))
    span.stash = "LiveKit's"

    copy = with_attributes(span, {"b": 2})

    assert dict(span.attributes) == {"a": 1}
    assert dict(copy.attributes) == {"a": 1, "b": 2}
    assert copy.stash == "LiveKit's"


def test_a_span_without_attributes_can_get_some():
    assert dict(with_attributes(snapshot(None), {"b": 2}).attributes) == {"b": 2}
