"""The provider and model strings of 138 real plugin classes."""

from __future__ import annotations

import pytest

from otel_voice_cost import PriceCatalog
from otel_voice_cost.sources.livekit.plugins import load_plugin_classes
from otel_voice_cost.sources.livekit.providers import canonical_model, canonical_provider

CLASSES = load_plugin_classes()
PRICED = {rate.provider for rate in PriceCatalog.default().rates()}

# Plugins whose name is not the id; the openai plugin speaks to many hosts.
IDS = {"livekit.agents.inference": {"livekit"}, "mistralai": {"mistral"}}
IDS["openai"] = {
    *("azure", "cerebras", "cometapi", "deepseek", "fireworksai", "letta", "localhost:11434", "nebius", "octoai"),
    *("openai", "openrouter", "ovhcloud", "perplexity", "sambanova", "telnyx", "together", "xai"),
}


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


def test_all_plugin_classes_are_listed():
    assert len(CLASSES) == 138
    assert sum(plugin_class.is_adapter for plugin_class in CLASSES) == 7


@pytest.mark.parametrize("row", [row for row in CLASSES if not row.is_adapter], ids=lambda row: row.label)
def test_a_plugin_class_resolves_to_its_vendor(row):
    """By its display name, host or label, and by the spelling on spans since 1.8: the same id."""
    found = canonical_provider(row.provider, row.label)

    assert found in IDS.get(row.plugin, {row.plugin})
    assert canonical_provider(row.gen_ai_provider_name, row.label) == found


def test_vendors_with_price_files_have_a_plugin():
    """All but those that sell avatars, which report no usage."""
    reached = {canonical_provider(row.provider, row.label) for row in CLASSES}
    avatars = {rate.provider for rate in PriceCatalog.default().rates() if rate.component.value == "avatar"}

    assert PRICED - reached - avatars == set()
