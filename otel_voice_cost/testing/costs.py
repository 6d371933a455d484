"""Costs of the sessions in a test."""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import Thread

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from ..bill import SessionCost
from ..prices.catalog import PriceCatalog
from ..processor import VoiceCostSpanProcessor
from ..settings import Settings

__all__ = ["SessionCosts"]

_FLUSH_MILLIS = 30_000  # records get a tenth of it


class SessionCosts:
    """A tracer provider for LiveKit and Pipecat, with a `VoiceCostSpanProcessor` whose costs are kept.

    Attributes:
        processor: For `current_cost` and `stats`.
    """

    def __init__(self, *, catalog: PriceCatalog | None = None, settings: Settings | None = None) -> None:
        """Make LiveKit use a new provider, and Pipecat if it is imported: until `close` it is the global one.

        Args:
            catalog: As for the processor.
            settings: As for the processor.
        """
        self._costs: list[SessionCost] = []
        self._provider = TracerProvider(shutdown_on_exit=False)
        self.processor = VoiceCostSpanProcessor(catalog=catalog, settings=settings, on_session_end=self._costs.append)
        self._provider.add_span_processor(self.processor)
        _use_in_livekit(self._provider)
        self._former_provider = trace._TRACER_PROVIDER
        if "pipecat" in sys.modules:
            trace._TRACER_PROVIDER = self._provider  # the API sets it once per process, tests need more

    @property
    def sessions(self) -> list[SessionCost]:
        """The costs of the ended sessions, in the order in which they ended."""
        flush = Thread(target=self._provider.force_flush, args=(_FLUSH_MILLIS,))  # in an event loop it would not wait
        flush.start()
        flush.join()
        return list(self._costs)

    @property
    def session(self) -> SessionCost:
        """The cost of the only ended session.

        Raises:
            AssertionError: There is not exactly one.
        """
        sessions = self.sessions
        assert len(sessions) == 1, f"voice_cost.session: got {len(sessions)} ended sessions, expected one"
        return sessions[0]

    def close(self) -> None:
        """Shut the provider down."""
        self._provider.shutdown()
        trace._TRACER_PROVIDER = self._former_provider


def _use_in_livekit(provider: TracerProvider) -> None:
    with suppress(ImportError):  # it is not installed
        from livekit.agents.telemetry import set_tracer_provider  # noqa: PLC0415

        set_tracer_provider(provider)
