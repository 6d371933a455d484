"""The end of a conversation whose budget is spent."""

from __future__ import annotations

import sys
from typing import Any

from .. import SpanKey
from .reports import find_worker

__all__ = ["end_conversation"]


async def end_conversation(key: SpanKey, sentence: str) -> None:
    """Say a sentence, then end the pipeline of the conversation with this span, if it is Pipecat's.

    The frames pass through the pipeline in this order, so what the agent was saying stops, the sentence is spoken to
    its end, and the transport hangs up. Without text-to-speech it only hangs up.

    Args:
        key: Trace and span id.
        sentence: The sentence.

    Source:
        pipecat-ai 1.7.0 to 1.14.0, ``pipeline/worker.py``: ``queue_frames``, ``cancel``; ``frames/frames.py``.
    """
    worker = find_worker(key)
    if worker is None:
        return
    frames: Any = sys.modules["pipecat.frames.frames"]
    try:
        await worker.queue_frames([frames.InterruptionFrame(), frames.TTSSpeakFrame(sentence), frames.EndFrame()])
    except Exception:
        await worker.cancel()
        raise
