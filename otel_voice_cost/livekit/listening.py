"""Listens to LiveKit's reports of usage.

`subscribe` wraps ``emit`` of the base classes that report usage: nothing is lost there, while
``AgentSession`` stops listening before its speech-to-text reports its last seconds. The wrapper is put
on with the first subscriber, as soon as livekit.agents is imported, and taken away with the last.

Source:
    livekit-agents 1.8.9, ``stt/stt.py``, ``llm/llm.py``, ``llm/realtime.py``, ``tts/tts.py``: ``emit`` is
    inherited from ``rtc.EventEmitter`` in 1.2 to 1.8; an adapter passes the very same object on
    from inside the leaf's ``emit``.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import wrapt

from .._forks import reset_after_fork
from .events import SpanKey

__all__ = ["agent_session_of", "subscribe", "unheard_classes"]

_EVENT = "metrics_collected"

_HOOKED = (
    ("stt", "STT"),
    ("llm", "LLM"),
    ("llm", "RealtimeSession"),
    ("tts", "TTS"),
    ("inference", "AdaptiveInterruptionDetector"),  # from 1.5
    ("inference", "TurnDetector"),  # from 1.6
)
_NEWER = {"AdaptiveInterruptionDetector", "TurnDetector"}  # what older releases lack

Listener = Callable[[object], None]


class _Hook:
    """The one wrapper of the process, and who listens to it."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)
        self._listeners: tuple[weakref.WeakMethod[Listener], ...] = ()
        self._patched: list[type] = []
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()  # AgentSessions that were started
        self._session_class: type | None = None
        self._waiting = False

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self._lock = threading.RLock()  # a listener may be collected, and dropped, at any point
        self._emitting = threading.local()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        reference = weakref.WeakMethod(listener, self._dropped)
        with self._lock:
            self._listeners += (reference,)
            first_ever, self._waiting = not self._waiting, True
        if first_ever:
            wrapt.when_imported("livekit.agents")(lambda _module: self._patch())
        elif "livekit.agents" in sys.modules:
            self._patch()
        return lambda: self._dropped(reference)

    def _dropped(self, reference: weakref.WeakMethod[Listener]) -> None:
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not reference)
            if not self._listeners:
                self._unpatch()

    def _patch(self) -> None:
        agents = sys.modules["livekit.agents"]
        with self._lock:
            if self._patched or not self._listeners:
                return
            for module, name in _HOOKED:
                base = getattr(getattr(agents, module, None), name, None)
                if isinstance(base, type) and "emit" not in vars(base):
                    wrapt.wrap_function_wrapper(base, "emit", self._emit)
                    self._patched.append(base)
            session = getattr(agents, "AgentSession", None)
            if isinstance(session, type) and "start" in vars(session):
                wrapt.wrap_function_wrapper(session, "start", self._start)
                self._session_class = session

    def _unpatch(self) -> None:
        for base in self._patched:
            if isinstance(vars(base).get("emit"), wrapt.FunctionWrapper):
                del base.emit  # type: ignore[attr-defined]  # inherited again, as before
        self._patched = []
        session, self._session_class = self._session_class, None
        start = vars(session).get("start") if session is not None else None
        if session is not None and isinstance(start, wrapt.FunctionWrapper):
            session.start = start.__wrapped__  # type: ignore[attr-defined]

    def _start(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        with self._lock, suppress(TypeError):  # of a class that cannot be held weakly
            self._sessions.add(instance)
        return wrapped(*args, **kwargs)

    def session_of(self, key: SpanKey) -> Any:
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            span = getattr(session, "_session_span", None)
            if span is not None and span.get_span_context()[:2] == key:
                return session
        return None

    def _emit(self, wrapped: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
        if len(args) != 2 or args[0] != _EVENT:
            return wrapped(*args, **kwargs)
        outer = getattr(self._emitting, "metrics", ())
        metrics = args[1]
        if any(metrics is passed_on for passed_on in outer):
            return wrapped(*args, **kwargs)
        self._emitting.metrics = (*outer, metrics)
        try:
            self._notify(metrics)
            return wrapped(*args, **kwargs)
        finally:
            self._emitting.metrics = outer

    def _notify(self, metrics: object) -> None:
        for reference in self._listeners:
            listener = reference()
            if listener is not None:
                listener(metrics)


_hook = _Hook()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call a bound method with every metrics object, once each; return the way to stop that.

    Args:
        listener: A bound method; it is held weakly and must not raise, for LiveKit's metrics
            task would die of it.

    Returns:
        Stops the calls. The last subscriber to go takes the wrapper from LiveKit's classes.
    """
    return _hook.subscribe(listener)


def agent_session_of(key: SpanKey) -> Any:
    """The running AgentSession of an ``agent_session`` span, or None.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``AgentSession._session_span``.
    """
    return _hook.session_of(key)


class _Probe:
    def hear(self, _metrics: object) -> None:
        """Nothing."""


def unheard_classes() -> list[str]:
    """Names of LiveKit's classes whose reports cannot be heard; livekit.agents must be imported."""
    probe = _Probe()
    stop = subscribe(probe.hear)
    try:
        agents = sys.modules["livekit.agents"]
        bases = {name: getattr(getattr(agents, module, None), name, None) for module, name in _HOOKED}
        return [
            name
            for name, base in bases.items()
            if not isinstance(getattr(base, "__dict__", {}).get("emit"), wrapt.FunctionWrapper)
            and not (base is None and name in _NEWER)
        ]
    finally:
        stop()
