"""Listens to LiveKit's reports of usage.

`subscribe` wraps ``emit`` of the base classes that report usage: nothing is lost there, while
``AgentSession`` stops listening before its speech-to-text reports its last seconds. The wrapper goes on top of
whatever is there, as soon as livekit.agents is imported, and is looked after with each session that begins. With the
last subscriber it is taken away, if nobody else's is on top of it; beneath another it stays and does nothing.

Source:
    livekit-agents 1.8.9, ``stt/stt.py``, ``llm/llm.py``, ``llm/realtime.py``, ``tts/tts.py``: ``emit`` is
    inherited from ``rtc.EventEmitter`` in 1.2 to 1.8; an adapter passes the very same object on
    from inside the leaf's ``emit``.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import wrapt

from .._forks import reset_after_fork
from .events import SpanKey

__all__ = ["agent_session_of", "hears_first", "listen_again", "subscribe", "unheard_classes"]

_EVENT = "metrics_collected"
_MAX_WRAPPERS = 100  # on a method
_MAX_HEARD = 16  # metrics objects that are not heard again, should somebody pass them on later

_HOOKED = (
    ("stt", "STT"),
    ("llm", "LLM"),
    ("llm", "RealtimeSession"),
    ("tts", "TTS"),
    ("inference", "AdaptiveInterruptionDetector"),  # from 1.5
    ("inference", "TurnDetector"),  # from 1.6
)
_NEWER = {"AdaptiveInterruptionDetector", "TurnDetector"}  # what older releases lack

# Imported one after the other; each is a chance to find classes where the package is half imported by now.
_MODULES = ("livekit.agents", "livekit.agents.voice.agent_session", "livekit.agents.worker")

Listener = Callable[[object, object], None]


class _Wrapper(NamedTuple):
    """A wrapper of ours on a method of a class."""

    method: Any  # a wrapt.FunctionWrapper
    is_own: bool  # whether the class had the method itself, and did not inherit it

    def is_on_top_of(self, holder: type, name: str) -> bool:
        return vars(holder).get(name) is self.method


class _Hook:
    """The wrappers of the process, and who listens to them."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)
        self._listeners: tuple[weakref.WeakMethod[Listener], ...] = ()
        self._wrappers: dict[tuple[type, str], _Wrapper] = {}
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()  # AgentSessions that were started
        self._heard: tuple[object, ...] = ()  # the last metrics; never changed in place, for this may be interrupted
        self._awaits_import = False

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self._lock = threading.RLock()  # a listener may be collected, and dropped, at any point
        self._emitting = threading.local()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        reference = weakref.WeakMethod(listener, self._drop)
        with self._lock:
            self._listeners += (reference,)
            first_ever, self._awaits_import = not self._awaits_import, True
        if first_ever:
            for module in _MODULES:
                wrapt.when_imported(module)(lambda _module: self.wrap())
        else:
            self.wrap()
        return lambda: self._drop(reference)

    def _drop(self, reference: weakref.WeakMethod[Listener]) -> None:
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not reference)
            if not self._listeners:
                self._unwrap()

    def first_listener(self) -> Listener | None:
        return next((listener for reference in self._listeners if (listener := reference()) is not None), None)

    def wrap(self) -> None:
        """Put the wrappers on the classes that lack them."""
        agents = sys.modules.get("livekit.agents")
        with self._lock:
            if agents is None or not self._listeners:
                return
            for _, base in _bases(agents):
                if isinstance(base, type):
                    self._wrap(base, "emit", self._emit)
            session = getattr(agents, "AgentSession", None)
            if isinstance(session, type):
                self._wrap(session, "start", self._start)

    def _wrap(self, holder: type, name: str, wrapper: Callable[..., Any]) -> None:
        if self.hears(holder, name):
            return
        is_own = name in vars(holder)
        with suppress(AttributeError, TypeError):  # a class that cannot be changed is unheard
            wrapt.wrap_function_wrapper(holder, name, wrapper)
            self._wrappers[holder, name] = _Wrapper(vars(holder)[name], is_own)

    def hears(self, holder: type, name: str = "emit") -> bool:
        """Whether a wrapper of ours is on the class: on top, or beneath those that show what they wrap."""
        ours = self._wrappers.get((holder, name))
        method: Any = vars(holder).get(name)
        for _ in range(_MAX_WRAPPERS):
            if ours is None or method is None:
                return False
            if method is ours.method:
                return True
            method = getattr(method, "__wrapped__", None)
        return False

    def _unwrap(self) -> None:
        for (holder, name), wrapper in list(self._wrappers.items()):
            if not wrapper.is_on_top_of(holder, name):
                continue  # beneath another's, or taken away
            if wrapper.is_own:
                setattr(holder, name, wrapper.method.__wrapped__)
            else:
                delattr(holder, name)  # inherited again, as before
            del self._wrappers[holder, name]

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

    def _emit(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        if len(args) != 2 or args[0] != _EVENT:
            return wrapped(*args, **kwargs)
        outer = getattr(self._emitting, "metrics", ())
        metrics = args[1]
        heard = self._heard
        if any(metrics is other for other in heard) or any(_is_passed_on(metrics, reported) for reported in outer):
            return wrapped(*args, **kwargs)
        self._heard = (*heard[1 - _MAX_HEARD :], metrics)
        self._emitting.metrics = (*outer, metrics)
        try:
            try:
                self._notify(metrics, instance)
            except BaseException:  # an interrupt: LiveKit's own listeners hear the metrics all the same
                wrapped(*args, **kwargs)
                raise
            return wrapped(*args, **kwargs)
        finally:
            self._emitting.metrics = outer

    def _notify(self, metrics: object, instance: object) -> None:
        for reference in self._listeners:
            listener = reference()
            if listener is not None:
                listener(metrics, instance)


def _is_passed_on(metrics: object, reported: object) -> bool:
    """Whether metrics, emitted from inside the report of others, are a copy of them."""
    with suppress(Exception):  # whatever a broken metrics object raises
        request = getattr(metrics, "request_id", None)
        return bool(request) and type(metrics) is type(reported) and request == getattr(reported, "request_id", None)
    return False


def _bases(agents: Any) -> Iterator[tuple[str, Any]]:
    """The classes that report usage, by name; None where the release lacks one."""
    for module, name in _HOOKED:
        yield name, getattr(getattr(agents, module, None), name, None)


_hook = _Hook()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call a bound method with every metrics object and who reported it, once each; return the way to stop that.

    Args:
        listener: A bound method; it is held weakly and must not raise, for LiveKit's metrics
            task would die of it.

    Returns:
        Stops the calls. The last subscriber to go takes the wrapper from LiveKit's classes.
    """
    return _hook.subscribe(listener)


def listen_again() -> list[str]:
    """Put the wrapper on classes that have none by now: somebody took it away, or the class was not there.

    Returns:
        Names of the classes whose reports cannot be heard all the same.
    """
    _hook.wrap()
    agents = sys.modules.get("livekit.agents")
    return [] if agents is None else _unheard(agents)


def hears_first(listener: Listener) -> bool:
    """Whether a bound method was the first to subscribe, of those that still do."""
    return _hook.first_listener() == listener


def _unheard(agents: Any) -> list[str]:
    return [
        name
        for name, base in _bases(agents)
        if not (base is None and name in _NEWER) and not (isinstance(base, type) and _hook.hears(base))
    ]


def agent_session_of(key: SpanKey) -> Any:
    """The running AgentSession of an ``agent_session`` span, or None.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``AgentSession._session_span``.
    """
    return _hook.session_of(key)


class _Probe:
    def hear(self, _metrics: object, _reporter: object) -> None:
        """Nothing."""


def unheard_classes() -> list[str]:
    """Names of LiveKit's classes whose reports cannot be heard; livekit.agents must be imported."""
    probe = _Probe()
    stop = subscribe(probe.hear)
    try:
        return _unheard(sys.modules["livekit.agents"])
    finally:
        stop()
