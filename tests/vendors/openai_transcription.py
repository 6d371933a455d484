"""OpenAI's speech-to-text over HTTP, ``/v1/audio/transcriptions``.

Bills the audio of each file.

Source:
    openai.com/api/pricing, on whisper-1: per minute; pipecat-ai 1.14.0, ``services/openai/stt.py``.
"""

from __future__ import annotations

import asyncio
import io
import wave
from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

from aiohttp import web

from otel_voice_cost.usage import Component, Mode, Unit

from .server import VendorServer

__all__ = ["FakeOpenAITranscription"]


class FakeOpenAITranscription(VendorServer):
    """Transcribes the nth file as the nth line."""

    component = Component.STT
    mode = Mode.BATCH
    provider = "api.openai.com"

    def __init__(self, lines: Sequence[str], *, seconds: float = 0.0) -> None:
        """Serve a script.

        Args:
            lines: One per file.
            seconds: Time until a transcript.
        """
        super().__init__()
        self._seconds = seconds
        self._lines = deque(lines)

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/v1/audio/transcriptions", self._transcribe)]

    async def _transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        file, model = form["file"], str(form["model"])
        assert isinstance(file, web.FileField)
        with wave.open(io.BytesIO(file.file.read())) as audio:
            seconds = Decimal(audio.getnframes()) / audio.getframerate()
        await asyncio.sleep(self._seconds)
        self.bill(model, {Unit.AUDIO_SECOND: seconds}, "complete")
        return web.json_response({"text": self._lines.popleft() if self._lines else ""})
