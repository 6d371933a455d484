"""Run a call, send its spans over OTLP to a receiver in this process, print the received spans."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console

from .. import SessionCost, VoiceCostSpanProcessor
from .receiver import OtlpReceiver, ReceivedSpan

__all__ = ["Hold", "Print", "UntouchedSpans", "run"]

Hold = Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]  # calls its argument with progress messages
Untouched = Mapping[bytes, Mapping[str, Any]]  # attributes by span id
Print = Callable[[list[ReceivedSpan], Untouched, SessionCost, Console], bool]  # returns True if all figures agree

_WIDTH = 80  # of the output, if it is not a terminal


class UntouchedSpans(SpanProcessor):
    """Keeps the attributes of spans as their framework made them. Added before this package's processor.

    Attributes:
        attributes: Attributes by span id, as bytes.
    """

    def __init__(self) -> None:
        self.attributes: dict[bytes, Mapping[str, Any]] = {}

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None:
            self.attributes[span.context.span_id.to_bytes(8, "big")] = dict(span.attributes or {})


def run(title: str, use: Callable[[TracerProvider], None], hold: Hold, print_all: Print) -> int:
    """Run a call and print its bill; return 0 if all figures agree.

    Args:
        title: A sentence about the call.
        use: Makes the framework use a provider.
        hold: Holds the call.
        print_all: Prints the received spans and the record of the call.
    """
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("otel_voice_cost").setLevel(logging.WARNING)
    console, progress = Console(width=None if sys.stdout.isatty() else _WIDTH), Console(stderr=True)
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        untouched, records = UntouchedSpans(), list[SessionCost]()
        provider.add_span_processor(untouched)
        provider.add_span_processor(VoiceCostSpanProcessor(on_session_end=records.append))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
        for name, exporter in _further_exporters():
            provider.add_span_processor(BatchSpanProcessor(exporter))
            progress.print(f"The spans also go to {name}.")
        use(provider)
        progress.print(title)
        with progress.status("Calling") if progress.is_terminal else nullcontext() as status:
            asyncio.run(hold(status.update if status else progress.print))
        provider.shutdown()
        return 0 if print_all(receiver.spans, untouched.attributes, records[0], console) else 1


def _further_exporters() -> list[tuple[str, OTLPSpanExporter]]:
    """Return the exporters that the environment configures."""
    exporters = []
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        exporters.append(("OTEL_EXPORTER_OTLP_ENDPOINT", OTLPSpanExporter()))
    public, secret = os.environ.get("LANGFUSE_PUBLIC_KEY"), os.environ.get("LANGFUSE_SECRET_KEY")
    if public and secret:
        host = os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com").rstrip("/")
        token = base64.b64encode(f"{public}:{secret}".encode()).decode()
        exporter = OTLPSpanExporter(
            endpoint=f"{host}/api/public/otel/v1/traces", headers={"Authorization": f"Basic {token}"}
        )
        exporters.append((host, exporter))
    return exporters
