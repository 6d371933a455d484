"""Tokens by a fixed rule: vendors' tables need the network, and only the count has to be one that nobody else knows.

A token is up to six letters, up to three digits or one other sign, with the blanks before it: 4.6 characters of
English on average, fewer of German with its long words, as with the tables of language models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["PromptCache", "prompt_tokens", "split_tokens"]

_TOKEN = re.compile(r"\s*(?:[^\W\d_]{1,6}|\d{1,3}|[^\w\s]|_)|\s+$")
_FRAME = ("<", "role", ">")  # with the role, four tokens in addition to the text of a message
_MIN_CACHED = 1_024
_CACHE_STEP = 128


def split_tokens(text: str) -> list[str]:
    """Return the tokens of a text; joined, they are the text."""
    return _TOKEN.findall(text)


def prompt_tokens(tools: Iterable[Any], messages: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the tokens of a prompt: schemas of tools as JSON, then each message in its frame."""
    tokens = [token for tool in tools for token in split_tokens(json.dumps(tool, sort_keys=True))]
    for message in messages:
        tokens += (*_FRAME, message["role"])
        content = message.get("content") or ""
        tokens += split_tokens(content if isinstance(content, str) else json.dumps(content))
        if message.get("tool_calls"):
            tokens += split_tokens(json.dumps(message["tool_calls"]))
    return tuple(tokens)


class PromptCache:
    """Prompts seen before: their common beginning is cached, in steps of 128 tokens from 1,024 on.

    Source:
        platform.openai.com, prompt caching.
    """

    def __init__(self) -> None:
        self._prompts: list[tuple[str, ...]] = []

    def cached_tokens(self, prompt: tuple[str, ...]) -> int:
        """Return how much of a prompt is cached, and remember it."""
        longest = max((_common_length(prompt, earlier) for earlier in self._prompts), default=0)
        self._prompts.append(prompt)
        return longest // _CACHE_STEP * _CACHE_STEP if longest >= _MIN_CACHED else 0


def _common_length(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
