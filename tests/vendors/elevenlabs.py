"""ElevenLabs' text-to-speech over a WebSocket with several contexts, ``/text-to-speech/…/multi-stream-input``.

Bills the characters of all text received; the blank that opens a context is not text.

Source:
    elevenlabs.io, credits: by characters of the input (a context that is closed early is not mentioned);
    livekit-plugins-elevenlabs 1.8.9, ``tts.py``; pipecat-ai 1.14.0, ``services/elevenlabs/tts.py``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import WSMsgType, web

from otel_voice_cost.usage import Component, Unit

from .server import VendorServer
from .speech import Synthesis

__all__ = ["FakeElevenLabs"]


class FakeElevenLabs(VendorServer):
    """Speaks each context of a connection as PCM."""

    component = Component.TTS
    provider = "ElevenLabs"

    def __init__(self, *, audio_speed: float = 4.0) -> None:
        """Serve syntheses.

        Args:
            audio_speed: Seconds of audio made per second of the clock.
        """
        super().__init__()
        self._audio_speed = audio_speed

    def routes(self) -> Iterable[web.RouteDef]:
        path = "/text-to-speech/{voice}/multi-stream-input"
        return [web.get(prefix + path, self._serve) for prefix in ("", "/v1")]

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        model, sample_rate = request.query["model_id"], int(request.query["output_format"].removeprefix("pcm_"))
        contexts: dict[str, _Context] = {}
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                data = json.loads(message.data)
                if data.get("close_socket"):
                    break
                if "context_id" not in data:  # keeps the socket alive
                    continue
                context = contexts.get(data["context_id"])
                if context is None:
                    if data.get("close_context"):
                        continue
                    context = _Context(socket, data["context_id"], model, sample_rate, self._audio_speed)
                    contexts[data["context_id"]] = context
                elif data.get("close_context"):
                    context.end()
                else:
                    context.receive(data.get("text", ""))  # none if the client only asks not to wait for more
        finally:
            for context in contexts.values():
                context.stop()
                self.bill(model, {Unit.CHARACTER: context.characters}, context.reason)
        await socket.close()
        return socket


class _Context(Synthesis):
    def __init__(
        self, socket: web.WebSocketResponse, context_id: str, model: str, sample_rate: int, audio_speed: float
    ) -> None:
        super().__init__(model, sample_rate, audio_speed)
        self._socket, self._id = socket, context_id

    async def send_audio(self, chunk: bytes) -> None:
        await self._send(audio=base64.b64encode(chunk).decode())

    async def send_end(self) -> None:
        await self._send(isFinal=True)

    async def _send(self, **message: Any) -> None:
        await self._socket.send_json({"contextId": self._id, **message})
