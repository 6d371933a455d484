"""Vendors that count the spoken text in other units: exact if the text is on the span."""

from __future__ import annotations

import json

import pytest

from otel_voice_cost import PriceCatalog

from ..conftest import tts_metrics


@pytest.fixture
def price_catalog():
    return PriceCatalog.default()


def speak(end_span, text: str, provider: str, model: str, key: str = "lk.pii.input_text", **fields):
    metadata = {"model_name": model, "model_provider": provider}
    metrics = json.dumps(tts_metrics(characters_count=len(text), metadata=metadata, **fields))
    return end_span("tts_request", {"lk.tts_metrics": metrics, key: text}).attributes


@pytest.mark.parametrize("key", ["lk.pii.input_text", "lk.input_text"])
def test_utf8_bytes_are_counted(end_span, key):
    """你好 are two characters and six bytes: 6 × $15 a million."""
    attributes = speak(end_span, "你好", "FishAudio", "s1", key)

    assert attributes["voice_cost.usd"] == "0.00009"
    assert attributes["voice_cost.quantity.utf8_byte"] == 6
    assert attributes["voice_cost.estimated"] is False
    assert "voice_cost.quantity.character" not in attributes


def test_chinese_characters_count_twice_at_azure(end_span):
    """Hi 你好 are five characters, billed as seven at $15 a million; kana count once."""
    assert speak(end_span, "Hi 你好", "Azure TTS", "eastus:zh-CN-XiaoxiaoNeural")["voice_cost.usd"] == "0.000105"
    assert speak(end_span, "こんにちは", "Azure TTS", "eastus:ja-JP-NanamiNeural")["voice_cost.usd"] == "0.000075"


def test_whitespace_is_free_at_speechify(end_span):
    """Ten letters at $10 a million."""
    assert speak(end_span, "hello\tworld", "Speechify", "simba-english")["voice_cost.usd"] == "0.0001"


def test_without_the_text_the_cost_is_an_estimate(end_span):
    """It was filtered out, or differs from the text that was counted."""
    redacted = speak(end_span, "你好", "FishAudio", "s1", "app.note")

    assert (redacted["voice_cost.usd"], redacted["voice_cost.estimated"]) == ("0.00003", True)
    metrics = tts_metrics(characters_count=3, metadata={"model_name": "s1", "model_provider": "FishAudio"})
    other = end_span("tts_request", {"lk.tts_metrics": json.dumps(metrics), "lk.pii.input_text": "你好"}).attributes
    assert (other["voice_cost.usd"], other["voice_cost.estimated"]) == ("0.000045", True)


def test_the_text_is_written_nowhere_else(end_span):
    attributes = speak(end_span, "a secret", "FishAudio", "s1")

    assert [key for key, value in attributes.items() if "secret" in str(value)] == ["lk.pii.input_text"]


def test_a_realtime_timestamp_since_boot_is_not_a_date(end_realtime_span):
    """livekit-plugins-aws reports time.monotonic(): the span's end time selects the rate."""
    span = end_realtime_span(
        timestamp=4711.5,
        metadata={"model_name": "grok-voice", "model_provider": "xai"},
        session_duration=60.0,
        input_tokens=0,
        output_tokens=0,
        input_token_details={},
        output_token_details={},
    )

    assert span.attributes["voice_cost.usd"] == "0.08"


def test_an_estimate_is_logged_once(end_span, caplog):
    caplog.set_level("INFO", "otel_voice_cost")
    for _ in range(2):
        speak(end_span, "hello", "FishAudio", "s1", "app.note")

    assert [record.message for record in caplog.records] == [
        "The cost of tts of fishaudio/s1 is an estimate, by fishaudio.toml."
    ]


@pytest.fixture
def discounted():
    return PriceCatalog.default().with_prices({"discount": {"speechify": "50%"}, "markup": {"*": "20%"}})


class TestTerms:
    """A team's discounts and markups on the span."""

    @pytest.fixture
    def price_catalog(self, discounted):
        return discounted

    def test_list_price_and_markup_are_written_with_the_cost(self, end_span):
        attributes = speak(end_span, "helloworld", "Speechify", "simba-english")

        assert attributes["voice_cost.usd"] == "0.00005"
        assert attributes["gen_ai.usage.cost"] == 0.00005
        assert attributes["voice_cost.list_usd"] == "0.0001"
        assert attributes["voice_cost.markup_usd"] == "0.00001"
