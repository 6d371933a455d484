"""Anthropic's messages, ``/v1/messages`` as a stream.

Bills the prompt, whose tokens the first event tells, and what was generated. What Anthropic charges when the client
leaves is not documented; here it is what was generated until then.

Source:
    docs.anthropic.com, streaming messages: ``message_start`` has the input tokens and the first output token, and the
    counts of ``message_delta`` are cumulative; livekit-plugins-anthropic 1.8.9, ``llm.py``, which adds the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anthropic

from .completions import Completion, CompletionServer
from .tokens import prompt_tokens, split_tokens

__all__ = ["FakeAnthropic"]


class FakeAnthropic(CompletionServer):
    """Messages without tools and without the cache, which has to be asked for."""

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
        system = [{"role": "system", "content": block["text"]} for block in body.get("system", ())]
        return prompt_tokens(body.get("tools", ()), [*system, *body["messages"]])

    def opening(self, completion: Completion) -> list[bytes]:
        message = {
            "id": completion.id,
            "type": "message",
            "role": "assistant",
            "model": completion.model,
            "content": [],
            "usage": {"input_tokens": len(completion.prompt), "output_tokens": 1},
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
            _event("message_delta", delta=delta, usage={"output_tokens": completion.generated}),
            _event("message_stop"),
        ]


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
