"""Options and variables."""

from __future__ import annotations

import pytest

from otel_voice_cost import Settings, SettingsError


def test_defaults():
    settings = Settings()

    assert settings.enabled
    assert settings.dialects == ("genai", "langfuse")
    assert settings.speech_as_tokens


@pytest.mark.parametrize(("text", "expected"), [("false", False), ("0", False), ("off", False), ("TRUE", True)])
def test_a_flag_is_read_as_people_write_it(monkeypatch, text, expected):
    monkeypatch.setenv("VOICE_COST_ENABLED", text)

    assert Settings().enabled is expected


def test_dialects_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("VOICE_COST_DIALECTS", " langfuse , genai,")

    assert Settings().dialects == ("langfuse", "genai")


def test_an_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("VOICE_COST_ENABLED", "false")

    assert Settings(enabled=True).enabled


def test_in_code_a_bad_value_raises(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SPEECH_AS_TOKENS", "sometimes")

    with pytest.raises(SettingsError, match="VOICE_COST_SPEECH_AS_TOKENS: got 'sometimes', expected Input should be"):
        Settings()


def test_from_the_environment_a_bad_value_leaves_the_default(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SPEECH_AS_TOKENS", "sometimes")
    monkeypatch.setenv("VOICE_COST_ENABLED", "no")

    settings, problems = Settings.from_environment()

    assert (settings.speech_as_tokens, settings.enabled) == (True, False)
    assert [problem.place for problem in problems] == ["VOICE_COST_SPEECH_AS_TOKENS"]


def test_an_unknown_option_is_an_error():
    with pytest.raises(SettingsError, match="VOICE_COST_COLOUR"):
        Settings(colour="red")
