"""Estimators: the least is never above the most, complete requests estimate themselves, nothing comes of nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_voice_cost import Unit
from otel_voice_cost.accounting.estimates import (
    TOKENS_PER_ITEM,
    CompleteRequest,
    CompleteSpeech,
    estimate_request,
    estimate_seconds,
    estimate_speech,
)

counts = st.integers(0, 100_000)
requests = st.builds(
    CompleteRequest,
    characters=counts,
    items=st.integers(1, 500),
    tools=st.integers(0, 3),
    prompt_tokens=st.integers(1, 50_000),
    cached_tokens=st.sampled_from([0, 0, 1_024, 2_048]),
    received=counts,
    completion_tokens=st.integers(0, 5_000),
    reasoning_tokens=st.sampled_from([0, 0, 0, 64]),
)


def request(characters=1_000, items=5, prompt_tokens=250, **fields) -> CompleteRequest:
    given_ = {"tools": 1, "cached_tokens": 0, "received": 200, "completion_tokens": 50, "reasoning_tokens": 0, **fields}
    return CompleteRequest(characters=characters, items=items, prompt_tokens=prompt_tokens, **given_)


def estimate(complete, characters=1_000, items=5, tools=1, received=0, **more):
    return estimate_request(complete, characters=characters, items=items, tools=tools, received=received, **more)


def prompt(amounts) -> int:
    return int(amounts.get(Unit.INPUT_TOKEN, 0) + amounts.get(Unit.CACHED_INPUT_TOKEN, 0))


def test_nothing_complete_gives_no_estimate():
    assert estimate([]) is None


@given(requests)
def test_a_complete_request_estimates_its_own_prompt(complete):
    found = estimate([complete], complete.characters, complete.items, complete.tools)

    assert prompt(found.likely) == prompt(found.high) == complete.prompt_tokens


@given(st.lists(requests, min_size=1, max_size=20), counts, st.integers(1, 500), st.integers(0, 3), counts)
def test_no_amount_is_negative_and_the_least_is_within_the_most(complete, characters, items, tools, received):
    found = estimate(complete, characters, items, tools, received)

    for amounts in (found.likely, found.low, found.high):
        assert all(amount > 0 and amount == int(amount) for amount in amounts.values())
        assert prompt(amounts) == prompt(found.likely) >= 1
    for unit in (Unit.OUTPUT_TOKEN, Unit.INPUT_TOKEN):
        assert found.low.get(unit, 0) <= found.likely.get(unit, 0) <= found.high.get(unit, 0)


@given(st.integers(1, 30), st.integers(2, 6), st.integers(1, 400), st.integers(1, 40))
def test_a_prompt_that_grows_evenly_is_estimated_to_the_token(turns, rate, words, item):
    """Each turn adds one item of the same length at so many characters per token."""
    complete = [
        request(
            characters=words + turn * rate * item, items=1 + turn, prompt_tokens=900 + turn * (item + TOKENS_PER_ITEM)
        )
        for turn in range(turns + 1)
    ]
    later = turns + 3
    found = estimate(complete, words + later * rate * item, 1 + later)

    assert prompt(found.likely) == 900 + later * (item + TOKENS_PER_ITEM)


def test_the_request_nearest_in_characters_with_as_many_tools_is_the_anchor():
    complete = [
        request(characters=1_000, prompt_tokens=250),
        request(characters=4_000, prompt_tokens=1_100),
        request(characters=3_900, prompt_tokens=5_000, tools=7),
    ]
    assert prompt(estimate(complete, 4_000).likely) == 1_100


def test_the_cached_part_is_the_longest_earlier_prompt_in_whole_steps():
    complete = [
        request(characters=5_000, prompt_tokens=1_300, cached_tokens=1_152),
        request(characters=6_000, prompt_tokens=1_500, cached_tokens=1_280),
    ]
    found = estimate(complete, 6_000)

    assert found.likely[Unit.CACHED_INPUT_TOKEN] == 1_500 // 128 * 128
    assert Unit.CACHED_INPUT_TOKEN not in found.high


def test_nothing_is_cached_if_the_session_never_reported_it_or_the_requests_are_of_another():
    assert Unit.CACHED_INPUT_TOKEN not in estimate([request(prompt_tokens=2_000)]).likely
    other = estimate([request(prompt_tokens=2_000, cached_tokens=1_024)], is_own=False)
    assert Unit.CACHED_INPUT_TOKEN not in other.likely
    assert other.method == "anchor of another call"


def test_an_answer_is_estimated_by_the_characters_of_complete_ones():
    complete = [request(received=500, completion_tokens=100)]

    assert estimate(complete, received=250).likely[Unit.OUTPUT_TOKEN] == 50
    assert Unit.OUTPUT_TOKEN not in estimate(complete, received=250).low


def test_hidden_reasoning_makes_it_a_lower_bound():
    assert estimate([request(reasoning_tokens=30)]).is_lower_bound
    assert not estimate([request()]).is_lower_bound


SPOKEN = CompleteSpeech(300, 20.0, {Unit.CHARACTER: Decimal(300)})


@given(counts, counts, st.floats(0, 10_000))
def test_speech_is_between_what_was_heard_and_what_was_pushed(sent, pushed, seconds):
    found = estimate_speech(SPOKEN, sent=sent, pushed=max(sent, pushed), received_seconds=seconds)

    if found is not None:
        low, likely, high = (amounts.get(Unit.CHARACTER, 0) for amounts in (found.low, found.likely, found.high))
        assert 0 <= low <= likely <= high


@pytest.mark.parametrize(
    ("sent", "pushed", "seconds", "characters", "method"),
    [
        (90, 200, 2.0, 90, "tokenizer"),
        (0, 200, 2.0, 200, "text pushed"),  # without a tokenizer, audio shows that text was sent
        (0, 200, 0.0, None, None),  # the tokenizer has not given a sentence yet
        (0, 0, 0.0, None, None),
    ],
)
def test_characters_are_those_that_were_sent(sent, pushed, seconds, characters, method):
    found = estimate_speech(SPOKEN, sent=sent, pushed=pushed, received_seconds=seconds)

    assert (found and found.likely[Unit.CHARACTER], found and found.method) == (characters, method)


def test_speech_that_is_billed_in_other_units_is_estimated_in_them():
    complete = CompleteSpeech(100, 5.0, {Unit.INPUT_TEXT_TOKEN: Decimal(25), Unit.OUTPUT_AUDIO_TOKEN: Decimal(400)})
    found = estimate_speech(complete, sent=50, pushed=50, received_seconds=1.0)

    assert found.likely[Unit.OUTPUT_AUDIO_TOKEN] == 200
    assert found.likely[Unit.INPUT_TEXT_TOKEN] == 12


@pytest.mark.parametrize(
    ("basis", "reported", "seconds"),
    [(12.0, 5.0, Decimal("7.000")), (12.0, 12.0, None), (12.0, 14.0, None), (0.4, 0.0, None), (100.0, 99.2, None)],
)
def test_seconds_that_were_not_reported(basis, reported, seconds):
    found = estimate_seconds(basis, reported, "audio pushed")

    assert (found and found.likely[Unit.AUDIO_SECOND]) == seconds
