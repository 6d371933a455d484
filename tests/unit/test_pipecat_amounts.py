"""Pipecat's counts as disjoint units."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from otel_voice_cost.errors import UsageError
from otel_voice_cost.sources.pipecat.amounts import Tokens, add_up, latest_tokens, read_characters, read_seconds
from otel_voice_cost.usage import Unit, measure_text


def tokens(**counts: int | None) -> Tokens:
    return Tokens.from_report(SimpleNamespace(**counts))


def used(amounts) -> dict[str, int]:
    return {unit.value: amount for unit, amount in amounts.items() if amount}


def test_cached_and_reasoning_tokens_are_parts_of_the_counts():
    counts = tokens(prompt_tokens=100, completion_tokens=30, cache_read_input_tokens=60, reasoning_tokens=20)

    amounts = counts.to_amounts(is_net=False, has_modalities=False)

    assert used(amounts) == {
        "input_token": 40,
        "cached_input_token": 60,
        "output_token": 10,
        "reasoning_token": 20,
    }


def test_a_net_vendor_reports_the_cache_beside_its_input():
    counts = tokens(prompt_tokens=10, completion_tokens=5, cache_read_input_tokens=60, cache_creation_input_tokens=40)

    amounts = counts.to_amounts(is_net=True, has_modalities=False)

    assert used(amounts) == {
        "input_token": 10,
        "cached_input_token": 60,
        "cache_write_token": 40,
        "output_token": 5,
    }


def test_text_of_a_realtime_model_is_the_rest_of_its_audio():
    counts = tokens(
        prompt_tokens=300,
        completion_tokens=30,
        cache_read_input_tokens=120,
        input_audio_tokens=150,
        output_audio_tokens=20,
        cache_read_input_audio_tokens=60,
    )

    amounts = counts.to_amounts(is_net=False, has_modalities=True)

    assert used(amounts) == {
        "input_text_token": 90,
        "cached_input_text_token": 60,
        "input_audio_token": 90,
        "cached_input_audio_token": 60,
        "output_text_token": 10,
        "output_audio_token": 20,
    }


def test_cached_tokens_without_modality_are_text_first():
    counts = tokens(prompt_tokens=100, completion_tokens=1, cache_read_input_tokens=50, input_audio_tokens=70)

    amounts = counts.to_amounts(is_net=False, has_modalities=True)

    assert used(amounts) == {
        "cached_input_text_token": 30,
        "input_audio_token": 50,
        "cached_input_audio_token": 20,
        "output_text_token": 1,
    }


def test_tokens_of_unknown_modality_are_neither_text_nor_audio():
    """They have no price: speech costs many times as much as text."""
    amounts = tokens(prompt_tokens=10, completion_tokens=5).to_amounts(is_net=False, has_modalities=False)

    assert used(amounts) == {"input_token": 10, "output_token": 5}


@pytest.mark.parametrize("counts", [{"prompt_tokens": 1, "cache_read_input_tokens": 2}, {"prompt_tokens": -1}])
def test_counts_that_contradict_each_other_are_an_error(counts):
    with pytest.raises(UsageError):
        tokens(**counts).to_amounts(is_net=False, has_modalities=False)


def test_a_span_and_a_report_of_the_same_response_have_the_same_key():
    attributes = {
        "gen_ai.usage.input_tokens": 250,
        "gen_ai.usage.output_tokens": 85,
        "gen_ai.usage.reasoning_tokens": 5,  # the name before 1.14
        "gen_ai.usage.audio.input_tokens": 200,
    }
    report = tokens(prompt_tokens=250, completion_tokens=85, reasoning_tokens=5, input_audio_tokens=200)

    assert Tokens.from_span(attributes).match_key == report.match_key


def test_growing_reports_are_snapshots_of_one_request():
    reports = [tokens(prompt_tokens=10, completion_tokens=n) for n in (1, 2, 3)]

    assert latest_tokens(reports) == reports[-1]


def test_a_report_that_shrinks_is_of_another_request():
    reports = [tokens(prompt_tokens=10, completion_tokens=3), tokens(prompt_tokens=9, completion_tokens=1)]

    assert latest_tokens(reports) == tokens(prompt_tokens=19, completion_tokens=4)


def test_texts_of_one_reply_add_up_in_all_units():
    amounts = add_up([measure_text("Grüße "), measure_text("你好")])

    assert used(amounts) == {
        "character": 8,
        "utf8_byte": 14,
        "unspaced_character": 7,
        "wide_character": 10,
    }


def test_spans_have_seconds_and_characters():
    assert read_seconds({"metrics.audio_seconds": 1.0625})[Unit.AUDIO_SECOND] == pytest.approx(1.0625)
    assert read_characters({"metrics.character_count": 16}) == {Unit.CHARACTER: 16}
    assert used(read_seconds({}) | read_characters({})) == {}
