"""The command line, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otel_voice_cost.cli.commands import app

GOOD = '[[rate]]\nprovider = "acme"\nmodel = "v1"\ncomponent = "tts"\nunit = "character"\nusd = 7\nper = 1_000_000\n'


def run(*arguments: str, **environment: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **environment})


def test_prices_lists_rates_with_page_and_day():
    result = run("prices", "Deepgram", "--model", "nova-3-general", "--on", "2026-11-23")

    assert result.exit_code == 0
    assert "0.0048 USD per 60 audio_second" in result.output
    assert "https://deepgram.com/pricing" in result.output
    assert "2026-09-30" in result.output


def test_prices_shows_the_rates_of_a_day():
    """ElevenLabs cost more until September 2026."""
    before = json.loads(
        run("prices", "elevenlabs", "--model", "eleven_flash_v2_5", "--on", "2026-08-31", "--json").output
    )
    after = json.loads(
        run("prices", "elevenlabs", "--model", "eleven_flash_v2_5", "--on", "2026-11-23", "--json").output
    )

    assert "0.05" in {rate["usd"] for rate in before}
    assert {rate["usd"] for rate in after} == {"0.04"}


def test_prices_as_json_include_what_changes_the_billed_amount(monkeypatch):
    monkeypatch.setenv("VOICE_COST_PRICES", '{"acme/v1": {"stt": {"price": "0.006/min", "increment": 15}}}')

    (rate,) = json.loads(run("prices", "acme", "--json").output)

    assert (rate["minimum"], rate["increment"], rate["free"]) == ("0", "15", "0")


def test_prices_of_an_unknown_provider_is_an_error():
    result = run("prices", "nobody")

    assert result.exit_code == 1
    assert "No rates." in result.stderr


def test_price_explains_every_step():
    """62 seconds at $0.0048 a minute."""
    result = run("price", "--provider", "deepgram", "--model", "nova-3", "--stt-seconds", "62", "--on", "2026-11-23")

    assert result.exit_code == 0
    assert "stt, deepgram/nova-3, on 2026-11-23" in result.output
    assert "62 audio_second at 0.0048 USD per 60 audio_second: 0.00496 USD" in result.output
    assert "deepgram.toml, https://deepgram.com/pricing, read 2026-09-30" in result.output


def test_price_shows_minimums():
    """Groq bills ten seconds at least: 10 × $0.04 / 3600."""
    result = run(
        "price", "--provider", "api.groq.com", "--model", "whisper-large-v3-turbo", "--stt-seconds", "3", "--batch"
    )

    assert "3 audio_second, billed as 10 at 0.04 USD per 3600 audio_second: 0.000111111111111111 USD" in result.output


@pytest.mark.parametrize(
    ("arguments", "usd"),
    [
        (["--provider", "cartesia", "--model", "sonic-3", "--tts-characters", "180"], "0.009"),
        (
            ["--provider", "openai", "--model", "gpt-4.1-mini", "--input-tokens", "172", "--cached-tokens", "128"],
            "0.0000816",
        ),
        (["--provider", "openai", "--model", "gpt-4.1-mini", "--output-tokens", "20"], "0.000032"),
    ],
)
def test_price_as_json(arguments, usd):
    answer = json.loads(run("price", *arguments, "--on", "2026-11-23", "--json").output)

    assert answer["usd"] == usd
    assert answer["lines"][0]["rate"]["source"].startswith("https://")


def test_an_unknown_model_has_no_price_and_exit_status_1():
    result = run("price", "--provider", "cartesia", "--model", "sonic-99", "--tts-characters", "1")

    assert result.exit_code == 1
    assert "no cost: no tts rate for cartesia/sonic-99" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --stt-seconds, --tts-*, --*-tokens or --amount"),
        (["--stt-seconds", "1", "--tts-characters", "1"], "got amounts of none or several kinds"),
        (["--stt-seconds", "many"], "--stt-seconds: got many, expected a number above zero"),
        (["--stt-seconds", "-1"], "--stt-seconds: got -1, expected a number above zero"),
    ],
)
def test_an_invalid_usage_is_an_error(arguments, message):
    result = run("price", "--provider", "deepgram", "--model", "nova-3", *arguments)

    assert result.exit_code == 1
    assert message in result.stderr


def test_overrides_are_priced_as_the_processor_would():
    prices = '{"deepgram/nova-3": {"stt": "0.60/hour"}}'

    result = run(
        "price", "--provider", "deepgram", "--model", "nova-3", "--stt-seconds", "60", VOICE_COST_PRICES=prices
    )

    assert "0.01 USD" in result.output
    assert "VOICE_COST_PRICES" in result.output


def test_the_variable_overrides_a_file(tmp_path):
    (tmp_path / "ours.toml").write_text(GOOD)
    variable = '{"acme/v1": {"tts": "9/1M characters"}}'
    arguments = ["price", "--provider", "acme", "--model", "v1", "--tts-characters", "1000000", "--json"]

    by_file = run(*arguments, VOICE_COST_PRICES_FILE=str(tmp_path / "ours.toml"))
    by_both = run(*arguments, VOICE_COST_PRICES_FILE=str(tmp_path / "ours.toml"), VOICE_COST_PRICES=variable)

    assert [json.loads(result.output)["usd"] for result in (by_file, by_both)] == ["7", "9"]


def test_check_finds_nothing_wrong(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(GOOD)

    result = run("check", str(path))

    assert (result.exit_code, result.output.strip()) == (0, "No problems. 1 rates in 1 files, and the environment.")


def test_check_reports_every_mistake(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(GOOD.replace("7", '"7"'))

    result = run("check", str(path), VOICE_COST_PRICES="{", VOICE_COST_DIALECTS="datadog", VOICE_COST_ENABLED="perhaps")

    assert result.exit_code == 1
    assert result.stdout == ""
    for message in (
        f"{path}, rate 1 (v1), usd: got '7', expected a number without quotes",
        "VOICE_COST_PRICES: got no JSON",
        "VOICE_COST_DIALECTS: got 'datadog', expected one of genai, langfuse",
        "VOICE_COST_ENABLED: got 'perhaps'",
    ):
        assert message in result.stderr


def test_other_commands_reject_invalid_overrides():
    result = run("prices", "deepgram", VOICE_COST_PRICES="{")

    assert result.exit_code == 1
    assert "VOICE_COST_PRICES: got no JSON" in result.stderr


def test_the_installed_command_helps_with_examples():
    command = Path(sys.executable).with_name("voice-cost")

    done = subprocess.run([command, "price", "--help"], capture_output=True, text=True, check=True, timeout=60)

    assert "Example: voice-cost price --provider deepgram --model nova-3 --stt-seconds 62" in " ".join(
        done.stdout.split()
    )


def test_any_unit_of_any_component_can_be_priced():
    """600 audio tokens at $32 a million."""
    result = run(
        *("price", "--provider", "openai", "--model", "gpt-realtime", "--component", "realtime"),
        *("--amount", "input_audio_token=600", "--json"),
    )

    assert json.loads(result.output)["usd"] == "0.0192"


@pytest.mark.parametrize("amount", ["words=3", "character", "character=0", "character=many"])
def test_an_invalid_amount_is_reported(amount):
    result = run("price", "--provider", "a", "--model", "b", "--component", "tts", "--amount", amount)

    assert result.exit_code == 1
    assert result.stderr.startswith("--amount: got ")


def test_a_text_is_counted_as_the_vendor_counts_it():
    """Two Chinese characters are six bytes: 6 × $15 a million."""
    result = run("price", "--provider", "fishaudio", "--model", "s1", "--tts-text", "你好")

    assert "6 utf8_byte at 15 USD per 1000000 utf8_byte: 0.00009 USD" in result.output


def test_price_shows_why_other_rates_were_rejected():
    arguments = ("price", "--provider", "deepgram", "--model", "nova-3", "--stt-seconds", "60", "--why")
    text = run(*arguments).output
    fields = json.loads(run(*arguments, "--json").output)

    assert "not nova-3, nova-3-general at 0.0043 USD per 60 audio_second: batch alone" in text
    assert {entry["verdict"] for entry in fields["considered"]} >= {"holds", "another model", "batch alone"}


def test_price_shows_discount_and_markup():
    terms = '{"discount": {"deepgram": "25%"}, "markup": {"*": "100%"}}'
    result = run("price", "--provider", "deepgram", "--model", "nova-3", "--stt-seconds", "60", VOICE_COST_PRICES=terms)

    assert "0.0036 USD after discount, 0.0048 USD at list prices" in result.output
    assert "0.0036 USD markup on it" in result.output


def test_check_as_json_reports_each_problem(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('"a/b".stt = "cheap"')
    result = run("check", str(path), "--json")

    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "rates": 0,
        "problems": [
            {
                "place": f"{path}, a/b.stt",
                "value": "'cheap'",
                "expected": 'a price such as "0.0043/min", "50/1M characters", "0.40/1M tokens" or "free"',
            }
        ],
    }


@pytest.mark.parametrize("command", ["prices", "price", "estimate", "check", "doctor", "gaps", "what-if"])
def test_help_shows_an_example(command):
    assert f"Example: voice-cost {command}" in run(command, "--help").output
