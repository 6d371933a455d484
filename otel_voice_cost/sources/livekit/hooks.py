"""Hooks for LiveKit's usage reports.

`subscribe` wraps ``emit`` of the base classes that report usage. Events of ``AgentSession`` would not do: it
unsubscribes before its speech-to-text reports the last seconds. The wrapper is put on top of any others once
livekit.agents is imported, and is checked when a session begins. It is removed with the last subscription; if
another wrapper is on top of it, it stays and does nothing.

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
from inspect import getattr_static
from typing import Any, NamedTuple

import wrapt

from ..._runtime.forks import reset_after_fork
from .. import Source, SpanKey, UsageReport, Work
from .server_events import SERVER_EVENT, ServerEvents
from .streams import note_report, stream_methods

__all__ = ["find_agent_session", "subscribe", "unhooked_classes"]

_EVENT = "metrics_collected"
_MAX_WRAPPERS = 100  # on a method
_MAX_REMEMBERED = 16  # metrics objects that are not counted again if they are passed on later
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
_NEWER = {"AdaptiveInterruptionDetector", "TurnDetector"}  # missing in older releases

# Imported in this order; each import is a chance to find classes while the package is only partly imported.
_MODULES = ("livekit.agents", "livekit.agents.voice.agent_session", "livekit.agents.worker")

Read = Callable[[object, object], UsageReport | None]  # takes a metrics object and its reporter
Listener = Callable[[Source, Callable[[], UsageReport | None]], None]
OnStream = Callable[[Source, Work], None]


class _Wrapper(NamedTuple):
    """A wrapper of this package on a method of a class."""

    method: Any  # a wrapt.FunctionWrapper
    is_own: bool  # True if the class defined the method, False if it inherited it

    def is_on_top_of(self, holder: type, name: str) -> bool:
        return vars(holder).get(name) is self.method


class _Subscription:
    """One listener. Implements `Subscription`."""

    def __init__(self, hook: _Hook, source: Source, listener: Listener, read: Read, on_stream: OnStream | None) -> None:
        self.source, self.read = source, read
        self.on_stream = getattr(on_stream, "__func__", None)
        self._hook = hook
        # not a WeakMethod: its callback fails if the WeakMethod is collected first
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
        self._reported: tuple[object, ...] = ()  # the latest metrics; never changed in place
        self._awaits_import = False
        self._server_events = ServerEvents(self._notify)

    def reset(self) -> None:
        """Create a new lock in a forked child."""
        self._lock = threading.RLock()  # a listener may be collected at any point
        self._emitting = threading.local()

    def subscribe(
        self, source: Source, listener: Listener, read: Read, on_stream: OnStream | None = None
    ) -> _Subscription:
        subscription = _Subscription(self, source, listener, read, on_stream)
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
            return  # stays without effect: its listener is gone or its processor shut down
        try:
            self.subscriptions = tuple(other for other in self.subscriptions if other is not subscription)
            if not self.subscriptions:
                self._unwrap()
        finally:
            self._lock.release()

    def wrap(self) -> None:
        """Wrap the classes without wrappers. If another thread holds the lock, the next session tries again."""
        agents = sys.modules.get("livekit.agents")
        if agents is None or not self._lock.acquire(timeout=_WAIT_SECONDS):
            return
        try:
            if not self.subscriptions:
                return
            for _, base in _bases(agents):
                if isinstance(base, type):
                    self._wrap(base, "emit", partial(wrapt.FunctionWrapper, wrapper=self._emit))
            session = getattr(agents, "AgentSession", None)
            if isinstance(session, type):
                self._wrap(session, "start", partial(wrapt.FunctionWrapper, wrapper=self._start))
            if any(subscription.on_stream for subscription in self.subscriptions):
                for holder, name, decorator in stream_methods(agents, self._notify_of_stream):
                    self._wrap(holder, name, decorator)
        finally:
            self._lock.release()

    def _wrap(self, holder: type, name: str, decorate: Callable[[Any], Any]) -> None:
        if self.is_hooked(holder, name):
            return
        is_own = name in vars(holder)
        with suppress(AttributeError, TypeError):  # an immutable class stays unhooked
            setattr(holder, name, decorate(getattr_static(holder, name)))
            self._wrappers[holder, name] = _Wrapper(vars(holder)[name], is_own)

    def is_hooked(self, holder: type, name: str = "emit") -> bool:
        """Return True if this package's wrapper is on the class, on top or below wrappers with ``__wrapped__``."""
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
                continue  # below another wrapper, or removed
            if wrapper.is_own:
                setattr(holder, name, wrapper.method.__wrapped__)
            else:
                delattr(holder, name)  # inherited again, as before
            del self._wrappers[holder, name]

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
