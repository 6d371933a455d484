"""Finds the functions that a step calls, and makes one of them fail wherever it is referenced."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper, cache  # type: ignore[attr-defined]  # has no public name
from inspect import unwrap
from types import CodeType, FunctionType

import otel_voice_cost

from ..conftest import SPEECH

_FOLDER = otel_voice_cost.__path__[0]


class InjectedError(Exception):
    """Raised in place of a function.

    Attributes:
        times: How often, since `failing` began.
    """

    times = 0

    def __init__(self) -> None:
        type(self).times += 1
        super().__init__(SPEECH)


def functions() -> dict[CodeType, FunctionType]:
    """Every existing function of the package, wherever it is referenced, by its code."""
    found = (thing for thing in gc.get_objects() if isinstance(thing, FunctionType))
    return {function.__code__: function for function in found if _is_ours(function.__code__)}


def _is_ours(code: CodeType) -> bool:
    folder, _, rest = code.co_filename.partition(_FOLDER + os.sep)
    return not folder and bool(rest) and not rest.startswith(("demo", "testing"))  # which play, and are not played


def reached_by(work: Callable[[], object]) -> set[CodeType]:
    """The code that runs during a step, in all threads."""
    reached: set[CodeType] = set()

    def note(frame, event, _argument):
        if event == "call" and _is_ours(frame.f_code):
            reached.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return reached


@cache
def _caches() -> list[_lru_cache_wrapper]:
    found = (thing for thing in gc.get_objects() if isinstance(thing, _lru_cache_wrapper))
    return [cached for cached in found if _is_ours(getattr(unwrap(cached), "__code__", _RAISES))]


@contextmanager
def failing(function: FunctionType) -> Iterator[None]:
    """Make a function raise `InjectedError`: its code is replaced, so tables, partials and bound methods fail too.

    A function inside another is made at each call of the outer one, so its code is replaced in there.
    """
    for cached in _caches():
        cached.cache_clear()
    inner = function.__code__
    failing_code = _RAISES.replace(co_freevars=inner.co_freevars, co_name=inner.co_name)
    outer = next((f for code, f in functions().items() if inner in code.co_consts), None)
    armed, code = (function, inner) if outer is None else (outer, outer.__code__)
    consts = tuple(failing_code if const is inner else const for const in code.co_consts)
    armed.__code__ = failing_code if outer is None else code.replace(co_consts=consts)
    InjectedError.times = 0
    try:
        yield
    finally:
        armed.__code__ = code


def _raises() -> CodeType:
    def fail(*args, **kwargs):
        raise "the error"  # type: ignore[misc]  # noqa: B016  # is replaced

    code = fail.__code__
    return code.replace(co_consts=tuple(InjectedError if const == "the error" else const for const in code.co_consts))


_RAISES = _raises()
