"""OpenAI's chat completions, ``/v1/chat/completions`` as a stream.

Bills the prompt, its cached part at the cached price, and what was generated. What OpenAI charges when the client
leaves is not documented; here it is what was generated until then.

Source:
    platform.openai.com, ``stream_options.include_usage`` and prompt caching; livekit-agents 1.8.9,
    ``inference/llm.py``, which the OpenAI plugin runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import openai

from .completions import Completion, CompletionServer
from .tokens import prompt_tokens, split_tokens

__all__ = ["FakeOpenAI"]


class FakeOpenAI(CompletionServer):
    """Chat completions with usage in the last chunk."""

    provider = "api.openai.com"
    snapshot: ClassVar[str] = ""  # appended to the model's name in answers
    path = "/v1/chat/completions"
    has_cache = True

    def client(self) -> openai.AsyncClient:
        """Return a client for the plugin: its requests to api.openai.com come here, as to a proxy."""
        http = openai.DefaultAsyncHttpxClient(proxy=self.url)
        return openai.AsyncClient(
            api_key="none", base_url=f"http://{self.provider}/v1", max_retries=0, http_client=http
        )

    def prompt(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        return prompt_tokens(body.get("tools", ()), body["messages"])

    def opening(self, completion: Completion) -> list[bytes]:
        return []

    def tokens(self, completion: Completion) -> list[bytes]:
        answer = completion.answer
        if answer.tool is None:
            deltas = [{"role": "assistant", "content": token} for token in split_tokens(answer.text)]
        else:
            call = {"id": f"call-{completion.id}", "type": "function", "function": {"name": answer.tool}}
            parts = [call, *({"function": {"arguments": token}} for token in split_tokens("{}"))]
            deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **part}]} for part in parts]
        return [self._chunk(completion, delta) for delta in deltas]

    def closing(self, completion: Completion) -> list[bytes]:
        usage = {
            "prompt_tokens": len(completion.prompt),
            "completion_tokens": completion.generated,
            "total_tokens": len(completion.prompt) + completion.generated,
            "prompt_tokens_details": {"cached_tokens": completion.cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        reason = "tool_calls" if completion.answer.tool else "stop"
        end = [self._chunk(completion, {}, reason), self._event(completion, choices=[], usage=usage)]
        return [*end, b"data: [DONE]\n\n"]

    def _chunk(self, completion: Completion, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._event(completion, choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])

    def _event(self, completion: Completion, **fields: Any) -> bytes:
        model = completion.model + self.snapshot
        event = {"id": completion.id, "object": "chat.completion.chunk", "created": 0, "model": model, **fields}
        return f"data: {json.dumps(event)}\n\n".encode()
