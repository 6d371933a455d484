"""Hooks for Pipecat's usage reports: three methods that every service calls with each unit, metrics enabled or not.

Metrics frames would not do: they need ``enable_usage_metrics``, and text that is spoken token by token is missing from
them after an interruption. The methods are wrapped where their base classes define them, below overrides that add up.

Source:
    pipecat-ai 1.7.0 to 1.14.0, ``services/stt_service.py``, ``services/tts_service.py``,
    ``processors/frame_processor.py``. ``emit_stt_usage_metrics`` is new in 1.7. Classes with ``@traced_stt`` keep the
    original ``start_stt_usage_metrics`` from their definition, so wrapping that one would see nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple

from .. import Source, UsageReport
from .._wrapping import Hook, Listener, ListenerSubscription
from .reports import read_llm_report, read_stt_report, read_tts_report

__all__ = ["is_stt_hooked", "is_tts_hooked", "subscribe"]

Read = Callable[..., "UsageReport | None"]  # takes the arguments of the method


class _Reporting(NamedTuple):
    """A method that reports usage.

    Attributes:
        module: The module of the class.
        name: The class.
        method: The method, a coroutine function.
        read: Reads a call of it before it is made.
    """

    module: str
    name: str
    method: str
    read: Read


_STT = _Reporting("pipecat.services.stt_service", "STTService", "emit_stt_usage_metrics", read_stt_report)
_TTS = _Reporting("pipecat.services.tts_service", "TTSService", "start_tts_usage_metrics", read_tts_report)
_REPORTING = (
    _STT,
    _TTS,
    _Reporting("pipecat.processors.frame_processor", "FrameProcessor", "start_llm_usage_metrics", read_llm_report),
)


class _Once:
    """Reads a report for the first listener, and returns the same report to all others."""

    def __init__(self, read: Callable[[], UsageReport | None]) -> None:
        self._read: Callable[[], UsageReport | None] | None = read
        self._report: UsageReport | None = None
        self._error: Exception | None = None

    def __call__(self) -> UsageReport | None:
        read, self._read = self._read, None
        if read is not None:
            try:
                self._report = read()
            except Exception as error:  # noqa: BLE001  # each listener counts and logs it
                self._error = error
        if self._error is not None:
            raise self._error
        return self._report


class _Hook(Hook):
    """The wrappers of the process on Pipecat's classes."""

    modules = tuple(dict.fromkeys(reporting.module for reporting in _REPORTING))

    def wrap_all(self) -> None:
        for reporting in _REPORTING:
            holder = _find(reporting)
            if holder is not None:
                self.put(holder, reporting.method, partial(self._decorate, holder, reporting))

    def find_unhooked(self) -> list[str]:
        return [
            reporting.name
            for reporting in _REPORTING
            if (holder := _find(reporting)) is not None and not self.is_hooked(holder, reporting.method)
        ]

    def is_receiving(self, reporting: _Reporting) -> bool:
        """Return True if calls of a method are received."""
        holder = _find(reporting)
        return holder is not None and bool(self.subscriptions) and self.is_hooked(holder, reporting.method)

    def _decorate(self, holder: type, reporting: _Reporting, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        async def reported(processor: Any, *args: Any, **kwargs: Any) -> Any:
            if self.is_latest(holder, reporting.method, reported):
                try:
                    self._notify(partial(reporting.read, processor, *args, **kwargs))
                except BaseException:  # an interrupt: Pipecat's own report is still made
                    await method(processor, *args, **kwargs)
                    raise
            return await method(processor, *args, **kwargs)

        return reported

    def _notify(self, read: Callable[[], UsageReport | None]) -> None:
        once = _Once(read)
        for subscription in self.subscriptions:
            owner = subscription.owner()
            if owner is not None:
                subscription.function(owner, subscription.source, once)


def _find(reporting: _Reporting) -> type | None:
    holder = getattr(sys.modules.get(reporting.module), reporting.name, None)
    return holder if isinstance(holder, type) else None


_hook = _Hook()
is_stt_hooked = partial(_hook.is_receiving, _STT)
"""Returns True if the usage of speech-to-text is reported in this process."""

is_tts_hooked = partial(_hook.is_receiving, _TTS)
"""Returns True if the usage of text-to-speech is reported in this process."""


def subscribe(source: Source, listener: Listener) -> ListenerSubscription:
    """Call a bound method once with each usage report.

    Args:
        source: Passed to the listener.
        listener: Held weakly. Must not raise: the service's task would end.
    """
    subscription = ListenerSubscription(_hook, source, listener)
    _hook.add(subscription)
    return subscription
