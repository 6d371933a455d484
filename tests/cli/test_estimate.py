"""The cost of a call of a given shape."""

from __future__ import annotations

import json

import pytest

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
    assert "USD in 5.0 minutes" in result.output


def test_an_unknown_price_is_not_zero():
    result = run("estimate", "--json", "--stack", "stt=deepgram/nova-3 tts=neuphonic/octave")

    assert result.exit_code == 1
    (stack,) = json.loads(result.output)
    assert stack["usd"] is None
    assert stack["components"][1]["unpriced"] == "no tts rate for neuphonic/octave"


@pytest.mark.parametrize("stack", ["deepgram/nova-3", "asr=deepgram/nova-3", "stt=nova-3", " "])
def test_an_unreadable_stack_is_reported(stack):
    result = run("estimate", "--stack", stack)

    assert result.exit_code == 1
    assert "--stack: got" in result.stderr
    assert "expected COMPONENT=PROVIDER/MODEL" in result.stderr
