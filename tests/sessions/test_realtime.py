"""Realtime models: usage that matches its span, or arrives late, twice or never."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents.metrics import RealtimeModelMetrics

from .harness import assert_all_on_one_span, assert_session_totals, converse, new_session
from .scripted import ScriptedRealtime, backend_report, realtime_report, transcription_report
from .test_conversations import Clerk


async def reply_twice(caller):
    for _ in range(2):
        await caller.session.generate_reply().wait_for_playout()
    await asyncio.sleep(0.6)


@pytest.mark.parametrize(
    "metrics",
    [["matched"], ["late"], ["matched", "repeated"], ["unmatched"], ["matched", "unmatched", "repeated"]],
    ids=" ".join,
)
async def test_every_report_is_on_one_span(pipeline, metrics):
    model = ScriptedRealtime(metrics)

    await converse(new_session(llm=model), Clerk(), reply_twice)

    pipeline.reported += model.reported
    assert len(model.reported) == 2 * len(metrics)
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)


async def test_connection_time_reported_at_the_close_is_billed(pipeline):
    """xAI and GPT-Live report it under an id that no response has; it is on no span of LiveKit's."""
    if "session_duration" not in RealtimeModelMetrics.model_fields:
        pytest.skip("realtime models report no connection time before 1.5")
    closing = realtime_report("session_close", model="grok-voice", seconds=90.0, scale=0)
    closing.metadata.model_provider = "api.x.ai"
    model = ScriptedRealtime(["matched"], closing=[closing])

    await converse(new_session(llm=model), Clerk(), reply_twice)

    pipeline.reported += model.reported
    assert_all_on_one_span(pipeline)
    (own,) = pipeline.named("realtime_usage")
    assert own.attributes["voice_cost.usd"] == "0.12"


async def test_a_backend_model_and_the_transcription_of_the_input(pipeline):
    """GPT-Live's text model and the transcription report through the realtime session."""
    model = ScriptedRealtime(["matched"], closing=[backend_report(), transcription_report()])

    await converse(new_session(llm=model), Clerk(), reply_twice)

    pipeline.reported += model.reported
    assert_all_on_one_span(pipeline)
    assert_session_totals(pipeline)
    assert len(pipeline.named("llm_usage")) == 1
    assert len(pipeline.named("stt_usage")) == 1
