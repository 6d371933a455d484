"""AssemblyAI's streaming speech-to-text, ``/v3/ws``.

Bills the time that the WebSocket is open, whether anybody speaks or not.

Source:
    assemblyai.com/docs/faq/how-does-universal-streaming-session-based-pricing-work; livekit-plugins-assemblyai 1.8.9,
    ``stt.py``.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

from otel_voice_cost.usage import Component, Unit

from .server import VendorServer
from .transcription import Transcriber, Transcript

__all__ = ["FakeAssemblyAI"]

_ids = count(1)


class FakeAssemblyAI(VendorServer):
    """Transcribes the caller's tones by script."""

    component = Component.STT
    provider = "AssemblyAI"

    def __init__(self, lines: Sequence[str]) -> None:
        """Serve a script, as for `Transcriber`; connections of one call continue it."""
        super().__init__()
        self._lines = deque(lines)

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/v3/ws", self._listen)]

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        opened_at = time.perf_counter()
        transcriber = Transcriber(self._lines, int(request.query["sample_rate"]))
        try:
            await socket.send_json({"type": "Begin", "id": f"assemblyai-{next(_ids)}", "expires_at": 0})
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    for transcript in transcriber.transcribe(message.data):
                        await socket.send_json(_message(transcript))
                elif message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "Terminate":
                    await socket.send_json({"type": "Termination", "audio_duration_seconds": transcriber.seconds})
                    break
        finally:
            seconds = Decimal(str(time.perf_counter() - opened_at))
            self.bill(request.query["speech_model"], {Unit.AUDIO_SECOND: seconds}, "complete")
        await socket.close()
        return socket


def _message(transcript: Transcript) -> dict[str, Any]:
    if not transcript.text:
        return {"type": "SpeechStarted", "timestamp": int(transcript.start * 1_000)}
    words = [
        {"text": word, "start": int(start * 1_000), "end": int(end * 1_000), "confidence": 0.99}
        for word, start, end in transcript.words()
    ]
    return {
        "type": "Turn",
        "turn_is_formatted": transcript.is_final,
        "end_of_turn": transcript.is_final,
        "end_of_turn_confidence": float(transcript.is_final),
        "transcript": transcript.text if transcript.is_final else "",
        "words": words,
    }
