"""Actions for an agent whose budget is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ...bill import SessionCost
from .hooks import find_agent_session

__all__ = ["end_call"]

_PAUSE_SECONDS = 0.1  # 1.2 and 1.3 wait forever if closed at the moment a speech ends


def end_call(sentence: str) -> Callable[[SessionCost], Awaitable[None]]:
    """Return an action for `Budget.on_exceeded`: say a sentence, then end the session.

    The agent is interrupted, finishes the sentence and hangs up. A realtime model without separate text-to-speech
    is prompted to say it. If the sentence cannot be said, the session ends anyway.

    Args:
        sentence: The sentence.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``interrupt``, ``say``, ``generate_reply``, ``aclose``.
    """

    async def end(record: SessionCost) -> None:
        session = find_agent_session((int(record.trace_id, 16), int(record.span_id, 16)))
        if session is None:
            return
        try:
            await session.interrupt()
            await _spoken(session, sentence)
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await session.aclose()

    return end


async def _spoken(session: Any, sentence: str) -> None:
    if session.tts is not None:
        speech = session.say(sentence, allow_interruptions=False)
    else:
        speech = session.generate_reply(
            instructions=f"Say this and nothing else: {sentence}", allow_interruptions=False
        )
    await speech.wait_for_playout()
