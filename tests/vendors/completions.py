"""The base of servers of language models: scripted answers, faults, and the meter of a streamed completion."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any, ClassVar

from aiohttp import web

from otel_voice_cost.usage import Component, Unit

from .server import Pace, VendorServer
from .tokens import PromptCache

__all__ = ["Answer", "Completion", "CompletionServer", "Fault"]

_ids = count(1)


class Fault(Enum):
    """A fault in a request."""

    BREAK = "break"  # the connection ends half-way through the answer
    REFUSE = "refuse"  # status 500, free
    STALL = "stall"  # nothing comes until the client gives up


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to a message of the user, and the tool that the model calls before it."""

    text: str
    tool: str | None = None


@dataclass(slots=True, kw_only=True)
class Completion:
    """A completion in the making.

    Attributes:
        id: Id of the request.
        model: Model that was asked.
        answer: The answer to be generated.
        prompt: Tokens of the prompt.
        cached: How many of them are billed as cached.
        written: How many of them are billed as written to the cache.
        generated: Tokens generated so far.
    """

    id: str
    model: str
    answer: Answer
    prompt: tuple[str, ...]
    cached: int
    written: int = 0
    generated: int = 0

    @property
    def plain(self) -> int:
        """Tokens of the prompt that the cache has no part in."""
        return len(self.prompt) - self.cached - self.written

    def quantities(self) -> dict[Unit, int]:
        """Return the billed amounts so far."""
        return {
            Unit.INPUT_TOKEN: self.plain,
            Unit.CACHED_INPUT_TOKEN: self.cached,
            Unit.CACHE_WRITE_TOKEN: self.written,
            Unit.OUTPUT_TOKEN: self.generated,
        }


class CompletionServer(VendorServer):
    """Answers the nth message of the user with the nth answer, as server-sent events, one a token.

    Bills the prompt and what was generated; a request whose client leaves is billed for what was generated until
    then.

    Attributes:
        path: Path of the requests.
        has_cache: Whether prompts are cached unasked.
    """

    component = Component.LLM
    stops_when_client_leaves = True
    path: ClassVar[str]
    has_cache: ClassVar[bool]

    def __init__(
        self,
        answers: Sequence[str | Answer],
        *,
        tokens_per_second: float = 100.0,
        first_token_seconds: float = 0.3,
        faults: Mapping[int, Fault] | None = None,
    ) -> None:
        """Serve answers.

        Args:
            answers: By number of messages of the user in the prompt; the last answers all further ones.
            tokens_per_second: Pace of an answer.
            first_token_seconds: Time until its first token.
            faults: By number of the request, counted from 1.
        """
        super().__init__()
        self._answers = [Answer(text=answer) if isinstance(answer, str) else answer for answer in answers]
        self._tokens_per_second, self._first_token_seconds = tokens_per_second, first_token_seconds
        self._faults = dict(faults or {})
        self._requests = 0
        self._cache = PromptCache()

    def prompt(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the tokens of the prompt in a request."""
        raise NotImplementedError

    def cache(self, body: Mapping[str, Any], prompt: tuple[str, ...]) -> tuple[int, int]:
        """Return how many tokens of a prompt are cached, and how many are written to the cache."""
        return (self._cache.cached_tokens(prompt) if self.has_cache else 0), 0

    def opening(self, completion: Completion) -> list[bytes]:
        """Return the events before the first token."""
        raise NotImplementedError

    def tokens(self, completion: Completion) -> list[bytes]:
        """Return the event of each token."""
        raise NotImplementedError

    def closing(self, completion: Completion) -> list[bytes]:
        """Return the events after the last token, the usage among them."""
        raise NotImplementedError

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post(self.path, self._complete)]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._requests += 1
        fault = self._faults.get(self._requests)
        if fault is Fault.REFUSE:
            self.bill(body["model"], {}, "failed")
            return web.json_response({"error": {"message": "internal error"}}, status=500)
        prompt = self.prompt(body)
        cached, written = self.cache(body, prompt)
        completion = Completion(
            id=f"completion-{next(_ids)}",
            model=body["model"],
            answer=self._answer(body["messages"]),
            prompt=prompt,
            cached=cached,
            written=written,
        )
        reason = "failed" if fault else "cut off"
        try:
            response = await self._stream(request, completion, fault)
            reason = "failed" if fault else "complete"
        finally:  # the client may leave at any time
            self.bill(completion.model, completion.quantities(), reason)
        return response

    def _answer(self, messages: Sequence[Mapping[str, Any]]) -> Answer:
        asked = sum(message["role"] == "user" for message in messages)
        answer = self._answers[min(max(asked, 1), len(self._answers)) - 1]
        return Answer(text=answer.text) if messages[-1]["role"] == "tool" else answer

    async def _stream(self, request: web.Request, completion: Completion, fault: Fault | None) -> web.StreamResponse:
        if fault is Fault.STALL:
            await asyncio.Event().wait()  # until the client leaves
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in self.opening(completion):
            await response.write(event)
        await asyncio.sleep(self._first_token_seconds)
        pace = Pace()
        tokens = self.tokens(completion)
        for i, event in enumerate(tokens):
            if fault is Fault.BREAK and i > len(tokens) // 2:
                assert request.transport is not None
                request.transport.abort()
                return response
            await pace.step(1 / self._tokens_per_second)
            completion.generated += 1
            await response.write(event)
        for event in self.closing(completion):
            await response.write(event)
        return response
