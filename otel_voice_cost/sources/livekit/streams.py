"""Measures the streams of LiveKit's components, for usage that a vendor bills and LiveKit does not report.

LiveKit begins the task of a request in the constructor of its stream, and a task copies its context. So while the
constructor runs, a context variable names the stream's work, and the spans, reports and tokenizers of that task find it
there. Adapters are skipped: the streams inside them are the ones that call a vendor.

Only public methods are wrapped, and only lengths are kept: nothing spoken or prompted is reachable from here.

Source:
    livekit-agents 1.2.18 to 1.8.9, ``llm/llm.py``, ``tts/tts.py``, ``stt/stt.py``, ``tokenize/token_stream.py``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial, wraps
from time import time_ns
from typing import Any, NamedTuple

from ...usage import Component
from .. import Work
from .providers import canonical_model, canonical_provider

__all__ = ["current_work", "note_report", "stream_methods"]

OnStream = Callable[[Work], None]
Method = Callable[..., Any]

_WORK = "_voice_cost_work"  # on a stream, whose methods are too many calls for a dictionary that holds it weakly
_ADAPTERS = "livekit.agents."
_VENDORS = "livekit.agents.inference."  # of LiveKit's own, no adapters
_ANTHROPIC = "anthropic"
_TTS = Component.TTS
_SAFELY = suppress(Exception)  # whatever another library passes, the call goes on; one object is faster than many
_MEDIA = ("image_content", "audio_content")
_MAX_MEASURED = 4_096  # prompts whose length is remembered

_current: ContextVar[Work | None] = ContextVar("otel_voice_cost_work", default=None)
current_work = _current.get
"""Returns the work of the stream in whose task it is called."""


def note_report(metrics: Any) -> None:
    """Note usage that a stream reports, in its own task. Speech is reported in another.

    Raises:
        Exception: The metrics are broken.
    """
    work = _current.get()
    if work is None:
        return
    if work.component is Component.STT:
        work.reported_seconds += float(metrics.audio_duration)
        work.is_reported = work.is_reported or bool(getattr(metrics, "input_tokens", 0))  # the field is of 1.3
    elif work.component is Component.LLM:
        work.is_reported = bool(metrics.prompt_tokens or metrics.completion_tokens)


def stream_methods(agents: Any, on_stream: OnStream) -> Iterator[tuple[Any, str, Callable[[Method], Method]]]:
    """Yield the classes and methods to be wrapped, each with a decorator, as far as they are imported by now.

    Plain functions and no wrapt: some are called for each word and each frame of audio.

    Args:
        agents: The package ``livekit.agents``.
        on_stream: Called with each stream of speech-to-text that opens; must not raise.
    """
    watched: tuple[tuple[str, str, dict[str, Callable[[Method], Method]]], ...] = (
        ("llm", "LLMStream", {"__init__": _begin_request, "__anext__": _receive_chunk}),
        ("tts", "SynthesizeStream", {"__init__": _begin_speech, "push_text": _push_text, "__anext__": _receive_audio}),
        (
            "stt",
            "RecognizeStream",
            {"__init__": partial(_begin_stt, on_stream), "push_frame": _push_frame, "aclose": _close},
        ),
    )
    for module, name, methods in watched:
        holder = getattr(getattr(agents, module, None), name, None)
        if isinstance(holder, type):
            for method, decorator in methods.items():
                yield holder, method, decorator
    tokens = getattr(getattr(getattr(agents, "tokenize", None), "token_stream", None), "BufferedTokenStream", None)
    if isinstance(tokens, type):
        yield tokens, "__anext__", _take_token


def _begin(method: Method, stream: Any, args: Any, kwargs: Any, component: Component, owner: object) -> Work | None:
    """Construct a stream, and return its work; None for an adapter's."""
    module = type(stream).__module__
    work = None
    if not module.startswith(_ADAPTERS) or module.startswith(_VENDORS):
        with _SAFELY:  # the properties of a custom component may raise
            work = Work(
                component=component,
                provider=canonical_provider(_text(owner, "provider"), _text(owner, "label")),
                model=canonical_model(_text(owner, "model")),
                started_ns=time_ns(),
            )
            setattr(stream, _WORK, work)
    token = _current.set(work)
    try:
        method(stream, *args, **kwargs)
    finally:
        _current.reset(token)
    return work


