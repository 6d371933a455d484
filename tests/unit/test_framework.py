"""Releases of a framework, its billed classes, and the check of its hooks."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from otel_voice_cost.sources.framework import BilledClass, Release
from otel_voice_cost.sources.livekit.framework import LIVEKIT
from otel_voice_cost.usage import Component, Unit


@pytest.mark.parametrize(
    ("older", "newer"), [("1.9.0", "1.10.0"), ("1.7", "1.7.0"), ("1.6.9", "1.7"), ("0.0.108", "1.0.0"), ("", "1.2")]
)
def test_releases_sort_by_their_numbers(older, newer):
    assert Release(older) < Release(newer)


@pytest.mark.parametrize(
    ("text", "printed"), [("1.14.0", "1.14.0"), ("1.2", "1.2"), ("1.8.9.post1", "1.8.9"), ("1.14.0rc1", "1.14")]
)
def test_a_release_prints_its_first_three_numbers(text, printed):
    assert str(Release(text)) == printed


def test_a_billed_class_reports_one_of_each_unit():
    billed = BilledClass(
        module="acme",
        name="TTS",
        label="acme.tts.TTS",
        title="acme TTS",
        component=Component.TTS,
        provider="acme",
        models=("Voice-1",),
        units=(Unit.CHARACTER, Unit.AUDIO_SECOND),
    )

    usage = billed.to_usage("Voice-1 ", datetime(2026, 11, 23, tzinfo=timezone.utc))

    assert (usage.provider, usage.model, usage.mode) == ("acme", "voice-1", None)
    assert usage.quantities == {Unit.CHARACTER: 1, Unit.AUDIO_SECOND: 1}


def test_the_check_of_the_hooks_leaves_none_behind():
    """LiveKit's classes are as they were: a command that looks at an agent changes nothing in it."""
    stt = pytest.importorskip("livekit.agents").stt.STT
    before = vars(stt).get("emit")

    assert LIVEKIT.find_unhooked() == []
    assert vars(stt).get("emit") is before
