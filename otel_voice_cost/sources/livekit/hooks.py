"""Hooks for LiveKit's usage reports.

`subscribe` wraps ``emit`` of the base classes that report usage: nothing is lost there, while
``AgentSession`` unsubscribes before its speech-to-text reports its last seconds. The wrapper goes on top of
whatever is there, as soon as livekit.agents is imported, and is checked with each session that begins. With the
last subscription it is removed, unless another wrapper is on top of it; then it stays and does nothing.

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
from functools import partial
from typing import Any, NamedTuple

import wrapt

from ..._runtime.forks import reset_after_fork
from .. import Source, SpanKey, UsageReport

__all__ = ["find_agent_session", "subscribe", "unhooked_classes"]

_EVENT = "metrics_collected"
_MAX_WRAPPERS = 100  # on a method
_MAX_REMEMBERED = 16  # metrics objects that are not counted again if somebody passes them on later
_WAIT_SECONDS = 0.1
_TRIES = 3

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

Read = Callable[[object, object], UsageReport | None]  # a metrics object and who reported it
Listener = Callable[[Source, Callable[[], UsageReport | None]], None]


class _Wrapper(NamedTuple):
    """A wrapper of this package on a method of a class."""

    method: Any  # a wrapt.FunctionWrapper
    is_own: bool  # whether the class had the method itself, and did not inherit it

    def is_on_top_of(self, holder: type, name: str) -> bool:
        return vars(holder).get(name) is self.method


class _Subscription:
    """One listener. Implements `Subscription`."""

    def __init__(self, hook: _Hook, source: Source, listener: Listener, read: Read) -> None:
        self.source, self.read = source, read
        self._hook = hook
        # no WeakMethod: its callback fails if the collector has taken the WeakMethod before
        self.owner: weakref.ref[Any] = weakref.ref(getattr(listener, "__self__"), lambda _: self.cancel())  # noqa: B009
        self.function = getattr(listener, "__func__")  # noqa: B009

    def cancel(self) -> None:
        self._hook.drop(self)

    def renew(self) -> list[str]:
        self._hook.wrap()
        return _find_unhooked()

    def is_first(self) -> bool:
        return self._hook.subscriptions[:1] == (self,)


class _Hook:
    """The wrappers of the process, and their subscriptions."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)
        self.subscriptions: tuple[_Subscription, ...] = ()
        self._wrappers: dict[tuple[type, str], _Wrapper] = {}
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()  # AgentSessions that were started
        self._reported: tuple[object, ...] = ()  # the last metrics; never changed in place
        self._awaits_import = False

    def reset(self) -> None:
        """Open the lock, in a forked child."""
        self._lock = threading.RLock()  # a listener may be collected, and dropped, at any point
        self._emitting = threading.local()

    def subscribe(self, source: Source, listener: Listener, read: Read) -> _Subscription:
        subscription = _Subscription(self, source, listener, read)
        with self._lock:
            self.subscriptions += (subscription,)
            first_ever, self._awaits_import = not self._awaits_import, True
        if first_ever:
            for module in _MODULES:
                wrapt.when_imported(module)(lambda _module: self.wrap())
        else:
            self.wrap()
        return subscription

    def drop(self, subscription: _Subscription) -> None:
        if not self._lock.acquire(timeout=_WAIT_SECONDS):
            return  # it stays, and does nothing: its listener is gone or its processor shut down
        try:
            self.subscriptions = tuple(other for other in self.subscriptions if other is not subscription)
            if not self.subscriptions:
                self._unwrap()
        finally:
            self._lock.release()

    def wrap(self) -> None:
        """Put the wrappers on the classes that lack them. If another thread blocks, the next session tries again."""
        agents = sys.modules.get("livekit.agents")
        if agents is None or not self._lock.acquire(timeout=_WAIT_SECONDS):
            return
        try:
            if not self.subscriptions:
                return
            for _, base in _bases(agents):
                if isinstance(base, type):
                    self._wrap(base, "emit", self._emit)
            session = getattr(agents, "AgentSession", None)
            if isinstance(session, type):
                self._wrap(session, "start", self._start)
        finally:
            self._lock.release()

    def _wrap(self, holder: type, name: str, wrapper: Callable[..., Any]) -> None:
        if self.is_hooked(holder, name):
            return
        is_own = name in vars(holder)
        with suppress(AttributeError, TypeError):  # a class that cannot be changed stays unhooked
            wrapt.wrap_function_wrapper(holder, name, wrapper)
            self._wrappers[holder, name] = _Wrapper(vars(holder)[name], is_own)

    def is_hooked(self, holder: type, name: str = "emit") -> bool:
        """Return whether this package's wrapper is on the class: on top, or beneath those that show what they wrap."""
        own = self._wrappers.get((holder, name))
        method: Any = vars(holder).get(name)
        for _ in range(_MAX_WRAPPERS):
            if own is None or method is None:
                return False
            if method is own.method:
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
        with suppress(TypeError):  # of a class that cannot be held weakly
            self._sessions.add(instance)
        return wrapped(*args, **kwargs)

    def get_session(self, key: SpanKey) -> Any:
        sessions: list[Any] = []
        for _ in range(_TRIES):
            with suppress(RuntimeError):  # another thread starts one at this moment
                sessions = list(self._sessions)
                break
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

    def _notify(self, metrics: object, instance: object) -> None:
        for subscription in self.subscriptions:
            owner = subscription.owner()
            if owner is not None:
                subscription.function(owner, subscription.source, partial(subscription.read, metrics, instance))


def _is_copy(metrics: object, reported: object) -> bool:
    """Return whether metrics, emitted from inside the report of others, are a copy of them."""
    with suppress(Exception):  # whatever a broken metrics object raises
        request = getattr(metrics, "request_id", None)
        return bool(request) and type(metrics) is type(reported) and request == getattr(reported, "request_id", None)
    return False


def _bases(agents: Any) -> Iterator[tuple[str, Any]]:
    """Yield the classes that report usage, by name; None if the release lacks one."""
    for module, name in _HOOKED:
        yield name, getattr(getattr(agents, module, None), name, None)


_hook = _Hook()


def subscribe(source: Source, listener: Listener, read: Read) -> _Subscription:
    """Call a bound method with every report of usage, once each.

    Args:
        source: Passed to the listener.
        listener: Held weakly. It must not raise: LiveKit's metrics task would end.
        read: Reads a metrics object and who reported it; called by the listener.
    """
    return _hook.subscribe(source, listener, read)


def find_agent_session(key: SpanKey) -> Any:
    """Return the running AgentSession of an ``agent_session`` span, or None.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``AgentSession._session_span``.
    """
    return _hook.get_session(key)


def unhooked_classes(source: Source) -> list[str]:
    """Return the names of LiveKit's classes whose reports cannot be received; livekit.agents must be imported."""
    probe = _Probe()
    subscription = _hook.subscribe(source, probe.ignore, lambda _metrics, _reporter: None)
    try:
        return subscription.renew()
    finally:
        subscription.cancel()


def _find_unhooked() -> list[str]:
    agents = sys.modules.get("livekit.agents")
    return [
        name
        for name, base in (_bases(agents) if agents is not None else ())
        if not (base is None and name in _NEWER) and not (isinstance(base, type) and _hook.is_hooked(base))
    ]


class _Probe:
    def ignore(self, _source: Source, _read: object) -> None:
        """Do nothing."""
