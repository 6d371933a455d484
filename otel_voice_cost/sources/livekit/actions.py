"""The end of a session whose budget is spent."""

from __future__ import annotations

import asyncio
from typing import Any

from .. import SpanKey
from .hooks import find_agent_session

__all__ = ["end_session"]

_PAUSE_SECONDS = 0.1  # 1.2 and 1.3 wait forever if closed at the moment a speech ends


async def end_session(key: SpanKey, sentence: str) -> None:
    """Say a sentence, then end the session with this span, if it is LiveKit's.

    Args:
        key: Trace and span id.
        sentence: The sentence.

    Source:
        livekit-agents 1.2 to 1.8, ``voice/agent_session.py``: ``interrupt``, ``say``, ``generate_reply``, ``aclose``.
    """
    session = find_agent_session(key)
    if session is None:
        return
    try:
        await session.interrupt()
        await _spoken(session, sentence)
        await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        await session.aclose()


async def _spoken(session: Any, sentence: str) -> None:
    if session.tts is not None:
        speech = session.say(sentence, allow_interruptions=False)
    else:
        speech = session.generate_reply(
            instructions=f"Say this and nothing else: {sentence}", allow_interruptions=False
        )
    await speech.wait_for_playout()
