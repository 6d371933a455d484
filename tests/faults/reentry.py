"""Spans that end inside of a garbage collection, and signal handlers that flush, 20,000 times: run in a process.

A deadlock would stop the whole test run, so `test_reentry.py` gives each of these a process and a time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_voice_cost import PriceCatalog, VoiceCostSpanProcessor
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.testing.components import ScriptedSTT

from ..conftest import PRICES, llm_metrics, stt_metrics
from ..test_recorded import Report

TIMES = 20_000
_PAUSE_SECONDS = 0.0007  # between two signals
REQUEST_USD = Decimal("0.000152")  # of llm_metrics, at PRICES


class Sums(SpanExporter):
    """Adds up the cost of spans without keeping them."""

    def __init__(self) -> None:
        self.usd = Decimal(0)
        self.names: dict[str, int] = {}
        self.session_usd = Decimal(0)

    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            self._add(span)
        return SpanExportResult.SUCCESS

    def _add(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        self.usd += Decimal(str(attributes.get("voice_cost.usd", 0)))
        self.session_usd += Decimal(str(attributes.get("voice_cost.session.usd", 0)))
        self.names[span.name] = self.names.get(span.name, 0) + 1


class Call:
    """A session with consecutive requests, on a typical provider with metrics."""

    def __init__(self, *, wrapping: bool) -> None:
        self.sums = Sums()
        self.provider = TracerProvider()
        batch = BatchSpanProcessor(self.sums, max_queue_size=100_000)
        catalog = PriceCatalog([parse_sheet(PRICES, "prices.toml").rates])
        meters = MeterProvider(metric_readers=[InMemoryMetricReader()])
        ours = VoiceCostSpanProcessor(batch if wrapping else None, catalog=catalog, meter_provider=meters)
        self.processor = ours
        self.provider.add_span_processor(ours)
        if not wrapping:
            self.provider.add_span_processor(batch)
        set_tracer_provider(self.provider)
        self.tracer = self.provider.get_tracer("livekit-agents")
        self.component = ScriptedSTT([])

    def ask(self, number: int) -> None:
        """Make one request to a language model: its report, then its span."""
        text = json.dumps(llm_metrics(request_id=f"r{number}"))
        with self.tracer.start_as_current_span("llm_request") as span:
            self.component.emit("metrics_collected", Report({"report": "llm_metrics", "label": "x", "json": text}))
            span.set_attribute("lk.llm_metrics", text)

    def hear(self, number: int) -> None:
        """Report speech-to-text usage, which waits for a flush."""
        text = json.dumps(stt_metrics(request_id=f"s{number}", audio_duration=1.0))
        self.component.emit("metrics_collected", Report({"report": "stt_metrics", "label": "x", "json": text}))


def dropped_tasks(call: Call) -> int:
    """Create unreferenced tasks that never end, each with an open span."""

    async def tool() -> None:
        with call.tracer.start_as_current_span("function_tool"):
            await asyncio.get_running_loop().create_future()

    async def drop() -> None:
        for number in range(TIMES):
            asyncio.ensure_future(tool())  # noqa: RUF006  # that nobody keeps it is the point
            await asyncio.sleep(0)
            call.ask(number)

    asyncio.run(drop())
    return TIMES


def dropped_generators(call: Call) -> int:
    """Create generators in a reference cycle, each with an open model request: collections end billing spans."""
    ended = [0]

    def stream(number: int) -> Any:
        text = json.dumps(llm_metrics(request_id=f"g{number}"))
        span = call.tracer.start_span("llm_request", attributes={"lk.llm_metrics": text})
        try:  # never current: up to Python 3.11 a collection that resets a context corrupts it (CPython gh-148891)
            yield
        finally:
            span.end()
            ended[0] += 1

    for number in range(TIMES // 2):
        generator = stream(number)
        next(generator)
        cycle = [generator]
        cycle.append(cycle)  # type: ignore[arg-type]
        del generator, cycle
        call.ask(number)
    while ended[0] < TIMES // 2:  # a collection under way in another thread makes `collect` return at once
        gc.collect()
        time.sleep(0.01)
    return TIMES


def flushing_signal_handler(call: Call) -> int:
    """Install a handler that flushes, as many applications do for SIGTERM; each flush creates a span."""
    flushed = [0]

    def flush(*_: object) -> None:
        flushed[0] += 1
        call.hear(flushed[0])
        call.processor.force_flush(1_000)
        signal.setitimer(signal.ITIMER_REAL, _PAUSE_SECONDS)

    signal.signal(signal.SIGALRM, flush)
    signal.setitimer(signal.ITIMER_REAL, _PAUSE_SECONDS)
    for number in range(TIMES):
        call.ask(number)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert flushed[0] > 1_000
    return TIMES


SCRIPTS: dict[str, Callable[[Call], int]] = {
    script.__name__: script for script in (dropped_tasks, dropped_generators, flushing_signal_handler)
}


def main() -> None:
    """Run one script and compare requested with priced usage."""
    name, way = sys.argv[1:]
    gc.set_threshold(50)  # a collection every few lines
    call = Call(wrapping=way == "wrapping")
    session = call.tracer.start_span("agent_session")
    with trace.use_span(session):
        requests = SCRIPTS[name](call)
    session.end()
    call.provider.shutdown()

    heard = call.sums.names.get("stt_usage", 0)
    spoken = call.sums.usd - REQUEST_USD * requests
    assert call.sums.session_usd == call.sums.usd, (call.sums.session_usd, call.sums.usd)
    assert spoken >= 0, call.sums.names
    assert heard > 0 or spoken == 0, call.sums.names
    assert call.processor.stats().failed == 0
    sys.stdout.write(f"{requests} requests, {call.sums.names}\n")


if __name__ == "__main__":
    main()
