"""OTLP JSON as the Collector's file exporter writes it."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

_IDS = ("traceId", "spanId", "parentSpanId")


def to_line(spans) -> str:
    """One export request on one line.

    Source: OTLP 1.8, JSON protobuf encoding: ids in hexadecimal, 64-bit integers as text.
    """
    request = MessageToDict(encode_spans(spans))
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in _IDS:
                    if key in span:
                        span[key] = base64.b64decode(span[key]).hex()
    return json.dumps(request, ensure_ascii=False, separators=(",", ":"))


def to_messages(spans, *, compress=lambda message: message, count=2) -> bytes:
    """Export requests as the Collector's file exporter writes them with ``format: proto``, or compressed as JSON."""
    size = -(-len(spans) // count)
    parts = [spans[start : start + size] for start in range(0, len(spans), size)]
    return b"".join(frame(compress(encode_spans(part).SerializeToString())) for part in parts)


def frame(message: bytes) -> bytes:
    """Return a message after its length."""
    return len(message).to_bytes(4, "big") + message


def zstd(data: bytes) -> bytes:
    """Compress as the Collector does."""
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()