def _begin_request(method: Method) -> Method:
    @wraps(method)
    def __init__(stream: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        work = _begin(method, stream, args, kwargs, Component.LLM, args[0] if args else kwargs.get("llm"))
        if work is not None:
            with _SAFELY:  # the request goes on, and is not estimated
                work.tools = len(kwargs.get("tools") or ())
                work.prompt_characters, work.prompt_items, work.has_media = _measure(kwargs["chat_ctx"].items)

    return __init__


def _begin_speech(method: Method) -> Method:
    @wraps(method)
    def __init__(stream: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        _begin(method, stream, args, kwargs, Component.TTS, kwargs.get("tts"))

    return __init__


def _begin_stt(on_stream: OnStream, method: Method) -> Method:
    @wraps(method)
    def __init__(stream: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        work = _begin(method, stream, args, kwargs, Component.STT, kwargs.get("stt"))
        if work is not None:
            on_stream(work)

    return __init__


def _receive_chunk(method: Method) -> Method:
    @wraps(method)
    async def __anext__(stream: Any) -> Any:  # noqa: N807
        chunk = await method(stream)
        with _SAFELY:
            work, delta = stream._voice_cost_work, chunk.delta
            if not work.prompt_tokens and work.provider == _ANTHROPIC:
                _read_anthropic(stream, work)
            if delta is not None:
                if delta.content:
                    work.received_characters += len(delta.content)
                for call in delta.tool_calls or ():
                    work.received_characters += len(call.name or "") + len(call.arguments or "")
        return chunk

    return __anext__


def _read_anthropic(stream: Any, work: Work) -> None:
    """Read the usage of the prompt, which the vendor states first and the plugin reports last.

    Source:
        livekit-plugins-anthropic 1.8.9, ``llm.py``, ``LLMStream._parse_event``, ``message_start``.
    """
    stated = getattr(stream, "_input_tokens", 0)
    work.cached_tokens = getattr(stream, "_cache_read_tokens", 0)
    work.written_tokens = getattr(stream, "_cache_creation_tokens", 0)
    work.prompt_tokens = stated + work.cached_tokens + work.written_tokens


def _push_text(method: Method) -> Method:
    @wraps(method)
    def push_text(stream: Any, token: Any) -> Any:
        with _SAFELY:
            stream._voice_cost_work.pushed_characters += len(token)
        return method(stream, token)

    return push_text


def _receive_audio(method: Method) -> Method:
    @wraps(method)
    async def __anext__(stream: Any) -> Any:  # noqa: N807
        audio = await method(stream)
        with _SAFELY:
            stream._voice_cost_work.received_seconds += audio.frame.duration
        return audio

    return __anext__


def _take_token(method: Method) -> Method:
    @wraps(method)
    async def __anext__(stream: Any) -> Any:  # noqa: N807
        token = await method(stream)
        work = _current.get()
        if work is not None and work.component is _TTS:
            with _SAFELY:
                work.sent_characters += len(token.token) + 1  # plugins put a space after each
        return token

    return __anext__


def _push_frame(method: Method) -> Method:
    @wraps(method)
    def push_frame(stream: Any, frame: Any) -> Any:
        with _SAFELY:
            stream._voice_cost_work.pushed_seconds += frame.duration
        return method(stream, frame)

    return push_frame


def _close(method: Method) -> Method:
    @wraps(method)
    async def aclose(stream: Any) -> Any:
        try:
            return await method(stream)
        finally:
            work = getattr(stream, _WORK, None)
            if work is not None and not work.ended_ns:
                work.ended_ns = time_ns()

    return aclose


class _Prompt(NamedTuple):
    characters: int = 0
    items: int = 0
    has_media: bool = False


_measured: OrderedDict[str, tuple[int, _Prompt]] = OrderedDict()  # by the id of the last item: its place, all after #1


def _measure(items: list[Any]) -> _Prompt:
    """Return the length of a prompt. Prompts grow at the end: what was measured before is not measured again.

    The first item, the instructions, may change and is always measured.
    """
    if not items:
        return _Prompt()
    place, known = 0, _Prompt()
    for index in range(len(items) - 1, 0, -1):
        found = _measured.get(items[index].id)
        if found is not None and found[0] == index:
            place, known = index, found[1]
            break
    characters, count, has_media = known
    for item in items[place + 1 :]:
        more = _measure_item(item)
        characters, count, has_media = characters + more[0], count + more[1], has_media or more[2]
    grown = _Prompt(characters, count, has_media)
    if len(items) > 1:
        last = items[-1].id
        _measured[last] = (len(items) - 1, grown)
        _measured.move_to_end(last)
        if len(_measured) > _MAX_MEASURED:
            _measured.popitem(last=False)
    first = _measure_item(items[0])
    return _Prompt(characters + first[0], count + first[1], has_media or first[2])


def _measure_item(item: Any) -> tuple[int, int, bool]:
    """Return characters, items and whether there are images or audio; nothing for items that are not sent."""
    kind = item.type
    if kind == "message":
        characters, has_media = 0, False
        for part in item.content:
            if isinstance(part, str):
                characters += len(part)
            elif getattr(part, "type", "") in _MEDIA:
                has_media = True
        return characters, 1, has_media
    if kind == "function_call":
        return len(item.name) + len(item.arguments), 1, False
    if kind == "function_call_output":
        return len(item.output), 1, False
    return 0, 0, False


def _text(owner: object, name: str) -> str | None:
    value = getattr(owner, name, None)
    return value if isinstance(value, str) else None
