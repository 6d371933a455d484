"""Wrappers on methods of a framework's classes, and the listeners that they call.

A wrapper is put on top of any others once the framework is imported, and is checked when a session begins. It is
removed with the last listener; if another wrapper is on top of it, it stays and does nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from inspect import getattr_static
from typing import Any, ClassVar, NamedTuple

import wrapt

from .._runtime.forks import reset_after_fork
from . import Source, UsageReport, Work

__all__ = ["Hook", "Listener", "ListenerSubscription", "OnStream"]

_MAX_WRAPPERS = 100  # on a method

Listener = Callable[[Source, Callable[[], UsageReport | None]], None]
OnStream = Callable[[Source, Work], None]


class _Wrapper(NamedTuple):
    """A wrapper of this package on a method of a class."""

    method: Any  # has ``__wrapped__``
    is_own: bool  # True if the class defined the method, False if it inherited it

    def is_on_top_of(self, holder: type, name: str) -> bool:
        return vars(holder).get(name) is self.method


class ListenerSubscription:
    """One listener. Implements `Subscription`."""

    def __init__(self, hook: Hook, source: Source, listener: Listener, on_stream: OnStream | None = None) -> None:
        """Keep a bound method without keeping its object alive.

        Args:
            hook: Calls it.
            source: Passed to the listener.
            listener: A bound method.
            on_stream: A method of the same object.
        """
        self.source = source
        self.on_stream = getattr(on_stream, "__func__", None)
        self._hook = hook
        # not a WeakMethod: its callback fails if the WeakMethod is collected first
        self.owner: weakref.ref[Any] = weakref.ref(getattr(listener, "__self__"), lambda _: self.cancel())  # noqa: B009
        self.function = getattr(listener, "__func__")  # noqa: B009

    def cancel(self) -> None:
        """Stop the reports."""
        self._hook.drop(self)

    def renew(self) -> list[str]:
        """Hook what is not hooked by now; return the names of classes that cannot be."""
        self._hook.wrap()
        return self._hook.find_unhooked()

    def is_first(self) -> bool:
        """Return whether no other listener subscribed before."""
        return self._hook.subscriptions[:1] == (self,)


class Hook:
    """The wrappers of the process on one framework, and their listeners. Each framework has its own class."""

    modules: ClassVar[tuple[str, ...]]
    """Wrapping is tried again after the import of each; an import may find the framework only partly imported."""

    _wait_seconds: ClassVar = 0.1  # not a global: they are gone when the interpreter ends, and listeners are collected

    def __init__(self) -> None:
        """Begin without wrappers."""
        self.reset()
        reset_after_fork(self)
        self.subscriptions: tuple[Any, ...] = ()
        self._wrappers: dict[tuple[type, str], _Wrapper] = {}
        self._awaits_import = False

    def reset(self) -> None:
        """Create a new lock in a forked child."""
        self._lock = threading.RLock()  # a listener may be collected at any point

    def wrap_all(self) -> None:
        """Wrap each method that has no wrapper, by `put`, as far as the framework is imported by now."""
        raise NotImplementedError

    def find_unhooked(self) -> list[str]:
        """Return the names of imported classes whose reports cannot be received."""
        raise NotImplementedError

    def add(self, subscription: ListenerSubscription) -> None:
        """Add a listener; the first one puts the wrappers on."""
        with self._lock:
            self.subscriptions += (subscription,)
            first_ever, self._awaits_import = not self._awaits_import, True
        if first_ever:
            for module in self.modules:
                wrapt.when_imported(module)(lambda _module: self.wrap())
        else:
            self.wrap()

    def drop(self, subscription: ListenerSubscription) -> None:
        """Remove a listener; the last one takes the wrappers off."""
        if not self._lock.acquire(timeout=self._wait_seconds):
            return  # stays without effect: its listener is gone or its processor shut down
        try:
            self.subscriptions = tuple(other for other in self.subscriptions if other is not subscription)
            if not self.subscriptions:
                self._unwrap()
        finally:
            self._lock.release()

    def wrap(self) -> None:
        """Wrap the classes without wrappers. If another thread holds the lock, the next session tries again."""
        if not self._lock.acquire(timeout=self._wait_seconds):
            return
        try:
            if self.subscriptions:
                self.wrap_all()
        finally:
            self._lock.release()

    def put(self, holder: type, name: str, decorate: Callable[[Any], Any]) -> None:
        """Wrap a method of a class, unless it is wrapped.

        Args:
            holder: The class.
            name: The method, which the class may inherit.
            decorate: Returns a method around another, with ``__wrapped__``.
        """
        if self.is_hooked(holder, name):
            return
        is_own = name in vars(holder)
        with suppress(AttributeError, TypeError):  # an immutable class, or one without the method, stays unhooked
            setattr(holder, name, decorate(getattr_static(holder, name)))
            self._wrappers[holder, name] = _Wrapper(vars(holder)[name], is_own)

    def is_hooked(self, holder: type, name: str) -> bool:
        """Return True if this package's wrapper is on the class, on top or below wrappers with ``__wrapped__``."""
        own = self._wrappers.get((holder, name))
        return own is not None and _is_below(vars(holder).get(name), own.method)

    def is_latest(self, holder: type, name: str, method: object) -> bool:
        """Return True unless another wrapper of this package replaced a method, as it was not found below others."""
        own = self._wrappers.get((holder, name))
        return own is None or own.method is method

    def _unwrap(self) -> None:
        for (holder, name), wrapper in list(self._wrappers.items()):
            if not wrapper.is_on_top_of(holder, name):
                continue  # below another wrapper, or removed
            if wrapper.is_own:
                setattr(holder, name, wrapper.method.__wrapped__)
            else:
                delattr(holder, name)  # inherited again, as before
            del self._wrappers[holder, name]


def _is_below(method: Any, own: object) -> bool:
    """Return True if a method is another one, or wraps it with ``__wrapped__``."""
    for _ in range(_MAX_WRAPPERS):
        if method is None:
            return False
        if method is own:
            return True
        method = getattr(method, "__wrapped__", None)
    return False
