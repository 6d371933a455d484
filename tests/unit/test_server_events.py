"""Usage in the vendor's own events: reported unless LiveKit makes metrics of it in the same step."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from otel_voice_cost.sources.livekit.server_events import ServerEvents

UPDATED = {
    "type": "session.updated",
    "session": {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
}
TRANSCRIBED = {
    "type": "conversation.item.input_audio_transcription.completed",
    "item_id": "item-1",
    "usage": {"type": "tokens", "input_tokens": 30, "input_token_details": {"audio_tokens": 28}, "output_tokens": 7},
}
DONE = {"type": "response.done", "response": {"id": "resp-1", "usage": {"input_tokens": 90, "output_tokens": 40}}}


class Session:
    """A realtime session."""

    realtime_model = SimpleNamespace(label="realtime", provider="api.openai.com", model="gpt-realtime")


@pytest.fixture
def reported():
    return []


async def test_the_transcription_of_the_caller_is_reported_with_its_model(reported):
    events, session = ServerEvents(lambda metrics, _: reported.append(json.loads(metrics.model_dump_json()))), Session()
    for event in (UPDATED, TRANSCRIBED):
        events.receive(session, event)
    await asyncio.sleep(0)

    (metrics,) = reported
    assert metrics["metadata"] == {"model_name": "gpt-4o-transcribe", "model_provider": "api.openai.com"}
    assert (metrics["type"], metrics["input_audio_tokens"], metrics["output_tokens"]) == ("stt_metrics", 28, 7)


@pytest.mark.parametrize(("event", "kind"), [(TRANSCRIBED, "stt_metrics"), (DONE, "realtime_model_metrics")])
async def test_usage_that_livekit_reports_in_the_same_step_is_reported_once(event, kind, reported):
    events, session = ServerEvents(lambda metrics, _: reported.append(metrics)), Session()
    events.receive(session, event)
    events.note_metrics(session, SimpleNamespace(type=kind))
    await asyncio.sleep(0)
    assert reported == []

    events.receive(session, event)
    await asyncio.sleep(0)
    assert len(reported) == 1
