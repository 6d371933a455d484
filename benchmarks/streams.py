"""The time that watching streams adds to a call of theirs, and to the start of a request with a long prompt."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from time import thread_time_ns
from typing import Any

from livekit import rtc
from livekit.agents import llm
from rich import box
from rich.console import Console
from rich.table import Table

from otel_voice_cost import PriceCatalog, Settings, VoiceCostSpanProcessor
from otel_voice_cost.testing import ScriptedLLM, ScriptedSTT, ScriptedTTS

CALLS = 2_000
ROUNDS = 15
ITEMS = 200
CATALOG = PriceCatalog.default()
FRAME = rtc.AudioFrame.create(sample_rate=24_000, num_channels=1, samples_per_channel=240)


async def push_text() -> float:
    stream = ScriptedTTS().stream()
    before = thread_time_ns()
    for _ in range(CALLS):
        stream.push_text("word ")
    taken = thread_time_ns() - before
    await stream.aclose()
    return taken / CALLS / 1_000


async def push_frame() -> float:
    stream = ScriptedSTT([]).stream()
    before = thread_time_ns()
    for _ in range(CALLS):
        stream.push_frame(FRAME)
    taken = thread_time_ns() - before
    await stream.aclose()
    return taken / CALLS / 1_000


async def receive_chunk() -> float:
    stream = ScriptedLLM([]).chat(chat_ctx=llm.ChatContext.empty())
    chunk = llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant", content="word "))
    for _ in range(CALLS):
        stream._event_ch.send_nowait(chunk)
    before = thread_time_ns()
    for _ in range(CALLS):
        await stream.__anext__()
    taken = thread_time_ns() - before
    await stream.aclose()
    return taken / CALLS / 1_000


async def begin_request() -> float:
    """A prompt of many items, one longer than the last: as in a call."""
    model, context, taken = ScriptedLLM([]), llm.ChatContext.empty(), 0
    for _ in range(ITEMS):
        context.add_message(role="user", content="a sentence of the caller")
    for _ in range(50):
        context.add_message(role="user", content="a sentence of the caller")
        before = thread_time_ns()
        stream = model.chat(chat_ctx=context)
        taken += thread_time_ns() - before
        await stream.aclose()
    return taken / 50 / 1_000


def in_turns(case: Callable[[], Any]) -> tuple[float, float]:
    """Return the medians without and with a processor, which take turns."""
    alone, watched = [], []
    for _ in range(ROUNDS):
        gc.collect()
        alone.append(asyncio.run(case()))
        processor = VoiceCostSpanProcessor(catalog=CATALOG, settings=Settings(unreported="estimate"))
        gc.collect()
        watched.append(asyncio.run(case()))
        processor.shutdown()
    return sorted(alone)[ROUNDS // 2], sorted(watched)[ROUNDS // 2]


def main() -> None:
    logging.disable(logging.WARNING)  # of usage without spans
    cases = {
        "push_text": push_text,
        "push_frame": push_frame,
        "a chunk of an answer": receive_chunk,
        f"a request with a prompt of {ITEMS} items": begin_request,
    }
    rows = Table("call", "LiveKit alone, µs", "watched, µs", "adds, µs", box=box.SIMPLE)
    for name, case in cases.items():
        alone, watched = in_turns(case)
        rows.add_row(name, f"{alone:.1f}", f"{watched:.1f}", f"{watched - alone:.1f}")
    Console(width=None if sys.stdout.isatty() else 120).print(rows)


if __name__ == "__main__":
    main()
