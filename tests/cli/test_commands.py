"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otel_voice_cost.cli.commands import COMMANDS, app
from otel_voice_cost.settings import Settings

GOOD = '[[rate]]\nprovider = "acme"\nmodel = "v1"\ncomponent = "tts"\nunit = "character"\nusd = 7\nper = 1_000_000\n'


def run(*arguments: str, **environment: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **environment})


def test_prices_lists_rates_with_page_and_day():
    result = run("prices", "Deepgram", "--model", "nova-3-general", "--on", "2026-11-23")

    assert result.exit_code == 0
    assert "$0.0048/min" in result.output
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
    assert "62 audio seconds at $0.0048/min: 0.00496 USD" in result.output
    assert "deepgram.toml, https://deepgram.com/pricing, read 2026-09-30" in result.output


def test_price_shows_minimums():
    """Groq bills ten seconds at least: 10 × $0.04 / 3600."""
    result = run(
        "price", "--provider", "api.groq.com", "--model", "whisper-large-v3-turbo", "--stt-seconds", "3", "--batch"
    )

    assert "3 audio seconds, billed as 10 at $0.04/h: 0.000111111111111111 USD" in result.output


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

    assert result.exit_code == 2
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


def test_check_says_what_it_understood(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(GOOD)

    result = run("check", str(path))

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{path}:",
        "  acme/v1 tts: $7/1M characters",
        "No problems. Rates: 1.",
    ]


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

    assert result.exit_code == 2
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

    assert result.exit_code == 2
    assert result.stderr.startswith("--amount: got ")


def test_a_text_is_counted_as_the_vendor_counts_it():
    """Two Chinese characters are six bytes: 6 × $15 a million."""
    result = run("price", "--provider", "fishaudio", "--model", "s1", "--tts-text", "你好")

    assert "6 utf8 bytes at $15/1M utf8 bytes: 0.00009 USD" in result.output


def test_price_shows_why_other_rates_were_rejected():
    arguments = ("price", "--provider", "deepgram", "--model", "nova-3", "--stt-seconds", "60", "--why")
    text = run(*arguments).output
    fields = json.loads(run(*arguments, "--json").output)

    assert "not nova-3, nova-3-general at $0.0043/min: batch alone" in text
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
        "understood": {},
        "problems": [
            {
                "place": f"{path}, a/b.stt",
                "value": "'cheap'",
                "expected": 'a price such as "0.0043/min" or "free"',
            }
        ],
    }


def test_check_shows_overrides_of_every_kind(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        'discount = {"deepgram" = "20%"}\nmarkup = {"*" = "5%"}\nname = {"acme/v1" = "Acme"}\n'
        'alias = {"acme/old" = "acme/v1"}\nplan = {"rime" = "scale"}\naddon = {"deepgram" = ["keyterm"]}\n'
    )

    lines = {line.strip() for line in run("check", str(path)).output.splitlines()}

    assert lines >= {
        "discount on deepgram: 20 %",
        "markup on *: 5 %",
        "name acme/v1: Acme",
        "alias acme/old: acme/v1",
        "plan rime: scale",
        "add-ons deepgram: keyterm",
    }


@pytest.mark.parametrize("command", [("prices", "deepgram"), ("reprice", "calls.jsonl")])
def test_a_wrong_day_is_named(command):
    result = run(*command, "--on", "yesterday")

    assert result.exit_code == 2
    assert "got 'yesterday', expected a day such as 2026-11-23" in result.stderr


def test_config_shows_each_option_and_its_origin():
    result = run("config", "--json", VOICE_COST_DIALECTS="genai", VOICE_COST_UNREPORTED="bill")
    options = {option["variable"]: (option["value"], option["from"]) for option in json.loads(result.output)["options"]}

    assert result.exit_code == 0
    assert options["VOICE_COST_DIALECTS"] == ("genai", "environment")
    assert options["VOICE_COST_UNREPORTED"] == ("bill", "environment")
    assert options["VOICE_COST_RECORDS_FILE"] == ("not set", "default")
    assert set(options) == {f"VOICE_COST_{name.upper()}" for name in Settings.model_fields}


def test_config_names_mistakes():
    result = run("config", VOICE_COST_DEBUGG="1", VOICE_COST_ENABLED="perhaps")

    assert result.exit_code == 1
    assert "VOICE_COST_DEBUGG: got an unknown variable, expected VOICE_COST_DEBUG" in result.stderr
    assert "VOICE_COST_ENABLED: got 'perhaps'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("price", "--provider", "deepgram", "--model", "nova-33", "--stt-seconds", "3"),
        ("estimate", "--stack", "stt=deepgram/nova-33"),
    ],
)
def test_the_nearest_models_are_named(arguments):
    result = run(*arguments)

    assert result.exit_code == 1
    assert "Did you mean deepgram/nova-3 or deepgram/nova-2" in result.stdout + result.stderr


def test_a_known_model_without_a_price_is_no_typo():
    result = run("price", "--provider", "deepgram", "--model", "nova-3", "--tts-characters", "3")

    assert result.exit_code == 1
    assert "Did you mean" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("voice-cost rep", ["report", "reprice"]),
        ("voice-cost prices elev", ["elevenlabs"]),
        ("voice-cost price --provider cartesia --model sonic-3", ["sonic-3"]),
    ],
)
def test_the_shell_completes_commands_providers_and_models(words, expected):
    command, count = Path(sys.executable).with_name("voice-cost"), len(words.split()) - 1
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(count), "_VOICE_COST_COMPLETE": "complete_bash"}

    done = subprocess.run([command], capture_output=True, text=True, check=True, timeout=60, env=environment)

    assert set(done.stdout.split()) >= set(expected)


# the root


def test_help_begins_with_examples_and_groups_commands():
    help_text = run("--help").output

    assert help_text.index("Examples:") < help_text.index("Options:") < help_text.index("Prices:")
    assert all(f"{topic}:" in help_text for topic in COMMANDS)


@pytest.mark.parametrize(("name", "entry"), [item for entries in COMMANDS.values() for item in entries.items()])
def test_a_command_has_the_sentence_that_the_root_shows(name, entry):
    assert entry.help.rstrip(".") in " ".join(run(name, "-h").output.split())


def test_help_imports_no_command():
    code = (
        "import sys; sys.argv = ['voice-cost', '-h']\n"
        "from otel_voice_cost.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'duckdb', 'ibis')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package():
    assert run("--version").output == f"otel-voice-cost {version('otel-voice-cost')}\n"


@pytest.mark.parametrize(("typo", "meant"), [("pric", "price"), ("repot", "report"), ("docter", "doctor")])
def test_a_typo_is_answered_with_the_nearest_command(typo, meant):
    result = run(typo)

    assert result.exit_code == 2
    assert f"No command '{typo}'. Did you mean" in result.stderr
    assert meant in result.stderr


@pytest.mark.parametrize(
    "name", [name for entries in COMMANDS.values() for name in entries if name not in ("langfuse",)]
)
def test_help_shows_an_example(name):
    assert "Example: " in run(name, "--help").output
    assert f"voice-cost {name}" in run(name, "--help").output
