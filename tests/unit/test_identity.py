"""The provider strings of 138 real plugin classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otel_voice_cost.livekit.identity import canonical_model, canonical_provider
from otel_voice_cost.prices.loading import load_shipped_rates

CLASSES = json.loads((Path(__file__).parents[1] / "data" / "livekit_plugins.json").read_text())
PRICED = {rate.provider for rate in load_shipped_rates()}


@pytest.mark.parametrize(
    ("reported", "label", "expected"),
    [
        ("Deepgram", None, "deepgram"),
        ("api.openai.com", None, "openai"),
        ("https://api.openai.com/v1", None, "openai"),
        ("my-team.openai.azure.com", None, "azure"),
        ("Azure STT", None, "azure"),
        ("x_ai", None, "xai"),
        ("gcp.gemini", None, "google"),
        ("Amazon Transcribe", None, "aws"),
        ("MistralAI", None, "mistral"),
        ("unknown", "livekit.plugins.xai.stt.STT", "xai"),
        ("", "livekit.plugins.nvidia.tts.TTS", "nvidia"),
        (None, "my_app.MySTT", "unknown"),
        (None, None, "unknown"),
        ("localhost:11434", None, "localhost:11434"),
        ("llm.example.com", None, "llm.example.com"),
    ],
)
def test_a_reported_provider_has_one_id(reported, label, expected):
    assert canonical_provider(reported, label) == expected


@pytest.mark.parametrize(("reported", "expected"), [(" Sonic-3 ", "sonic-3"), (None, "unknown"), ("", "unknown")])
def test_a_model_is_in_lower_case(reported, expected):
    assert canonical_model(reported) == expected


def vendor(row):
    return {"mistralai": "mistral"}.get(row["plugin"], row["plugin"])


# The classes of the openai plugin speak to many hosts; they are named above.
OF_PRICED_VENDORS = [row for row in CLASSES if vendor(row) in PRICED and row["plugin"] != "openai"]


@pytest.mark.parametrize("row", OF_PRICED_VENDORS, ids=lambda row: row["label"])
def test_a_plugin_whose_prices_ship_resolves_to_them(row):
    """By its display name, host or class: the id is the one of a price file of that vendor."""
    assert canonical_provider(row["provider"], row["label"]) == vendor(row)
