"""Received spans: real exporters, real receivers, types intact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_voice_cost import VoiceCostSpanProcessor, install
from otel_voice_cost.demo.receiver import OtlpReceiver, ReceivedSpan, received_spans

from ..conftest import tts_metrics


class GrpcReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC receiver that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.server = grpc.server(ThreadPoolExecutor(1))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):
        self.spans += received_spans(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(params=["http", "grpc"])
def wire(request) -> Iterator[tuple[list[ReceivedSpan], object]]:
    """A receiver's spans and an exporter that sends to it."""
    if request.param == "http":
        with OtlpReceiver() as receiver:
            yield receiver.spans, HttpExporter(endpoint=receiver.endpoint)
    else:
        grpc_receiver = GrpcReceiver()
        yield grpc_receiver.spans, GrpcExporter(endpoint=f"127.0.0.1:{grpc_receiver.port}", insecure=True)
        grpc_receiver.server.stop(None)


def build(way: str, exporter, catalog) -> TracerProvider:
    provider = TracerProvider()
    batch = BatchSpanProcessor(exporter)
    if way == "before":
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=catalog))
        provider.add_span_processor(batch)
    elif way == "wrapping":
        provider.add_span_processor(VoiceCostSpanProcessor(batch, catalog=catalog))
    else:
        provider.add_span_processor(batch)
        install(provider, catalog=catalog)
    return provider


@pytest.mark.parametrize("way", ["before", "wrapping", "install"])
def test_attribute_types_survive(wire, way, price_catalog):
    """Doubles are doubles, whole numbers ints, flags booleans, JSON text: Langfuse drops any other type."""
    spans, exporter = wire
    provider = build(way, exporter, price_catalog)
    attributes = {"lk.tts_metrics": json.dumps(tts_metrics()), "kept": [1, 2]}
    with provider.get_tracer("livekit-agents").start_as_current_span("tts_request", attributes=attributes):
        pass
    provider.shutdown()

    (span,) = spans
    got = span.attributes
    assert span.scope == "livekit-agents"
    assert (type(got["gen_ai.usage.cost"]), got["gen_ai.usage.cost"]) == (float, 0.009)
    assert (type(got["voice_cost.quantity.character"]), got["voice_cost.quantity.character"]) == (int, 180)
    assert (type(got["gen_ai.usage.input_tokens"]), got["gen_ai.usage.input_tokens"]) == (int, 180)
    assert got["voice_cost.estimated"] is False
    assert got["voice_cost.usd"] == "0.009"
    assert json.loads(got["langfuse.observation.usage_details"]) == {"input_characters": 180, "total": 180}
    assert json.loads(got["langfuse.observation.cost_details"]) == {"input_characters": 0.009, "total": 0.009}
    assert got["kept"] == [1, 2]
