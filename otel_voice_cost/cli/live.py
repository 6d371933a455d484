"""``doctor --live``: hold a short call through the user's own provider, and look at what leaves it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..cost import exact_sum, to_text
from ..export.attributes import USD
from ..export.processor_order import exports, get_processors
from ..processor import VoiceCostSpanProcessor
from ..sources.framework import Framework
from ..sources.livekit.framework import LIVEKIT

__all__ = ["LiveCall"]

_SPEED = 4.0  # times real time: the demo's call then takes five seconds
_SESSION_USD = "voice_cost.session.usd"


class LiveCall:
    """A call whose exported spans are recorded.

    Attributes:
        exporters: What each exporter of the provider was given.
        unwatched: Names of processors that export in a way of their own.
    """

    def __init__(self, provider: TracerProvider) -> None:
        """Find the exporters.

        Args:
            provider: The user's.
        """
        self._provider = provider
        self.exporters: list[_Watched] = []
        self.unwatched: list[str] = []
        for processor in _inner(get_processors(provider)):
            exporter = getattr(processor, "span_exporter", None)  # of the SDK's processors and those derived from them
            if exporter is not None:
                self.exporters.append(_Watched(exporter))
            elif exports(processor):
                self.unwatched.append(type(processor).__name__)

    def hold(self, framework: Framework) -> None:
        """Hold the demo's call, and flush the provider.

        Args:
            framework: Whose agent holds it.

        Raises:
            ImportError: Parts of the framework are missing.
        """
        for exporter in self.exporters:
            exporter.watch()
        if framework is LIVEKIT:
            from livekit.agents.telemetry import set_tracer_provider  # noqa: PLC0415  # takes a second

            from ..demo.call import hold_call  # noqa: PLC0415

            set_tracer_provider(self._provider)
            asyncio.run(hold_call(speed=_SPEED))
        else:
            from ..demo.pipecat.call import Desk  # noqa: PLC0415

            trace.set_tracer_provider(self._provider)
            asyncio.run(Desk().hold_call())
        self._provider.force_flush()


class _Watched:
    """An exporter, with the spans that it was given since.

    Attributes:
        name: Its class.
        spans: The spans.
        failed_exports: Number of exports that failed.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.name = type(exporter).__name__
        self.spans: list[ReadableSpan] = []
        self.failed_exports = 0

    def watch(self) -> None:
        """Record what it is given from now on."""
        export = self._exporter.export

        def record(spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.spans += spans
            result = SpanExportResult.FAILURE
            try:
                result = export(spans)
            finally:
                self.failed_exports += result is not SpanExportResult.SUCCESS
            return result

        self._exporter.export = record  # type: ignore[method-assign]  # of this object, in this process

    def problem(self) -> str | None:
        """Return what is wrong with what left, or None."""
        if not self.spans:
            return f"{self.name} was given no span of a call: a sampler or a filter before it drops them."
        if self.failed_exports:
            return f"{self.name} could not send: look at its log lines above for the answer, its address and keys."
        if not self._costs():
            return (
                f"{self.name} was given {len(self.spans)} spans without a cost: put VoiceCostSpanProcessor before it."
            )
        if self._total() is not None and self._total() != exact_sum(self._costs()):
            return (
                f"{self.name} was given spans for ${to_text(exact_sum(self._costs()))} of a call that cost "
                f"${to_text(self._total() or Decimal(0))}: a filter drops the others."
            )
        return None

    def summary(self) -> str:
        """Return what left."""
        usd = exact_sum(self._costs())
        return f"{self.name} sent {len(self.spans)} spans of a call, {len(self._costs())} with a cost: ${to_text(usd)}"

    def _costs(self) -> list[Decimal]:
        return [Decimal(str(attributes[USD])) for attributes in self._attributes() if USD in attributes]

    def _total(self) -> Decimal | None:
        found = [attributes[_SESSION_USD] for attributes in self._attributes() if _SESSION_USD in attributes]
        return Decimal(str(found[0])) if found else None

    def _attributes(self) -> Iterator[Any]:
        return (span.attributes or {} for span in self.spans)


def _inner(processors: Sequence[SpanProcessor]) -> Iterator[SpanProcessor]:
    """Yield processors, and those that ours wrap."""
    for processor in processors:
        yield processor
        if isinstance(processor, VoiceCostSpanProcessor) and processor.downstream is not None:
            yield processor.downstream
