"""Deepgram's streaming speech-to-text, ``/v1/listen``.

Bills the audio received, speech or silence; the time of a connection without audio is free.

Source:
    developers.deepgram.com/docs/keep-alive, on the charge by the duration of the audio sent; livekit-plugins-deepgram
    1.8.9, ``stt.py``.
"""

from __future__ import annotations

import asyncio
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

__all__ = ["FakeDeepgram"]

_ids = count(1)


class FakeDeepgram(VendorServer):
    """Transcribes the caller's tones by script.

    Attributes:
        open_seconds: How long connections were open, all together.
        is_connected: Set when the first connection is open.
    """

    component = Component.STT
    provider = "Deepgram"

    def __init__(self, lines: Sequence[str], *, finalizes: bool = False) -> None:
        """Serve a script.

        Args:
            lines: As for `Transcriber`; connections of one call continue the same script.
            finalizes: Whether the client's request to finalize ends an utterance at once.
        """
        super().__init__()
        self._finalizes = finalizes
        self.open_seconds = 0.0
        self.is_connected = asyncio.Event()
        self._lines = deque(lines)

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/v1/listen", self._listen)]

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.is_connected.set()
        request_id, opened_at = f"deepgram-{next(_ids)}", time.perf_counter()
        sample_rate, received = int(request.query["sample_rate"]), 0
        transcriber = Transcriber(self._lines, sample_rate)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    received += len(message.data)
                    for transcript in transcriber.transcribe(message.data):
                        await socket.send_json(_message(transcript, request_id))
                    continue
                kind = json.loads(message.data)["type"] if message.type is WSMsgType.TEXT else ""
                if kind == "Finalize" and self._finalizes:
                    for transcript in transcriber.finish():
                        await socket.send_json({**_message(transcript, request_id), "from_finalize": True})
                elif kind == "CloseStream":
                    break
        finally:
            self.open_seconds += time.perf_counter() - opened_at
            seconds = Decimal(received) / (2 * sample_rate)
            self.bill(request.query["model"], {Unit.AUDIO_SECOND: seconds}, "complete")
        await socket.close()
        return socket


def _message(transcript: Transcript, request_id: str) -> dict[str, Any]:
    if not transcript.text:
        return {"type": "SpeechStarted", "channel": [0, 1], "timestamp": transcript.start}
    words = [{"word": word, "start": start, "end": end, "confidence": 0.99} for word, start, end in transcript.words()]
    return {
        "type": "Results",
        "metadata": {"request_id": request_id},
        "is_final": transcript.is_final,
        "speech_final": transcript.is_end,
        "start": transcript.start,
        "duration": transcript.end - transcript.start,
        "channel": {"alternatives": [{"transcript": transcript.text, "confidence": 0.99, "words": words}]},
    }
