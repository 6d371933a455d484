"""OpenAI's realtime API over a WebSocket, ``/v1/realtime``.

Bills every response by its tokens, a cancelled one by the tokens made until then, and the transcription of the
caller's speech by the tokens of its own model. The calls are too short for prompts to be cached, unless a server is
told to cache them.

Source:
    developers.openai.com/api/docs/guides/realtime-costs: one token for 100 ms of the user's audio and for 50 ms of the
    assistant's; livekit-agents 1.8.9, ``llm/_realtime/openai.py``: ``response.done`` of cancelled responses has usage.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket as sockets
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from aiohttp import ClientSession, TCPConnector, WSMsgType, web
from aiohttp.abc import AbstractResolver, ResolveResult

from otel_voice_cost.usage import Component, Unit

from .server import Pace, VendorServer
from .speech import speech_seconds, tone
from .tokens import split_tokens
from .transcription import Transcriber, Transcript

__all__ = ["FakeOpenAIRealtime"]

SAMPLE_RATE = 24_000
_HOST = "api.openai.com"
_INPUT_TOKENS_PER_SECOND = 10
_OUTPUT_TOKENS_PER_SECOND = 20
_ids = count(1)


class FakeOpenAIRealtime(VendorServer):
    """Answers the nth utterance with the nth answer, and takes turns by itself.

    Attributes:
        base_url: URL for the plugin, which reports its host; it needs the client of `http`.
    """

    component = Component.REALTIME
    provider = _HOST
    base_url = f"http://{_HOST}/v1"

    def __init__(
        self,
        lines: Sequence[str],
        answers: Sequence[str],
        *,
        audio_speed: float = 4.0,
        created_seconds: float = 0.05,
        tells_session: bool = False,
        caches: bool = False,
    ) -> None:
        """Serve a script.

        Args:
            lines: As for `Transcriber`.
            answers: One per response; the last answers all further ones.
            audio_speed: Seconds of audio made per second of the clock.
            created_seconds: Time until a response is created.
            tells_session: Whether the client is told that its session was created and updated.
            caches: Whether the prompt of each response is cached for the next one.
        """
        super().__init__()
        self.tells_session, self.caches = tells_session, caches
        self.lines, self.answers = deque(lines), deque(answers)
        self.audio_speed, self.created_seconds = audio_speed, created_seconds

    def http(self) -> ClientSession:
        """Return a client for the plugin for which api.openai.com is this server."""
        return ClientSession(connector=TCPConnector(resolver=_Resolver(self.port)))

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/v1/realtime", self._serve)]

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        conversation = _Conversation(self, socket, request.query["model"])
        if self.tells_session:
            await conversation.send("session.created", session={})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await conversation.handle(json.loads(message.data))
        finally:
            await conversation.stop()
        return socket


class _Conversation:
    """One connection: all that was said on it is the prompt of the next response."""

    def __init__(self, server: FakeOpenAIRealtime, socket: web.WebSocketResponse, model: str) -> None:
        self._server, self._socket, self._model = server, socket, model
        self._transcriber = Transcriber(server.lines, SAMPLE_RATE)
        self._session_text: dict[str, str] = {}  # instructions and tools
        self._transcription_model = ""
        self._text_tokens = self._audio_tokens = 0  # of the items
        self._cached = (0, 0)  # tokens of text and audio in the prompt before
        self._last_item: str | None = None
        self._response: _Response | None = None
        self._task: asyncio.Task[None] | None = None

    async def handle(self, event: dict[str, Any]) -> None:
        """Handle an event of the client."""
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            for transcript in self._transcriber.transcribe(base64.b64decode(event["audio"])):
                await self._take_turn(transcript)
        elif kind == "session.update":
            self._update_session(event["session"])
            if self._server.tells_session:
                await self.send("session.updated", session={})
        elif kind == "conversation.item.create":
            self._text_tokens += len(split_tokens(json.dumps(event["item"].get("content", ""))))
            await self._add_item(event["item"])
        elif kind == "conversation.item.delete":
            await self.send("conversation.item.deleted", item_id=event["item_id"])
        elif kind == "response.create":
            self._respond((event.get("response") or {}).get("metadata"))
        elif kind == "response.cancel":
            await self._cancel()

    def _update_session(self, session: dict[str, Any]) -> None:
        for key in ("instructions", "tools"):
            if session.get(key):
                self._session_text[key] = json.dumps(session[key])
        transcription = session.get("audio", {}).get("input", {}).get("transcription")
        if transcription:
            self._transcription_model = transcription["model"]

    async def _take_turn(self, transcript: Transcript) -> None:
        if not transcript.text:
            await self.stop()
            self._item = f"item-{next(_ids)}"
            at = int(transcript.start * 1_000)
            await self.send("input_audio_buffer.speech_started", item_id=self._item, audio_start_ms=at)
        elif transcript.is_end:
            await self.send(
                "input_audio_buffer.speech_stopped", item_id=self._item, audio_end_ms=int(transcript.end * 1_000)
            )
            content = [{"type": "input_audio", "transcript": None}]
            await self._add_item({"id": self._item, "type": "message", "role": "user", "content": content})
            audio_tokens = round((transcript.end - transcript.start) * _INPUT_TOKENS_PER_SECOND)
            self._audio_tokens += audio_tokens
            if self._transcription_model:
                await self._transcribe(transcript.text, audio_tokens)
            self._respond(None)

    async def _transcribe(self, text: str, audio_tokens: int) -> None:
        made = len(split_tokens(text))
        usage = {
            "type": "tokens",
            "input_tokens": audio_tokens,
            "output_tokens": made,
            "total_tokens": audio_tokens + made,
            "input_token_details": {"audio_tokens": audio_tokens, "text_tokens": 0},
        }
        quantities = {Unit.INPUT_AUDIO_TOKEN: audio_tokens, Unit.OUTPUT_TEXT_TOKEN: made}
        self._server.bill(self._transcription_model, quantities, "complete", component=Component.STT)
        kind = "conversation.item.input_audio_transcription.completed"
        await self.send(kind, item_id=self._item, content_index=0, transcript=text, logprobs=None, usage=usage)

    async def _add_item(self, item: dict[str, Any]) -> None:
        await self.send("conversation.item.added", previous_item_id=self._last_item, item=item)
        self._last_item = item["id"]

    def _respond(self, metadata: dict[str, str] | None) -> None:
        text_tokens = self._text_tokens + sum(len(split_tokens(text)) for text in self._session_text.values())
        answers = self._server.answers
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        cached_text, cached_audio = self._cached if self._server.caches else (0, 0)
        self._cached = text_tokens, self._audio_tokens
        response = _Response(
            answer,
            metadata,
            {
                Unit.INPUT_TEXT_TOKEN: text_tokens - cached_text,
                Unit.CACHED_INPUT_TEXT_TOKEN: cached_text,
                Unit.INPUT_AUDIO_TOKEN: self._audio_tokens - cached_audio,
                Unit.CACHED_INPUT_AUDIO_TOKEN: cached_audio,
            },
        )
        self._task = asyncio.create_task(self._make(response))

    async def _make(self, response: _Response) -> None:
        await asyncio.sleep(self._server.created_seconds)
        self._response = response
        try:
            await self._send_response(response)
            response.status = "completed"
        except asyncio.CancelledError:
            response.status = "cancelled"
        finally:
            self._response = None
            self._audio_tokens += response.audio_tokens // 2  # in prompts, the assistant's audio counts as the user's
            reason = "complete" if response.status == "completed" else "cut off"
            self._server.bill(self._model, response.quantities(), reason)
        await self.send("response.done", response=response.state(usage=response.usage()))

    async def _send_response(self, response: _Response) -> None:
        item = {"id": f"item-{next(_ids)}", "type": "message", "role": "assistant", "content": []}
        place = {"response_id": response.id, "item_id": item["id"], "output_index": 0, "content_index": 0}
        await self.send("response.created", response=response.state())
        await self.send("response.output_item.added", response_id=response.id, output_index=0, item=item)
        await self._add_item(item)
        await self.send("response.content_part.added", **place, part={"type": "audio", "transcript": ""})
        pace = Pace()
        for token in split_tokens(response.answer):
            seconds = speech_seconds(token)
            await pace.step(seconds / self._server.audio_speed)
            response.seconds += seconds
            response.text_tokens += 1
            await self.send("response.output_audio_transcript.delta", **place, delta=token)
            audio = base64.b64encode(tone(seconds, SAMPLE_RATE)).decode()
            await self.send("response.output_audio.delta", **place, delta=audio)
        await self.send("response.output_audio.done", **place)
        await self.send("response.output_item.done", response_id=response.id, output_index=0, item=item)

    async def _cancel(self) -> None:
        if self._response is None:
            error = {"code": "response_cancel_not_active", "message": "Cancellation failed: no active response found"}
            await self.send("error", error={"type": "invalid_request_error", "event_id": None, **error})
        else:
            await self.stop()

    async def stop(self) -> None:
        """Cancel the response in the making, if any."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await self._task
            self._task = None

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event to the client."""
        await self._socket.send_json({"type": kind, "event_id": f"event-{next(_ids)}", **fields})


class _Response:
    """A response in the making.

    Attributes:
        seconds: Audio made so far.
        text_tokens: Tokens of the transcript made so far.
    """

    def __init__(self, answer: str, metadata: dict[str, str] | None, prompt: dict[Unit, int]) -> None:
        self.id = f"response-{next(_ids)}"
        self.answer = answer
        self.status = "in_progress"
        self.seconds, self.text_tokens = 0.0, 0
        self._metadata, self._prompt = metadata, prompt

    @property
    def audio_tokens(self) -> int:
        """Tokens of audio made so far."""
        return round(self.seconds * _OUTPUT_TOKENS_PER_SECOND)

    def state(self, **fields: Any) -> dict[str, Any]:
        """Return the response as events have it."""
        return {
            "id": self.id, "object": "realtime.response", "status": self.status, "status_details": None, "output": [],
            "metadata": self._metadata, **fields,
        }  # fmt: skip

    def quantities(self) -> dict[Unit, int]:
        """Return the billed amounts so far."""
        return {
            **self._prompt,
            Unit.OUTPUT_TEXT_TOKEN: self.text_tokens,
            Unit.OUTPUT_AUDIO_TOKEN: self.audio_tokens,
        }

    def usage(self) -> dict[str, Any]:
        """Return the same amounts as ``response.done`` has them."""
        prompt, made = self._prompt, self.text_tokens + self.audio_tokens
        cached_text, cached_audio = prompt[Unit.CACHED_INPUT_TEXT_TOKEN], prompt[Unit.CACHED_INPUT_AUDIO_TOKEN]
        sent = sum(prompt.values())
        return {
            "input_tokens": sent,
            "output_tokens": made,
            "total_tokens": sent + made,
            "input_token_details": {
                "text_tokens": prompt[Unit.INPUT_TEXT_TOKEN] + cached_text,
                "audio_tokens": prompt[Unit.INPUT_AUDIO_TOKEN] + cached_audio,
                "cached_tokens": cached_text + cached_audio,
                "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached_audio},
            },
            "output_token_details": {"text_tokens": self.text_tokens, "audio_tokens": self.audio_tokens},
        }


class _Resolver(AbstractResolver):
    """Resolves every host to one port of the loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: sockets.AddressFamily = sockets.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=self._port, family=sockets.AF_INET, proto=0,
                flags=sockets.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        pass
