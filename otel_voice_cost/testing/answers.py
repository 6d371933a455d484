"""Scripted answers of a language model, for every framework."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Answer", "ToolCall"]


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool call of the model."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of the model, and the tokens it reports.

    ``prompt_tokens`` includes ``cached_tokens``, as in OpenAI's counts.
    """

    text: str = ""
    tool: ToolCall | None = None
    prompt_tokens: int = 100
    cached_tokens: int = 0
    completion_tokens: int = 20
    error: Exception | None = None
    chunk_seconds: float = 0.01
