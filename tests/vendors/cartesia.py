"""Cartesia's text-to-speech over a WebSocket, ``/tts/websocket``.

Bills each character of a transcript when it is received: what was sent is billed, also if the client does not listen
to the end or cancels. A synthesis that fails is free.

Source:
    docs.cartesia.ai: about one credit per character, "errors will not consume credits" (abandoned contexts are not
    mentioned); livekit-plugins-cartesia 1.8.9, ``tts.py``; pipecat-ai 1.14.0, ``services/cartesia/tts.py``, whose
    contexts can be cancelled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable
from typing import Any

from aiohttp import WSMsgType, web

from otel_voice_cost.usage import Component, Unit

from .server import VendorServer
from .speech import Synthesis, speech_seconds

__all__ = ["FakeCartesia"]


class FakeCartesia(VendorServer):
    """Speaks each context of a connection."""

    component = Component.TTS
    provider = "Cartesia"

    def __init__(self, *, audio_speed: float = 4.0, word_speed: float = 1.0, failures: Collection[int] = ()) -> None:
        """Serve syntheses.

        Args:
            audio_speed: Seconds of audio made per second of the clock.
            word_speed: Seconds of audio per second in the timestamps of words, for clients that wait for them.
            failures: Numbers of the syntheses that fail, counted from 1.
        """
        super().__init__()
        self._audio_speed, self._word_speed, self._failures = audio_speed, word_speed, failures
        self._syntheses = 0

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/tts/websocket", self._serve)]

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        contexts: dict[str, _Context] = {}
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                data = json.loads(message.data)
                if data.get("cancel"):
                    if data["context_id"] in contexts:
                        contexts[data["context_id"]].stop()
                    continue
                if data["context_id"] not in contexts:
                    contexts[data["context_id"]] = self._context(socket, data)
                contexts[data["context_id"]].receive(data["transcript"])
                if not data["continue"]:
                    contexts[data["context_id"]].end()
        finally:
            for context in contexts.values():
                context.stop()
                characters = 0 if context.reason == "failed" else context.characters
                self.bill(context.model, {Unit.CHARACTER: characters}, context.reason)
        return socket

    def _context(self, socket: web.WebSocketResponse, first: dict[str, Any]) -> _Context:
        self._syntheses += 1
        kind = _FailingContext if self._syntheses in self._failures else _Context
        return kind(socket, first, self._audio_speed, self._word_speed)


class _Context(Synthesis):
    def __init__(
        self, socket: web.WebSocketResponse, first: dict[str, Any], audio_speed: float, word_speed: float
    ) -> None:
        super().__init__(first["model_id"], first["output_format"]["sample_rate"], audio_speed)
        self._socket, self._id = socket, first["context_id"]
        self._word_speed = word_speed

    async def send_text(self, text: str, start: float) -> None:
        words = text.split()
        seconds = speech_seconds(text) / len(words) / self._word_speed
        starts = [start / self._word_speed + i * seconds for i in range(len(words))]
        ends = [at + seconds for at in starts]
        await self.send(type="timestamps", word_timestamps={"words": words, "start": starts, "end": ends})

    async def send_audio(self, chunk: bytes) -> None:
        await self.send(type="chunk", data=base64.b64encode(chunk).decode())

    async def send_end(self) -> None:
        await self.send(type="done", done=True)

    async def send(self, **message: Any) -> None:
        await self._socket.send_json({"context_id": self._id, **message})


class _FailingContext(_Context):
    async def run(self) -> None:
        self.reason = "failed"
        await self.send(type="error", done=True, status_code=500, error="internal error")
