"""OpenAI's text-to-speech over HTTP, ``/v1/audio/speech``.

Bills the characters of each text that is accepted, also if the client leaves before all of its speech is there.

Source:
    openai.com/api/pricing, on tts-1: per million characters (a client that leaves is not mentioned); pipecat-ai 1.14.0,
    ``services/openai/tts.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from otel_voice_cost.usage import Component, Unit

from .server import Pace, VendorServer
from .speech import speech_seconds, tone

__all__ = ["FakeOpenAISpeech"]

_SAMPLE_RATE = 24_000
_CHUNK_SECONDS = 0.2


class FakeOpenAISpeech(VendorServer):
    """Speaks each text as a stream of PCM."""

    component = Component.TTS
    provider = "api.openai.com"
    stops_when_client_leaves = True

    def __init__(self, *, audio_speed: float = 4.0, status: int = 200) -> None:
        """Serve speech.

        Args:
            audio_speed: Seconds of audio made per second of the clock.
            status: Status of every answer; others than 200 are free.
        """
        super().__init__()
        self._audio_speed, self._status = audio_speed, status

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/v1/audio/speech", self._speak)]

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self._status != 200:
            self.bill(body["model"], {}, "failed")
            return web.json_response({"error": {"message": "not found"}}, status=self._status)
        reason = "cut off"
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        try:
            await response.prepare(request)
            left, pace = speech_seconds(body["input"]), Pace()
            while left > 0:
                await pace.step(min(left, _CHUNK_SECONDS) / self._audio_speed)
                await response.write(tone(min(left, _CHUNK_SECONDS), _SAMPLE_RATE))
                left -= _CHUNK_SECONDS
            reason = "complete"
        finally:  # the client may leave at any time
            self.bill(body["model"], {Unit.CHARACTER: len(body["input"])}, reason)
        return response
