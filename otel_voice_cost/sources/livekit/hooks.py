"""Hooks for LiveKit's usage reports.

`subscribe` wraps ``emit`` of the base classes that report usage. Events of ``AgentSession`` would not do: it
unsubscribes before its speech-to-text reports the last seconds.

Source:
    livekit-agents 1.8.9, ``stt/stt.py``, ``llm/llm.py``, ``llm/realtime.py``, ``tts/tts.py``: ``emit`` is
    inherited from ``rtc.EventEmitter`` in 1.2 to 1.8; an adapter passes the same object on
    from inside the leaf's ``emit``.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import wrapt

from .. import Source, SpanKey, UsageReport, Work
from .._wrapping import Hook, Listener, ListenerSubscription, OnStream
from .server_events import SERVER_EVENT, ServerEvents
from .streams import note_report, stream_methods

__all__ = ["find_agent_session", "subscribe"]

_EVENT = "metrics_collected"
_MAX_REMEMBERED = 16  # metrics objects that are not counted again if they are passed on later
_TRIES = 3

_HOOKED = (
    ("stt", "STT"),
    ("llm", "LLM"),
    ("llm", "RealtimeSession"),
    ("tts", "TTS"),
    ("inference", "AdaptiveInterruptionDetector"),  # from 1.5
    ("inference", "TurnDetector"),  # from 1.6
)
_NEWER = {"AdaptiveInterruptionDetector", "TurnDetector"}  # missing in older releases

# Imported in this order; each import is a chance to find classes while the package is only partly imported.
_MODULES = ("livekit.agents", "livekit.agents.voice.agent_session", "livekit.agents.worker")

Read = Callable[[object, object], UsageReport | None]  # takes a metrics object and its reporter


class _Subscription(ListenerSubscription):
    """One listener, with its reader of metrics."""

    def __init__(self, hook: _Hook, source: Source, listener: Listener, read: Read, on_stream: OnStream | None) -> None:
        super().__init__(hook, source, listener, on_stream)
        self.read = read


class _Hook(Hook):
    """The wrappers of the process on LiveKit's classes."""

    modules = _MODULES

    def __init__(self) -> None:
        super().__init__()
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()  # AgentSessions that were started
        self._reported: tuple[object, ...] = ()  # the latest metrics; never changed in place
        self._server_events = ServerEvents(self._notify)

    def reset(self) -> None:
        """Create a new lock in a forked child."""
        super().reset()
        self._emitting = threading.local()

    def subscribe(
        self, source: Source, listener: Listener, read: Read, on_stream: OnStream | None = None
    ) -> _Subscription:
        subscription = _Subscription(self, source, listener, read, on_stream)
        self.add(subscription)
        return subscription

    def wrap_all(self) -> None:
        agents = sys.modules.get("livekit.agents")
        if agents is None:
            return
        for _, base in _bases(agents):
            if isinstance(base, type):
                self.put(base, "emit", partial(wrapt.FunctionWrapper, wrapper=self._emit))
        session = getattr(agents, "AgentSession", None)
        if isinstance(session, type):
            self.put(session, "start", partial(wrapt.FunctionWrapper, wrapper=self._start))
        if any(subscription.on_stream for subscription in self.subscriptions):
            for holder, name, decorator in stream_methods(agents, self._notify_of_stream):
                self.put(holder, name, decorator)

    def is_hooked(self, holder: type, name: str = "emit") -> bool:
        return super().is_hooked(holder, name)

    def find_unhooked(self) -> list[str]:
        agents = sys.modules.get("livekit.agents")
        return [
            name
            for name, base in (_bases(agents) if agents is not None else ())
            if not (base is None and name in _NEWER) and not (isinstance(base, type) and self.is_hooked(base))
        ]

    def _start(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        with suppress(TypeError):  # a class without weak references
            self._sessions.add(instance)
        return wrapped(*args, **kwargs)

    def get_session(self, key: SpanKey) -> Any:
        sessions: list[Any] = []
        for _ in range(_TRIES):
            with suppress(RuntimeError):  # another thread is starting one
                sessions = list(self._sessions)
                break
        for session in sessions:
            span = getattr(session, "_session_span", None)
            if span is not None and span.get_span_context()[:2] == key:
                return session
        return None

    def _emit(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        if len(args) != 2 or args[0] != _EVENT:
            if len(args) == 2 and args[0] == SERVER_EVENT:
                with suppress(Exception):  # an event of another vendor's
                    self._server_events.receive(instance, args[1])
            return wrapped(*args, **kwargs)
        outer = getattr(self._emitting, "metrics", ())
        metrics = args[1]
        last = self._reported
        if any(metrics is other for other in last) or any(_is_copy(metrics, reported) for reported in outer):
            return wrapped(*args, **kwargs)
        self._reported = (*last[1 - _MAX_REMEMBERED :], metrics)
        self._emitting.metrics = (*outer, metrics)
        try:
            try:
                self._notify(metrics, instance)
            except BaseException:  # an interrupt: LiveKit's own listeners receive the metrics all the same
                wrapped(*args, **kwargs)
                raise
            return wrapped(*args, **kwargs)
        finally:
            self._emitting.metrics = outer

    def _notify_of_stream(self, work: Work) -> None:
        for subscription in self.subscriptions:
            owner = subscription.owner()
            if owner is not None and subscription.on_stream is not None:
                subscription.on_stream(owner, subscription.source, work)

    def _notify(self, metrics: object, instance: object) -> None:
        reads: list[Callable[[_Subscription], UsageReport | None]] = [partial(_read_by, metrics, instance)]
        for note in (partial(note_report, metrics), partial(self._server_events.note_metrics, instance, metrics)):
            try:
                note()
            except Exception as error:  # noqa: BLE001  # each listener counts and logs it, and the report counts too
                reads.append(partial(_fail, error))
        for subscription in self.subscriptions:
            owner = subscription.owner()
            for read in reads if owner is not None else ():
                subscription.function(owner, subscription.source, partial(read, subscription))


def _read_by(metrics: object, instance: object, subscription: _Subscription) -> UsageReport | None:
    return subscription.read(metrics, instance)


def _fail(error: Exception, _subscription: _Subscription) -> None:
    raise error


def _is_copy(metrics: object, reported: object) -> bool:
    """Return True if metrics that are emitted during the report of others are a copy of them."""
    with suppress(Exception):  # a broken metrics object may raise anything
        request = getattr(metrics, "request_id", None)
        return bool(request) and type(metrics) is type(reported) and request == getattr(reported, "request_id", None)
    return False


def _bases(agents: Any) -> Iterator[tuple[str, Any]]:
    """Yield the classes that report usage, by name; None if the release lacks one."""
    for module, name in _HOOKED:
        yield name, getattr(getattr(agents, module, None), name, None)


_hook = _Hook()


def subscribe(source: Source, listener: Listener, read: Read, on_stream: OnStream | None = None) -> _Subscription:
    """Call a bound method once with each usage report.

    Args:
        source: Passed to the listener.
        listener: Held weakly. Must not raise: LiveKit's metrics task would end.
        read: Reads a metrics object and its reporter; called by the listener.
        on_stream: A method of the same object, called with each stream of speech-to-text; must not raise either.
    """
    return _hook.subscribe(source, listener, read, on_stream)


def find_agent_session(key: SpanKey) -> Any:
    """Return the running AgentSession of an ``agent_session`` span, or None.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``AgentSession._session_span``.
    """
    return _hook.get_session(key)
