"""Anthropic's messages, ``/v1/messages`` as a stream.

A prompt with a mark for the cache is written to it but for its last tokens; what an earlier one wrote is read.

Bills the prompt, whose tokens the first event tells, and what was generated. What Anthropic charges when the client
leaves is not documented; here it is what was generated until then.

Source:
    docs.anthropic.com, streaming messages: ``message_start`` has the input tokens and the first output token, and the
    counts of ``message_delta`` are cumulative; anthropic 1.17.0, ``types/message_delta_usage.py``: those of the input
    too; livekit-plugins-anthropic 1.8.9, ``llm.py``, which adds the output of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anthropic

from .completions import Completion, CompletionServer
from .tokens import prompt_tokens, split_tokens

__all__ = ["FakeAnthropic"]

_UNCACHED = 3  # tokens after the last mark


class FakeAnthropic(CompletionServer):
    """Messages without tools. The cache has to be asked for."""

    provider = "api.anthropic.com"
    path = "/v1/messages"
    has_cache = False

    def client(self) -> anthropic.AsyncClient:
        """Return a client for the plugin: its requests to api.anthropic.com come here, as to a proxy."""
        http = anthropic.DefaultAsyncHttpxClient(proxy=self.url)
        return anthropic.AsyncClient(
            api_key="none", base_url=f"http://{self.provider}", max_retries=0, http_client=http
        )

    def prompt(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        blocks = body.get("system", ())
        texts = [blocks] if isinstance(blocks, str) else [block["text"] for block in blocks]
        system = [{"role": "system", "content": text} for text in texts]
        return prompt_tokens(body.get("tools", ()), [*system, *map(_without_marks, body["messages"])])

    def cache(self, body: Mapping[str, Any], prompt: tuple[str, ...]) -> tuple[int, int]:
        if "cache_control" not in json.dumps(body):
            return 0, 0
        cached = self._cache.cached_tokens(prompt)
        return cached, max(0, len(prompt) - cached - _UNCACHED)

    def opening(self, completion: Completion) -> list[bytes]:
        message = {
            "id": completion.id,
            "type": "message",
            "role": "assistant",
            "model": completion.model,
            "content": [],
            "usage": _usage(completion, 1),
        }
        return [
            _event("message_start", message=message),
            _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        ]

    def tokens(self, completion: Completion) -> list[bytes]:
        return [
            _event("content_block_delta", index=0, delta={"type": "text_delta", "text": token})
            for token in split_tokens(completion.answer.text)
        ]

    def closing(self, completion: Completion) -> list[bytes]:
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return [
            _event("content_block_stop", index=0),
            _event("message_delta", delta=delta, usage=_usage(completion, completion.generated)),
            _event("message_stop"),
        ]


def _usage(completion: Completion, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": completion.plain,
        "cache_creation_input_tokens": completion.written,
        "cache_read_input_tokens": completion.cached,
        "output_tokens": output_tokens,
    }


def _without_marks(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without the marks for the cache, which are not part of the prompt."""
    content = message.get("content")
    if isinstance(content, list):
        blocks = [{key: value for key, value in block.items() if key != "cache_control"} for block in content]
        text_alone = len(blocks) == 1 and blocks[0].get("type") == "text"
        return {**message, "content": blocks[0]["text"] if text_alone else blocks}
    return dict(message)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
