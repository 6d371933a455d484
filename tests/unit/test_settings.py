"""Options and variables."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

from otel_voice_cost import Settings, SettingsError, VoiceCostSpanProcessor
from otel_voice_cost.build import build_prices


def test_defaults():
    settings = Settings()

    assert settings.enabled
    assert settings.dialects == ("genai", "langfuse")
    assert settings.speech_usage == "tokens"


@pytest.mark.parametrize(("text", "expected"), [("false", False), ("0", False), ("off", False), ("TRUE", True)])
def test_a_flag_is_read_as_people_write_it(monkeypatch, text, expected):
    monkeypatch.setenv("VOICE_COST_ENABLED", text)

    assert Settings().enabled is expected


def test_dialects_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("VOICE_COST_DIALECTS", " langfuse , genai,")

    assert Settings().dialects == ("langfuse", "genai")


def test_an_argument_overrides_the_environment(monkeypatch):
    monkeypatch.setenv("VOICE_COST_ENABLED", "false")

    assert Settings(enabled=True).enabled


def test_an_invalid_value_in_code_raises(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SPEECH_USAGE", "sometimes")

    with pytest.raises(
        SettingsError, match="VOICE_COST_SPEECH_USAGE: got 'sometimes', expected 'tokens' or 'metadata'"
    ):
        Settings()


def test_an_invalid_value_in_the_environment_keeps_the_default(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SPEECH_USAGE", "sometimes")
    monkeypatch.setenv("VOICE_COST_ENABLED", "no")

    settings, problems = Settings.from_environment()

    assert (settings.speech_usage, settings.enabled) == ("tokens", False)
    assert [problem.place for problem in problems] == ["VOICE_COST_SPEECH_USAGE"]


def test_a_revision_is_a_short_label(monkeypatch):
    monkeypatch.setenv("VOICE_COST_REVISION", " 2026.11.1\n")
    assert Settings().revision == "2026.11.1"

    monkeypatch.setenv("VOICE_COST_REVISION", "x" * 201)
    settings, problems = Settings.from_environment()
    assert settings.revision == ""
    assert [(p.place, p.expected) for p in problems] == [("VOICE_COST_REVISION", "at most 200 characters")]


@pytest.mark.skipif(os.name == "nt", reason="variables are text on Windows")
def test_a_revision_that_no_exporter_can_encode_is_left_out(monkeypatch):
    monkeypatch.setenv("VOICE_COST_REVISION", os.fsdecode(b"r\xff"))

    settings, problems = Settings.from_environment()

    assert settings.revision == ""
    assert [p.place for p in problems] == ["VOICE_COST_REVISION"]


def test_an_unknown_option_is_an_error():
    with pytest.raises(
        SettingsError, match=r"Settings.colour: got an unknown option, expected one of debug, dialects, "
    ):
        Settings(colour="red")
    with pytest.raises(SettingsError, match=r"Settings.dialect: got an unknown option, expected dialects$"):
        Settings(dialect="genai")


def test_an_option_of_an_older_version_is_refused_with_its_new_name(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SPEECH_AS_TOKENS", "false")

    assert [str(problem) for problem in Settings.from_environment()[1]] == [
        "VOICE_COST_SPEECH_AS_TOKENS: got a variable of an older version, "
        'expected VOICE_COST_SPEECH_USAGE, "tokens" for true, "metadata" for false'
    ]
    with pytest.raises(
        SettingsError, match="speech_as_tokens: got an option of an older version, expected speech_usage"
    ):
        Settings(speech_as_tokens=False)


BAD = [
    ("dialects", ("genai", "langfuze"), "'langfuze', expected one of genai, "),
    ("dialects", "langfuze", "'langfuze', expected one of genai, "),
    ("prices", '{"deepgram/nova-2": {"stt": "x"}}', "'x', expected a price such as"),
    ("prices", {"deepgram/nova-2": {"stt": "x"}}, "'x', expected a price such as"),
    ("prices", "{", "no JSON, expected JSON"),
    ("prices", 3, "3, expected text"),
    ("prices", {("a", "b"): 1}, "{('a', 'b'): 1}, expected a mapping that can be written as JSON"),
    ("session_rates", '{"twilio/sip": {"telephony": "cheap"}}', "'cheap', expected a price such as"),
    ("session_rates", {"twilio/sip": {"telephony": "cheap"}}, "'cheap', expected a price such as"),
    ("prices_file", "none.toml", "FileNotFoundError, expected a readable file in UTF-8"),
    ("prices_file", os.pathsep.join(["sound.toml", "bad.toml"]), "1, expected the price with its unit"),
    ("prices_file", "folder", "no regular file, expected a readable file in UTF-8"),
    ("prices_file", "a\0b", "ValueError, expected a readable file in UTF-8"),
    ("speech_usage", "sometimes", "'sometimes', expected 'tokens' or 'metadata'"),
    ("session_budget_usd", -1, "-1, expected greater than 0"),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.toml").write_text('"acme/voice-1".tts = "1/1k characters"\n')
    (tmp_path / "bad.toml").write_text('"acme/voice-1".tts = 1\n"acme/voice-2".tts = "2/1k characters"\n')
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_an_invalid_argument_raises_and_is_named(files, name, value, message):
    with pytest.raises(SettingsError) as raised:
        Settings(**{name: value})

    (problem,) = raised.value.problems
    assert problem.place.startswith(f"Settings.{name}")
    assert f": got {message}" in str(problem)
    assert "VOICE_COST" not in str(problem)


@pytest.mark.parametrize(
    ("name", "value", "message"), [bad for bad in BAD if type(bad[1]) is str and "\0" not in bad[1]]
)
def test_an_invalid_variable_raises_in_code_and_is_named(files, monkeypatch, name, value, message):
    monkeypatch.setenv(f"VOICE_COST_{name.upper()}", value)

    with pytest.raises(SettingsError) as raised:
        Settings()

    (problem,) = raised.value.problems
    assert problem.place.startswith(f"VOICE_COST_{name.upper()}")
    assert f": got {message}" in str(problem)


def test_every_mistake_is_raised_at_once(files, monkeypatch):
    """Arguments by their name, variables by theirs, entries by their place."""
    monkeypatch.setenv("VOICE_COST_ENABLED", "perhaps")
    monkeypatch.setenv("VOICE_COST_PRICES_FILE", "bad.toml")

    with pytest.raises(SettingsError) as raised:
        Settings(dialects=("x",), prices={"a/b": {"stt": "y"}}, session_budget_usd=0)

    assert [problem.place for problem in raised.value.problems] == [
        "VOICE_COST_ENABLED",
        "Settings.session_budget_usd",
        "Settings.dialects",
        "Settings.prices, a/b.stt",
        "VOICE_COST_PRICES_FILE, bad.toml, acme/voice-1.tts",
    ]


def usd(settings: Settings, model: str) -> str | None:
    rate = build_prices(settings).catalog.rate_for(provider="acme", model=model, component="tts", unit="character")
    return str(rate.usd) if rate else None


def test_from_the_environment_nothing_raises_and_valid_entries_are_kept(files, monkeypatch):
    for name, value, _ in BAD:
        if isinstance(value, str) and "\0" not in value:
            monkeypatch.setenv(f"VOICE_COST_{name.upper()}", value)
    monkeypatch.setenv("VOICE_COST_PRICES", '{"acme/voice-3": {"tts": "3/1k characters"}, "acme/voice-4": 4}')
    monkeypatch.setenv("VOICE_COST_PRICES_FILE", "bad.toml")

    settings, problems = Settings.from_environment()
    found = build_prices(settings)

    assert [problem.place for problem in problems] == ["VOICE_COST_SPEECH_USAGE"]
    assert [problem.place for problem in found.problems] == [
        "VOICE_COST_SESSION_RATES, twilio/sip.telephony",
        "VOICE_COST_PRICES, acme/voice-4",
        "VOICE_COST_PRICES_FILE, bad.toml, acme/voice-1.tts",
    ]
    assert [usd(settings, f"voice-{number}") for number in (1, 2, 3, 4)] == [None, "2", "3", None]


def test_prices_may_be_a_mapping():
    """Days, Decimals and floats are what they are in TOML."""
    prices = {
        "acme/voice-1": {"tts": {"price": "1/1k characters", "since": date(2026, 1, 1)}},
        "rate": [
            {"provider": "acme", "model": "voice-2", "component": "tts", "unit": "character", "usd": Decimal("0.1")},
            {"provider": "acme", "model": "voice-3", "component": "tts", "unit": "character", "usd": 0.3},
        ],
    }
    settings = Settings(prices=prices, session_rates={"twilio/sip": {"telephony": "0.004/min"}})
    found = build_prices(settings)

    assert [usd(settings, f"voice-{number}") for number in (1, 2, 3)] == ["1", "0.1", "0.3"]
    assert [charge.provider for charge in found.charges] == ["twilio"]
    assert found.problems == []
    assert Settings(prices=settings.prices, session_rates=settings.session_rates) == settings


def test_a_rate_names_the_argument_or_variable_that_states_it(monkeypatch):
    monkeypatch.setenv("VOICE_COST_PRICES", '{"acme/voice-1": {"tts": "1/character"}}')

    for settings, origin in (
        (Settings(), "VOICE_COST_PRICES"),
        (Settings(prices={"acme/voice-1": {"tts": "2/character"}}), "Settings.prices"),
    ):
        rate = build_prices(settings).catalog.rate_for(
            provider="acme", model="voice-1", component="tts", unit="character", at=datetime.now(timezone.utc)
        )
        assert rate.loaded_from == origin


def test_a_price_file_is_parsed_once_for_settings_and_processors(files):
    settings = Settings(prices_file="sound.toml")

    first, second = (next(build_prices(settings).catalog.rates()) for _ in range(2))

    assert first.loaded_from == "sound.toml"
    assert first is second


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda settings: pickle.loads(pickle.dumps(settings))])
def test_settings_can_be_copied_and_sent_to_another_process(again):
    settings = Settings(prices={"acme/voice-1": {"tts": "1/character"}})

    assert again(settings) == settings
    assert usd(again(settings), "voice-1") == "1"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("VOICE_COST_DIALECT", "VOICE_COST_DIALECTS"),
        ("VOICE_COST_PRICE_FILE", "VOICE_COST_PRICES_FILE"),
        ("voice_cost_price", "VOICE_COST_PRICES"),
        ("VOICE_COST_BUDGET_USD", "VOICE_COST_SESSION_BUDGET_USD"),
        ("VOICE_COST_XYZ", "one of VOICE_COST_DEBUG, VOICE_COST_DIALECTS, VOICE_COST_ENABLED, "),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known(monkeypatch, variable, expected):
    monkeypatch.setenv(variable, "secret")

    settings, problems = Settings.from_environment()

    assert settings == Settings()
    (problem,) = problems
    assert str(problem).startswith(f"{variable}: got an unknown variable, expected {expected}")
    assert "secret" not in str(problem)


def test_an_unknown_variable_is_logged_once(monkeypatch, caplog):
    monkeypatch.setenv("VOICE_COST_DIALECT", "genai")

    VoiceCostSpanProcessor().shutdown()

    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["Left out. VOICE_COST_DIALECT: got an unknown variable, expected VOICE_COST_DIALECTS"]


@pytest.mark.parametrize(
    "name",
    [
        *("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"),
        *("GATEWAY_SERVICE_HOST", "GATEWAY_PORT_4317_TCP_PROTO"),
    ],
)
def test_the_variables_of_a_kubernetes_service_are_not_a_mistake(monkeypatch, name):
    """Kubernetes sets them for a service named voice-cost or voice-cost-gateway."""
    monkeypatch.setenv(f"VOICE_COST_{name}", "10.0.0.1")

    assert Settings.from_environment()[1] == ()


def test_a_name_in_lower_case_is_accepted(monkeypatch):
    monkeypatch.setenv("voice_cost_enabled", "false")

    settings, problems = Settings.from_environment()

    assert (settings.enabled, problems) == (False, ())


SECRETS = ["sk-lf-0123-4567", "pk-lf-0123", "ab12" * 8]
VARIABLES = ["ENABLED", "DIALECTS", "PRICES", "PRICES_FILE", "SESSION_RATES", "SESSION_BUDGET_USD", "DEBUG", "XYZ"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", VARIABLES)
def test_a_key_in_the_wrong_variable_is_not_logged(monkeypatch, caplog, name, secret):
    monkeypatch.setenv(f"VOICE_COST_{name}", secret)

    VoiceCostSpanProcessor().shutdown()

    assert f"VOICE_COST_{name}" in caplog.text
    assert secret not in caplog.text


def test_a_value_that_is_not_a_secret_is_shown(monkeypatch):
    monkeypatch.setenv("VOICE_COST_SESSION_BUDGET_USD", "-2.5")

    (problem,) = Settings.from_environment()[1]

    assert str(problem) == "VOICE_COST_SESSION_BUDGET_USD: got '-2.5', expected greater than 0"


def test_a_byte_order_mark_in_a_variable_is_skipped(monkeypatch):
    monkeypatch.setenv("VOICE_COST_PRICES", '\ufeff{"acme/voice-1": {"tts": "1/character"}}')

    assert usd(Settings(), "voice-1") == "1"
