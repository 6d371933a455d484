"""Runs real AgentSession conversations offline and compares two accounts of them.

*Reported* is the usage that leaf components emitted, received by plain listeners on the objects. *Spans*
are those that the tracer provider exported. Every unit reported must be on exactly one span, and the cost over the
spans must be the priced sum of what was reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Thread
from typing import Any

import livekit.agents
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, SessionCost, VoiceCostSpanProcessor
from otel_voice_cost.testing import Caller, converse, new_session

__all__ = [
    "PATIENCE_SECONDS",
    "RELEASE",
    "SPEED",
    "Caller",
    "Pipeline",
    "amounts_in",
    "amounts_on",
    "assert_all_on_one_span",
    "assert_session_totals",
    "converse",
    "cost_of_amounts",
    "cost_on",
    "new_session",
]

RELEASE = tuple(int(part) for part in livekit.agents.__version__.split(".")[:2])
SPEED = 10.0
PATIENCE_SECONDS = 10.0

# US dollars, of tests/conftest.py: by component and model, per unit.
MILLIONTH = Decimal("0.000001")
RATES = {
    ("llm", "gpt-4.1-mini", "input_token"): Decimal("0.40") * MILLIONTH,
    ("llm", "gpt-4.1-mini", "cached_input_token"): Decimal("0.10") * MILLIONTH,
    ("llm", "gpt-4.1-mini", "output_token"): Decimal("1.60") * MILLIONTH,
    ("realtime", "gpt-realtime", "input_text_token"): 4 * MILLIONTH,
    ("realtime", "gpt-realtime", "cached_input_text_token"): Decimal("0.40") * MILLIONTH,
    ("realtime", "gpt-realtime", "input_audio_token"): 32 * MILLIONTH,
    ("realtime", "gpt-realtime", "cached_input_audio_token"): Decimal("0.40") * MILLIONTH,
    ("realtime", "gpt-realtime", "output_text_token"): 16 * MILLIONTH,
    ("realtime", "gpt-realtime", "output_audio_token"): 64 * MILLIONTH,
    ("realtime", "grok-voice", "session_second"): Decimal("0.08") / 60,
    ("stt", "nova-3", "audio_second"): Decimal("0.0048") / 60,
    ("stt", "universal-streaming", "audio_second"): Decimal("0.15") / 3600,
    ("tts", "sonic-3", "character"): 50 * MILLIONTH,
    ("tts", "sonic-3-turbo", "character"): 50 * MILLIONTH,
}

Amounts = Counter[tuple[str, str, str]]  # (component, model, unit) → amount


@dataclass
class Pipeline:
    """A tracer provider that LiveKit uses, with this package's processor and the exported spans."""

    catalog: PriceCatalog
    limits: SpanLimits | None = None
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reported: list[Any] = field(default_factory=list)
    records: list[SessionCost] = field(default_factory=list)
    wrapping: bool = False

    def __post_init__(self) -> None:
        self.provider = TracerProvider(span_limits=self.limits) if self.limits else TracerProvider()
        simple = SimpleSpanProcessor(self.exporter)
        self.processor = VoiceCostSpanProcessor(
            simple if self.wrapping else None, catalog=self.catalog, on_session_end=self.records.append
        )
        self.provider.add_span_processor(self.processor)
        if not self.wrapping:
            self.provider.add_span_processor(simple)
        set_tracer_provider(self.provider)

    def listen(self, *components: Any) -> None:
        """Keep the reports of leaf components."""
        for component in components:
            component.on("metrics_collected", lambda metrics: self.reported.append(metrics.model_copy(deep=True)))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    @property
    def record(self) -> SessionCost:
        """The record of the only session, which has ended."""
        flush = Thread(target=self.provider.force_flush)  # in an event loop it would not wait for records
        flush.start()
        flush.join()
        (record,) = self.records
        return record

    def session_spans(self) -> list[ReadableSpan]:
        return self.named("agent_session")


def amounts_on(spans: Iterable[ReadableSpan]) -> Amounts:
    """Every quantity on billing spans."""
    amounts: Amounts = Counter()
    for span in spans:
        attributes = span.attributes or {}
        for key, amount in attributes.items():
            if key.startswith("voice_cost.quantity."):
                unit = key.removeprefix("voice_cost.quantity.")
                model = str(attributes["gen_ai.response.model"])
                amounts[str(attributes["voice_cost.component"]), model, unit] += Decimal(str(amount))
    return rounded(amounts)


def amounts_in(reported: Iterable[Any]) -> Amounts:
    """Every quantity in reported metrics, calculated independently."""
    amounts: Amounts = Counter()
    for metrics in reported:
        model = metrics.metadata.model_name
        if metrics.type == "llm_metrics":
            amounts["llm", model, "input_token"] += metrics.prompt_tokens - metrics.prompt_cached_tokens
            amounts["llm", model, "cached_input_token"] += metrics.prompt_cached_tokens
            amounts["llm", model, "output_token"] += metrics.completion_tokens
        elif metrics.type == "tts_metrics":
            amounts["tts", model, "character"] += metrics.characters_count
        elif metrics.type == "stt_metrics":
            amounts["stt", model, "audio_second"] += Decimal(str(metrics.audio_duration))
        elif metrics.type == "realtime_model_metrics":
            details, out = metrics.input_token_details, metrics.output_token_details
            cached = details.cached_tokens_details
            text, audio = (cached.text_tokens, cached.audio_tokens) if cached else (0, 0)
            amounts["realtime", model, "input_text_token"] += details.text_tokens - text
            amounts["realtime", model, "cached_input_text_token"] += text
            amounts["realtime", model, "input_audio_token"] += details.audio_tokens - audio
            amounts["realtime", model, "cached_input_audio_token"] += audio
            amounts["realtime", model, "output_text_token"] += out.text_tokens
            amounts["realtime", model, "output_audio_token"] += out.audio_tokens
            seconds = getattr(metrics, "session_duration", 0.0)
            amounts["realtime", model, "session_second"] += Decimal(str(seconds))
    return rounded(amounts)


def rounded(amounts: Amounts) -> Amounts:
    """Remove zeros and rounding errors of doubles."""
    return Counter({key: round(Decimal(n), 6) for key, n in amounts.items() if n})


def cost_of_amounts(amounts: Amounts) -> Decimal:
    return sum((n * RATES[key] for key, n in amounts.items()), Decimal(0))


def cost_on(spans: Iterable[ReadableSpan]) -> Decimal:
    return sum((Decimal(str(span.attributes.get("voice_cost.usd", 0))) for span in spans), Decimal(0))


def assert_all_on_one_span(pipeline: Pipeline) -> None:
    """Assert the rule of the package: all reported usage, once, and nothing else."""
    spans = pipeline.spans
    assert amounts_on(spans) == amounts_in(pipeline.reported)
    assert abs(cost_on(spans) - cost_of_amounts(amounts_in(pipeline.reported))) < Decimal("1e-9")
    unpriced = [span.attributes["voice_cost.unpriced"] for span in spans if "voice_cost.unpriced" in span.attributes]
    assert [reason for reason in unpriced if reason != "LiveKit reported no usage for this request"] == []
    for span in spans:
        if span.name in ("agent_session",) or span.name.endswith(("_run", "_adapter", "tts_node")):
            assert "gen_ai.usage.cost" not in span.attributes


def assert_session_totals(pipeline: Pipeline) -> None:
    """Assert that the total on agent_session equals the sum over the spans, digit for digit."""
    totals = sum(Decimal(span.attributes["voice_cost.session.usd"]) for span in pipeline.session_spans())
    assert totals == cost_on(pipeline.spans)
