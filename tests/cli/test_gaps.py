"""Priced models, class by class."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from otel_voice_cost import PriceCatalog
from otel_voice_cost.cli import gaps as gaps_command
from otel_voice_cost.cli.gaps import FRAMEWORKS, find_gaps

from .test_commands import run

AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
GAPS = [gap for framework in FRAMEWORKS for gap in find_gaps(framework, PriceCatalog.default(), AT)]
PAGE = Path(__file__).parents[2] / "docs" / "gaps.md"


@pytest.mark.parametrize(
    ("label", "model", "status", "reason"),
    [
        ("livekit.plugins.deepgram.stt.STT", "nova-3", "priced", "deepgram.toml"),
        ("livekit.plugins.cartesia.tts.TTS", "sonic-2", "unpriced", "its price ended on 2026-10-20"),
        (
            "livekit.plugins.deepgram.stt.STT",
            "nova-3-medical",
            "estimated",
            "deepgram.toml, unsettled between two sources",
        ),
        ("livekit.agents.inference.stt.STT", "deepgram/nova-3-pharma", "estimated", "livekit.toml, low confidence"),
        ("livekit.agents.inference.tts.TTS", "rime/mistv2", "unpriced", "its price ended on 2026-10-01"),
        ("livekit.plugins.google.tts.TTS", "gemini-2.5-flash-tts", "estimated", "google.toml, by a stand-in unit"),
        ("livekit.plugins.nvidia.stt.STT", "unknown", "unpriced", "LiveKit reports no usage"),
        ("livekit.plugins.neuphonic.tts.TTS", "Octave", "unpriced", "no tts rate for neuphonic/octave"),
        ("livekit.agents.stt.stream_adapter.StreamAdapter", "", "adapter", "passes on what it wraps"),
        ("livekit.plugins.microsoft_ai.stt.STT", "", "unpriced", "the model is yours to name"),
        ("pipecat.services.cartesia.tts.CartesiaHttpTTSService", "sonic-3.6", "priced", "cartesia.toml"),
        ("pipecat.services.sarvam.stt.SarvamSTTService", "saaras:v4", "estimated", "sarvam.toml, low confidence"),
        ("pipecat.services.whisper.stt.WhisperSTTService", None, "unpriced", "runs on a machine of your own"),
        ("pipecat.services.resembleai.tts.ResembleAITTSService", None, "unpriced", "billed by time, reported by text"),
        ("pipecat.services.ultravox.llm.UltravoxRealtimeLLMService", None, "unpriced", "Pipecat reports no usage"),
        ("pipecat.services.rime.tts_v1.RimeV1TTSService", "", "unpriced", "the model is yours to name"),
        (
            "pipecat.services.groq.tts.GroqTTSService",
            "canopylabs/orpheus-v1-english",
            "priced",
            "groq.toml; by the characters on spans, unsent ones included",
        ),
    ],
)
def test_each_model_has_its_status(label, model, status, reason):
    (found,) = [gap for gap in GAPS if gap.billed_class.label == label and model in (None, gap.model)]

    assert (found.status, found.reason) == (status, reason)


def test_custom_prices_close_gaps():
    result = run("gaps", "--json", VOICE_COST_PRICES='{"neuphonic/*": {"tts": "free"}}')
    rows = {(row["framework"], row["class"]): row["status"] for row in json.loads(result.output)}

    assert rows["livekit", "inference.TTS"] == "unpriced"
    assert rows["pipecat", "NeuphonicHttpTTSService"] == "free"
    assert ("livekit", "neuphonic", "TTS", "free") in {
        (row["framework"], row["module"], row["class"], row["status"]) for row in json.loads(result.output)
    }


def test_the_tables_of_each_framework_end_with_a_summary():
    summaries = [line for line in run("gaps").output.splitlines() if " classes of " in line]

    assert [line.split(",")[0] for line in summaries] == [
        "138 classes of LiveKit 1.8.9",
        "131 classes of Pipecat 1.14.0",
    ]


@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
def test_one_framework_can_be_chosen(framework):
    rows = json.loads(run("gaps", "--framework", framework, "--json").output)

    assert {row["framework"] for row in rows} == {framework}
    assert run("gaps", "--framework", framework).output.count(" classes of ") == 1


def test_an_unknown_framework_is_refused():
    result = run("gaps", "--framework", "vocode")

    assert result.exit_code == 2
    assert "expected one of livekit, pipecat" in result.stderr


def test_a_narrow_terminal_breaks_no_name_of_a_class(monkeypatch):
    monkeypatch.setattr(gaps_command, "output", lambda: Console(width=80, highlight=False))

    lines = run("gaps").output.splitlines()

    assert max(map(len, lines)) <= 80
    for gap in GAPS:
        assert any(gap.billed_class.title.split()[-1] in line for line in lines), gap.billed_class.title


@pytest.mark.skipif(
    f"genai-prices {version('genai-prices')}." not in PAGE.read_text(), reason="made with another genai-prices"
)
def test_the_page_of_the_documentation_is_up_to_date():
    """Regenerate it with `make gaps`."""
    assert run("gaps", "--markdown", "--on", "2026-11-23").output == PAGE.read_text()


def test_gaps_of_one_plugin_and_status():
    rows = json.loads(run("gaps", "--plugin", "deepgram", "--status", "priced", "--json").output)

    assert {row["status"] for row in rows} == {"priced"}
    assert {row["framework"] for row in rows} == {"livekit", "pipecat"}
    assert all("deepgram" in row["module"] for row in rows)


def test_an_unknown_plugin_is_answered_with_the_nearest():
    assert "Did you mean deepgram?" in run("gaps", "--plugin", "deepgrm").stderr
