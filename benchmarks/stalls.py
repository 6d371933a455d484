"""How long one call of ours holds its thread at the worst: what an event loop feels. CPU time of the thread."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from time import thread_time_ns

from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import exporting

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.testing.components import ScriptedSTT

REPORTS = 4_096
SESSIONS = 1_000
SPANS = 65_536


class Report:
    """Metrics as LiveKit's classes see them."""

    def __init__(self, kind: str, request: str, model: str = "gpt-4.1-mini") -> None:
        self.type, self.label, self.request_id = kind, "x", request
        self._model = model

    def model_dump_json(self) -> str:
        amounts = {"audio_duration": 5.0} if self.type == "stt_metrics" else {"prompt_tokens": 300}
        provider = "Deepgram" if self.type == "stt_metrics" else "api.openai.com"
        metadata = {"model_name": self._model, "model_provider": provider}
        return json.dumps({"type": self.type, "request_id": self.request_id, **amounts, "metadata": metadata})


class Line:
    """A provider in use by LiveKit."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.ours = VoiceCostSpanProcessor()
        self.provider.add_span_processor(self.ours)
        self.provider.add_span_processor(exporting())
        set_tracer_provider(self.provider)
        self.tracer = self.provider.get_tracer("livekit-agents")
        self.component = ScriptedSTT([])

    def report(self, report: Report) -> None:
        self.component.emit("metrics_collected", report)


def milliseconds(step: Callable[[], object]) -> float:
    before = thread_time_ns()
    step()
    return (thread_time_ns() - before) / 1e6


def end_with_reports(*, models: bool) -> float:
    """The end of a session with reports that no span has claimed."""
    line = Line()
    session = line.tracer.start_span("agent_session")
    with trace.use_span(session):
        for number in range(REPORTS):
            line.report(Report("llm_metrics", f"r{number}", f"model-{number}" if models else "gpt-4.1-mini"))
    held = milliseconds(session.end)
    line.provider.shutdown()
    return held


def end_with_spans() -> float:
    """The end of a session that had as many spans as are remembered."""
    line = Line()
    session = line.tracer.start_span("agent_session")
    with trace.use_span(session):
        for _ in range(SPANS):
            line.tracer.start_span("function_tool").end()
    held = milliseconds(session.end)
    line.provider.shutdown()
    return held


def flush_on_the_loop() -> float:
    """A flush on an event loop, by this processor alone, while many sessions have heard something."""
    line = Line()
    for number in range(SESSIONS):
        with trace.use_span(line.tracer.start_span("agent_session")):
            line.report(Report("stt_metrics", f"s{number}", "nova-3"))

    async def flush() -> float:
        return milliseconds(line.ours.force_flush)

    held = asyncio.run(flush())
    line.provider.shutdown()
    return held


def main() -> None:
    logging.disable(logging.WARNING)  # of models without a price
    cases: dict[str, Callable[[], float]] = {
        f"end of a session, {REPORTS:,} reports without a span": lambda: end_with_reports(models=False),
        "the same, each of another model": lambda: end_with_reports(models=True),
        f"end of a session, {SPANS:,} spans": end_with_spans,
        f"flush on the loop, {SESSIONS:,} sessions": flush_on_the_loop,
    }
    rows = Table("what", "holds its thread, ms (median of 5)", box=box.SIMPLE)
    for name, case in cases.items():
        rows.add_row(name, f"{sorted(case() for _ in range(5))[2]:.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(rows)


if __name__ == "__main__":
    main()
