"""Priced models, class by class."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

from otel_voice_cost import PriceCatalog
from otel_voice_cost.cli.gaps import find_gaps

from .test_commands import run

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
GAPS = find_gaps(PriceCatalog.default(), AT)
PAGE = Path(__file__).parents[2] / "docs" / "gaps.md"


@pytest.mark.parametrize(
    ("label", "model", "status", "reason"),
    [
        ("livekit.plugins.deepgram.stt.STT", "nova-3", "priced", "deepgram.toml"),
        ("livekit.plugins.cartesia.tts.TTS", "sonic-2", "unpriced", "its price ended on 2026-10-20"),
        ("livekit.plugins.google.tts.TTS", "gemini-2.5-flash-tts", "estimated", "google.toml, by a stand-in unit"),
        ("livekit.plugins.nvidia.stt.STT", "unknown", "unpriced", "LiveKit reports no usage"),
        ("livekit.plugins.neuphonic.tts.TTS", "Octave", "unpriced", "no tts rate for neuphonic/octave"),
        ("livekit.agents.stt.stream_adapter.StreamAdapter", "", "adapter", "passes on what it wraps"),
        ("livekit.plugins.microsoft_ai.stt.STT", "", "unpriced", "the model is yours to name"),
    ],
)
def test_each_model_has_its_status(label, model, status, reason):
    (found,) = [gap for gap in GAPS if (gap.plugin_class.label, gap.model) == (label, model)]

    assert (found.status, found.reason) == (status, reason)


def test_custom_prices_close_gaps():
    result = run("gaps", "--json", VOICE_COST_PRICES='{"neuphonic/*": {"tts": "free"}}')
    rows = {(row["plugin"], row["component"]): row["status"] for row in json.loads(result.output)}

    assert rows["neuphonic", "tts"] == "free"


def test_the_table_ends_with_a_summary():
    assert "138 classes," in run("gaps").output.splitlines()[-1]


@pytest.mark.skipif(
    f"genai-prices {version('genai-prices')}." not in PAGE.read_text(), reason="made with another genai-prices"
)
def test_the_page_of_the_documentation_is_up_to_date():
    """Regenerate it with `make gaps`."""
    assert run("gaps", "--markdown", "--on", "2026-11-23").output == PAGE.read_text()
