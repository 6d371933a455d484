"""Usage that a realtime vendor states in its events and LiveKit drops.

LiveKit makes no metrics of a response that it had cancelled before the vendor created it, though the vendor bills it;
and before 1.8 none of the transcription of the caller. The vendor's event has the usage, so it is no estimate. LiveKit
emits the raw event, and makes its metrics in the same step of the event loop: what has none by the next step is lost.

Source:
    livekit-agents 1.8.9, ``llm/_realtime/openai.py``: ``openai_server_event_received``, ``_handle_response_done``,
    ``_emit_transcription_metrics``.
"""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["SERVER_EVENT", "ServerEvents"]

SERVER_EVENT = "openai_server_event_received"
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_REALTIME, _STT = "realtime_model_metrics", "stt_metrics"

Notify = Callable[[Any, Any], None]


class _Metrics(NamedTuple):
    """Metrics that LiveKit did not make, with the fields of its classes."""

    type: str
    label: str
    request_id: str
    fields: Mapping[str, Any]
    audio_duration: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    def model_dump_json(self) -> str:
        """Return them as JSON, with the keys of LiveKit's classes."""
        return json.dumps({"type": self.type, "label": self.label, "request_id": self.request_id, **self.fields})


class ServerEvents:
    """Compares the vendor's events of each realtime session with the metrics that LiveKit makes of them."""

    def __init__(self, notify: Notify) -> None:
        """Start without events.

        Args:
            notify: Called with metrics that LiveKit did not make, and the session; must not raise.
        """
        self._notify = notify
        self._pending: weakref.WeakKeyDictionary[Any, list[_Metrics]] = weakref.WeakKeyDictionary()
        self._transcribers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def receive(self, session: Any, event: Mapping[str, Any]) -> None:
        """Read a raw event.

        Raises:
            Exception: The event is not as OpenAI's are.
        """
        kind = event["type"]
        if kind in ("session.created", "session.updated"):
            transcription = event["session"].get("audio", {}).get("input", {}).get("transcription") or {}
            self._transcribers[session] = transcription.get("model") or ""
        elif kind == "response.done" and event["response"].get("usage"):
            self._await(session, _of_response(session.realtime_model, event["response"]))
        elif kind == _TRANSCRIBED and event.get("usage"):
            model = self._transcribers.get(session, "")
            self._await(session, _of_transcription(session.realtime_model, model, event))

    def note_metrics(self, session: Any, metrics: Any) -> None:
        """Match metrics that LiveKit made with the pending event."""
        for waiting in self._pending.get(session, ()):
            if waiting.type == metrics.type:
                self._pending[session].remove(waiting)
                return

    def _await(self, session: Any, metrics: _Metrics) -> None:
        self._pending.setdefault(session, []).append(metrics)
        asyncio.get_running_loop().call_soon(self._report, session, metrics)

    def _report(self, session: Any, metrics: _Metrics) -> None:
        waiting = self._pending.get(session, [])
        if metrics in waiting:
            waiting.remove(metrics)
            self._notify(metrics, session)


def _of_response(model: Any, response: Mapping[str, Any]) -> _Metrics:
    usage = response["usage"]
    names = ("input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details")
    fields = {name: usage[name] for name in names if usage.get(name) is not None}
    return _Metrics(
        _REALTIME, model.label, str(response.get("id") or ""), {**fields, **_common(model.provider, model.model)}
    )


def _of_transcription(model: Any, transcriber: str, event: Mapping[str, Any]) -> _Metrics:
    usage = event["usage"]
    details = usage.get("input_token_details") or {}
    seconds, received = usage.get("seconds") or 0.0, usage.get("input_tokens") or 0
    written = usage.get("output_tokens") or 0
    fields = {
        "audio_duration": seconds,
        "input_tokens": received,
        "input_audio_tokens": details.get("audio_tokens") or 0,
        "output_tokens": written,
        "streamed": True,
        **_common(model.provider, transcriber),
    }
    return _Metrics(_STT, model.label, str(event.get("item_id") or ""), fields, seconds, received, written)


def _common(provider: str, model: str) -> dict[str, Any]:
    return {"timestamp": time.time(), "metadata": {"model_name": model, "model_provider": provider}}
