"""Records spans and usage reports of real conversations on the installed LiveKit release.

    make record-releases

A recording is JSON: per scenario the starts and ends of spans and the reports between them, in order, with the ids
replaced by numbers. Only attributes about usage are kept, no conversation text.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from otel_voice_cost import PriceCatalog
from otel_voice_cost.export.processor_order import put_first
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.sources.livekit import LiveKitSource
from otel_voice_cost.sources.livekit.hooks import subscribe
from otel_voice_cost.sources.livekit.reports import read_report

from ..conftest import PRICES
from ..sessions import test_adapters, test_conversations, test_leftovers, test_many_sessions, test_realtime
from ..sessions.harness import Pipeline

KEPT = re.compile(
    r"lk\.(llm|tts|realtime_model)_metrics|lk\.(retry_count|fallback\..*|interrupted|tts\.streaming)"
    r"|gen_ai\.(usage\..*|request\.model|response\.(model|id)|provider\.name|operation\.name|output\.type)"
)

SCENARIOS = {
    "tool call": test_conversations.test_a_tool_call_takes_two_steps_of_the_model,
    "interruption": lambda pipeline: test_conversations.test_an_interruption(pipeline, streaming=True),
    "interrupted sentence": test_leftovers.test_a_sentence_whose_span_never_ends,
    "handoff": test_conversations.test_a_handoff_to_other_components,
    "language model fallback": test_adapters.test_language_model_fallback,
    "speech fallback": lambda pipeline: test_adapters.test_speech_fallback(pipeline, streaming=True),
    "hearing fallback": test_adapters.test_stt_fallback_is_priced_by_the_model_that_transcribed,
    "sentence by sentence": test_adapters.test_a_sentence_at_a_time_through_the_stream_adapter,
    "retry": test_adapters.test_a_retry_bills_what_was_reported,
    "sentences built on streams": test_adapters.test_sentences_built_on_streams_bill_once,
    "realtime": lambda pipeline: test_realtime.test_every_report_is_on_one_span(
        pipeline, ["matched", "unmatched", "repeated"]
    ),
    "realtime, late": lambda pipeline: test_realtime.test_every_report_is_on_one_span(pipeline, ["late"]),
    "shared components": test_many_sessions.test_sessions_that_share_components,
}


class Recorder(SpanProcessor):
    """Keeps spans and reports in order."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._subscription = subscribe(LiveKitSource(), self.hear, lambda metrics, reporter: (metrics, reporter))

    def _number(self, key: tuple[int, int]) -> int | None:
        return self._numbers.get(key)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if span.name.endswith("_usage"):  # ours
            return
        self._numbers[span.context[:2]] = number = len(self._numbers)
        parent = self._number((span.parent.trace_id, span.parent.span_id)) if span.parent else None
        self.entries.append({"start": number, "parent": parent, "name": span.name, "ns": span.start_time})

    def hear(self, _source: object, read: Any) -> None:
        metrics, reporter = read()
        report = read_report(metrics, reporter)
        if report is not None:
            number = self._number(report.span_key)
            self.entries.append(
                {"report": metrics.type, "label": metrics.label, "in": number, "json": report.match_key}
            )

    def on_end(self, span: ReadableSpan) -> None:
        number = self._number(span.context[:2])
        if number is not None:
            attributes = {key: value for key, value in span.attributes.items() if KEPT.fullmatch(key)}
            error = span.status.status_code is StatusCode.ERROR
            entry = {"end": number, "ns": span.end_time, "attributes": attributes, "error": error}
            self.entries.append(entry)

    def shutdown(self) -> None:
        self._subscription.cancel()


async def record(scenario: Any, catalog: PriceCatalog) -> list[dict[str, Any]]:
    otel_context.attach(otel_context.Context())
    pipeline, recorder = Pipeline(catalog), Recorder()
    put_first(pipeline.provider, recorder)
    try:
        await scenario(pipeline)
    except BaseException as error:
        if type(error).__name__ != "Skipped":
            raise
    finally:
        pipeline.provider.shutdown()
    return recorder.entries


def main() -> None:
    rates = parse_sheet(PRICES, "prices.toml").rates
    release = version("livekit-agents")
    scenarios = {name: asyncio.run(record(run, PriceCatalog([rates]))) for name, run in SCENARIOS.items()}
    header = {"livekit-agents": release, "opentelemetry-sdk": version("opentelemetry-sdk")}
    lines = [json.dumps(header)]
    for name, entries in scenarios.items():
        lines += [json.dumps({"scenario": name}), *(json.dumps(entry) for entry in entries)]
    Path(__file__).with_name(f"livekit-agents-{release}.jsonl").write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{release}: {sum(map(len, scenarios.values()))} entries\n")


if __name__ == "__main__":
    main()
