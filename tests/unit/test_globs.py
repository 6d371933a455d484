"""Globs are those of fnmatch, and matching ones are found without trying each."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_voice_cost.prices.globs import GlobIndex, fits

MANY = 40_000
globs = st.text("ab-/*?[]!", max_size=8)
texts = st.text("ab-/*?[]!\n", max_size=10)
words = st.sampled_from(["nova", "nova-3", "3", "eleven", "*", "-", "?", "[0-9]", "general", ""])
built = st.lists(words, max_size=4).map("".join)


@given(texts, globs)
@example("", "")
@example("ab", "ab*b")
@example("a", "a*a")
@example("abab", "ab*ab")
@example("a\nb", "a*b")
@example("]", "[]]")
@example("[a", "[a")
def test_a_glob_matches_as_in_fnmatch(text, glob):
    assert fits(text, glob) is fnmatchcase(text, glob)


@given(st.lists(st.one_of(globs, built), max_size=30), st.one_of(texts, built))
@example(["a[b*c"] * 20, "a[bc")
@example(["[ab]x[!b]y*z", *["*"] * 20], "axayz")
@example(["[]a]b*", "x]y[a*b", *["a*"] * 20], "]b")
def test_matching_globs_are_found_in_their_order(many, text):
    expected = [number for number, glob in enumerate(many) if fnmatchcase(text, glob)]

    assert GlobIndex(many).fitting(text) == expected
    assert GlobIndex([*many, *(f"other-{n}*" for n in range(200))]).fitting(text) == expected


@pytest.mark.parametrize(
    "form", ["model-{}-*", "*-model-{}", "*-{}-*", "model-*-{}", "{}*model*", "model-{}", "model-{}-[ab]*", "[ab]*-{}?"]
)
def test_few_of_many_globs_are_tried(form):
    """The look-up does not depend on the size of the catalog."""
    index = GlobIndex(form.format(number) for number in range(MANY))

    for text in ("model-777-x", "x-model-777", "x-777-y", "unknown", ""):
        assert len(index.candidates(text)) < 20


def test_globs_of_two_words_are_indexed_by_the_rarer_word():
    index = GlobIndex(f"*w{first}x*w{second}y*" for first in range(200) for second in range(200))

    assert len(index.candidates("a-w7x-w8y-b")) <= 400


def test_a_long_text_is_compared_with_each_glob_rather_than_cut_into_pieces():
    index = GlobIndex(["a*", "*b", "*" + "c" * 50])

    assert index.fitting("a" * 100_000 + "b") == [0, 1]
