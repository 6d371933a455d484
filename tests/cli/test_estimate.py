"""The cost of a call of a given shape."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from rich.text import Text

from .test_commands import run

STACK = "stt=deepgram/nova-3 llm=openai/gpt-4.1-mini tts=cartesia/sonic-3"


def estimate(*arguments: str) -> list[dict]:
    return json.loads(run("estimate", *arguments, "--on", "2026-11-23", "--json").output)


def test_the_default_call_has_livekits_shape():
    """A minute: 60 s at $0.0048; 3,000 in at $0.40 and 175 out at $1.60 a million; 600 characters at $50 a million."""
    (stack,) = estimate("--minutes", "1", "--stack", STACK)

    assert [part["usd"] for part in stack["components"]] == ["0.0048", "0.00148", "0.03"]
    assert stack["usd"] == stack["usd_per_minute"] == "0.03628"


def test_cached_input_costs_less():
    """Half of 3,000 read at $0.10: 1,500 × 0.4 + 1,500 × 0.1 + 175 × 1.6, a million each."""
    (stack,) = estimate("--minutes", "1", "--cached", "0.5", "--stack", "llm=openai/gpt-4.1-mini")

    assert stack["usd"] == "0.00103"


def test_a_realtime_model_bills_earlier_audio_at_each_turn():
    """Two minutes, a turn a minute: 600 heard at $32, 1,200 spoken at $64, 900 before the second turn at $0.40."""
    (stack,) = estimate("--minutes", "2", "--turns", "1", "--stack", "realtime=openai/gpt-realtime")

    assert stack["components"][0]["quantities"] == {
        "input_audio_token": "600",
        "cached_input_audio_token": "900",
        "output_audio_token": "1200",
    }
    assert stack["usd"] == "0.09636"


def test_stacks_are_shown_side_by_side():
    result = run("estimate", "--stack", STACK, "--stack", "stt=deepgram/flux-general-en")

    assert result.exit_code == 0
    assert "flux-general-en" in result.output
    assert "5 minutes" in result.output


def test_a_month_is_thirty_days_of_calls():
    """500 calls of $0.0363 a minute and 5 minutes."""
    arguments = ("estimate", "--stack", STACK, "--calls-per-day", "500", "--on", "2026-11-23")
    (stack,) = json.loads(run(*arguments, "--json").output)

    assert Decimal(stack["usd_per_month"]) == Decimal(stack["usd"]) * 15_000 == Decimal(2721)
    assert "$2,721.00" in run(*arguments).output


@pytest.mark.parametrize("stacks", [1, 3, 4])
def test_stacks_fit_a_terminal_of_80_columns(stacks):
    stack = "stt=assemblyai/universal-streaming llm=anthropic/claude-sonnet-4-5 tts=elevenlabs/eleven_flash_v2_5"
    result = run("estimate", *["--stack", stack] * stacks, COLUMNS="80", FORCE_COLOR="1")
    lines = Text.from_ansi(result.output).plain.splitlines()

    assert max(map(len, lines)) <= 80
    assert sum(line.count("universal-streaming") for line in lines) == stacks


def test_an_unknown_price_is_not_zero():
    result = run("estimate", "--json", "--stack", "stt=deepgram/nova-3 tts=neuphonic/octave")

    assert result.exit_code == 1
    (stack,) = json.loads(result.output)
    assert stack["usd"] is None
    assert stack["components"][1]["unpriced"] == "no tts rate for neuphonic/octave"


@pytest.mark.parametrize("stack", ["deepgram/nova-3", "asr=deepgram/nova-3", "stt=nova-3", " "])
def test_an_unreadable_stack_is_reported(stack):
    result = run("estimate", "--stack", stack)

    assert result.exit_code == 2
    assert "--stack: got" in result.stderr
    assert "expected COMPONENT=PROVIDER/MODEL" in result.stderr
