"""The real Deepgram plugin against a local WebSocket server: the cost covers the whole connection time."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal

import pytest
from aiohttp import ClientSession, WSMsgType, web

from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedTTS

from .harness import amounts_in, assert_all_on_one_span, assert_session_totals, converse, new_session
from .test_conversations import Clerk

deepgram = pytest.importorskip("livekit.plugins.deepgram")


class Server:
    """Implements Deepgram's streaming protocol: transcribes after a second of audio, and keeps the connection time."""

    def __init__(self) -> None:
        self.open_seconds = 0.0

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        opened, heard = time.perf_counter(), 0
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    before, heard = heard, heard + len(message.data)
                    if before < 32_000 <= heard:
                        await self.transcribe(socket)
                elif message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "CloseStream":
                    break
        finally:
            self.open_seconds += time.perf_counter() - opened
            await socket.close()
        return socket

    async def transcribe(self, socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1})
        await socket.send_json(
            {
                "type": "Results",
                "metadata": {"request_id": "dg-1"},
                "is_final": True,
                "speech_final": True,
                "start": 0.0,
                "duration": 1.0,
                "channel": {
                    "alternatives": [
                        {
                            "transcript": "hello",
                            "confidence": 0.99,
                            "words": [{"word": "hello", "start": 0.1, "end": 0.5, "confidence": 0.99}],
                        }
                    ]
                },
            }
        )


async def test_the_cost_covers_the_whole_socket(pipeline):
    server = Server()
    application = web.Application()
    application.router.add_get("/v1/listen", server.listen)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    heard_by_session = []

    async with ClientSession() as http:
        stt = deepgram.STT(
            model="nova-3", api_key="none", base_url=f"http://127.0.0.1:{port}/v1/listen", http_session=http
        )
        llm, tts = ScriptedLLM([Answer(text="Hello to you.")]), ScriptedTTS(seconds_per_character=0.02)
        pipeline.listen(stt, llm, tts)
        session = new_session(stt=stt, llm=llm, tts=tts)
        session.on("metrics_collected", lambda event: heard_by_session.append(event.metrics))

        async def script(caller):
            await caller.until("speaking")
            await caller.until("listening")
            await asyncio.sleep(5.5)  # the plugin reports every five seconds

        await converse(session, Clerk(), script, speed=1.0)
    await runner.cleanup()

    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    reported = amounts_in(pipeline.reported)["stt", "nova-3", "audio_second"]
    assert abs(reported - Decimal(server.open_seconds)) < Decimal("0.3")
    in_session = sum(metrics.audio_duration for metrics in heard_by_session if metrics.type == "stt_metrics")
    assert in_session < server.open_seconds - 0.5
    heard = [span for span in pipeline.spans if span.attributes.get("voice_cost.component") == "stt"]
    assert sum(span.attributes["gen_ai.usage.cost"] for span in heard) == pytest.approx(
        server.open_seconds * 0.0048 / 60, rel=0.05
    )
