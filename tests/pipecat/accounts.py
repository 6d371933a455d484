"""Three accounts of a conversation: the vendors' meters, Pipecat's own attributes, and this package's.

Each is a number of units by component, model and unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_voice_cost import PriceCatalog
from otel_voice_cost._diagnostics import Stats
from otel_voice_cost.usage import Component

from ..vendors.meter import MeterEntry, meter_usd
from .conversations import REPORTS_STT, Conversation

__all__ = ["Accounts", "Amounts", "UnpricedSpans", "table"]

Amounts = Counter[tuple[str, str, str]]  # (component, model, unit) → amount
Costs = dict[tuple[str, str], Decimal]  # (component, model) → US dollars

_OWN_KEYS = {
    "metrics.audio_seconds": "seconds",
    "metrics.character_count": "characters",
    "gen_ai.usage.input_tokens": "input",
    "gen_ai.usage.output_tokens": "output",
}
_QUANTITY = "voice_cost.quantity."


class UnpricedSpans(SpanProcessor):
    """Keeps the attributes of Pipecat's spans as it ends them. Stands before this package's processor, which adds keys.

    Attributes:
        spans: Name and attributes.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.instrumentation_scope is not None and span.instrumentation_scope.name == "pipecat":
            self.spans.append((span.name, dict(span.attributes or {})))


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """A conversation that was held.

    Attributes:
        conversation: The conversation.
        meter: What the vendors bill.
        unpriced: Spans as Pipecat ended them.
        spans: All spans that were exported.
        stats: Of the processor.
        catalog: The prices of all.
        reader: Metrics of the processor.
    """

    conversation: Conversation
    meter: list[MeterEntry]
    unpriced: UnpricedSpans
    spans: list[ReadableSpan]
    stats: Stats
    catalog: PriceCatalog
    reader: InMemoryMetricReader

    @property
    def reported(self) -> list[MeterEntry]:
        """The meters as Pipecat reports them."""
        unreported = self.conversation.unreported
        lost = self.conversation.lost | (set() if REPORTS_STT else {Component.STT})
        return [
            self.conversation.to_reported(entry)
            for entry in self.meter
            if entry.component not in lost and (entry.component not in unreported or entry.reason == "complete")
        ]

    @property
    def stt_reasons(self) -> list[str | None]:
        """The reason on each span of speech-to-text that has no usage, None on the others."""
        spans = [span.attributes or {} for span in self.spans if span.name == "stt"]
        return [
            span.get("voice_cost.unpriced")
            for span in spans
            if not span["gen_ai.provider.name"].endswith("llmservice")  # the transcripts of a realtime model
        ]

    @property
    def cut_off(self) -> int:
        """The number of requests of which a vendor bills a part, and Pipecat reports nothing."""
        unreported = self.conversation.unreported
        return sum(entry.component in unreported and entry.reason == "cut off" for entry in self.meter)

    def truth(self) -> Amounts:
        """Return the units on the meters."""
        return _add_up(self.meter)

    def told(self) -> Amounts:
        """Return the units that Pipecat reports."""
        return _add_up(self.reported)

    def priced(self) -> Amounts:
        """Return the units that this package put on spans."""
        amounts: Amounts = Counter()
        for span in self.spans:
            attributes = span.attributes or {}
            for key, amount in attributes.items():
                if key.startswith(_QUANTITY):
                    component = str(attributes["voice_cost.component"])
                    amounts[component, self._model(attributes), key.removeprefix(_QUANTITY)] += Decimal(str(amount))
        return amounts

    def usd_of_meter(self) -> Costs:
        """Return the price of what Pipecat reports, by component and model."""
        entries = self.reported
        keys = {(entry.component.value, entry.model) for entry in entries if entry.quantities}
        return {
            key: meter_usd([entry for entry in entries if (entry.component.value, entry.model) == key], self.catalog)
            for key in sorted(keys)
        }

    def usd_on_spans(self) -> Costs:
        """Return the cost on all spans, by component and model."""
        costs: Costs = {}
        for span in self.spans:
            attributes = span.attributes or {}
            if "voice_cost.usd" in attributes:
                key = str(attributes["voice_cost.component"]), self._model(attributes)
                costs[key] = costs.get(key, Decimal(0)) + Decimal(str(attributes["voice_cost.usd"]))
        return {key: costs[key] for key in sorted(costs)}

    def usd_in_metrics(self) -> dict[str, float]:
        """Return the cost in the metrics, by component."""
        costs: Counter[str] = Counter()
        for point in _points(self.reader, "gen_ai.client.operation.cost"):
            costs[point.attributes["voice_cost.component"]] += point.sum
        return dict(costs)

    def _model(self, attributes: Mapping[str, Any]) -> str:
        """Return the model as it was asked for: vendors answer with the name of a snapshot."""
        model = str(attributes.get("gen_ai.response.model") or attributes["gen_ai.request.model"])
        asked = {entry.model for entry in self.meter if model.startswith(entry.model)}
        return max(asked, key=len, default=model)


def _add_up(entries: Iterable[MeterEntry]) -> Amounts:
    amounts: Amounts = Counter()
    for entry in entries:
        for unit, amount in entry.quantities.items():
            amounts[entry.component.value, entry.model, unit.value] += amount
    return amounts


def table(accounts: Iterable[Accounts]) -> str:
    """Return a Markdown table: units on the meters, in Pipecat's own attributes, and in this package's.

    Input and output are tokens of language and realtime models, each the sum over their kinds.
    """
    columns = ("seconds", "characters", "input", "output")
    lines = [f"| conversation | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for account in accounts:
        sums = [_by_column(account.truth()), _own_attributes(account.unpriced), _by_column(account.priced())]
        cells = [" / ".join(f"{float(each[column]):g}" for each in sums) for column in columns]
        lines.append(f"| {account.conversation.name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_column(amounts: Amounts) -> Counter[str]:
    columns: Counter[str] = Counter()
    for (_, _, unit), amount in amounts.items():
        if unit.endswith("_token"):
            column = "output" if unit.startswith(("output", "reasoning")) else "input"
        else:
            column = {"audio_second": "seconds", "character": "characters"}[unit]
        columns[column] += amount
    return columns


def _own_attributes(unpriced: UnpricedSpans) -> Counter[str]:
    """Return the sums of Pipecat's own attributes."""
    columns: Counter[str] = Counter()
    for _, attributes in unpriced.spans:
        for key, column in _OWN_KEYS.items():
            columns[column] += Decimal(str(attributes.get(key, 0)))
    return columns


def _points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    if data is None:
        return []
    metrics = [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]
