"""Actions for an agent whose budget is spent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..bill import SessionCost
from .livekit.actions import end_session
from .pipecat.actions import end_conversation

__all__ = ["end_call"]


def end_call(sentence: str) -> Callable[[SessionCost], Awaitable[None]]:
    """Return an action for `Budget.on_exceeded`: say a sentence, then end the session.

    The agent is interrupted, finishes the sentence and hangs up. LiveKit's realtime models without separate
    text-to-speech are prompted to say it. If the sentence cannot be said, the session ends anyway.

    Args:
        sentence: The sentence.
    """

    async def end(record: SessionCost) -> None:
        key = (int(record.trace_id, 16), int(record.span_id, 16))
        await end_session(key, sentence)
        await end_conversation(key, sentence)

    return end
