"""OTLP JSON as the Collector's file exporter writes it."""

from __future__ import annotations

import base64
import json

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
