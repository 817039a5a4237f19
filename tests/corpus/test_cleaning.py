"""The filters' fast paths, beside slow twins."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus import cleaning, ngrams
from tests.reference import filters


@given(st.text() | st.text("a 1\n\u00a0\u3000\x1c.\u00e9\u4e00"))
def test_signs_are_counted_as_python_tells_them_apart(text: str) -> None:
    found = cleaning._counted(text)
    assert (found.letters, found.count, found.words) == filters.letters_signs_words(text)


@given(st.integers(0, 10**9), st.integers(1, 60), st.integers(0, 400))
def test_repeated_groups_of_words_are_found_as_by_counting_them_all(seed: int, kinds: int, count: int) -> None:
    draw = random.Random(seed)
    phrases = [" ".join(f"w{draw.randrange(200)}" for _ in range(draw.randrange(1, 6))) for _ in range(kinds)]
    text = " ".join(draw.choice(phrases[: draw.randrange(1, kinds + 1)]) for _ in range(count))
    assert cleaning._says_the_same(text.lower()) == filters.says_the_same(text)


@given(
    st.lists(
        st.sampled_from(["a", "b", "\u0130", "\u00b2_x", "\u03a3\u03a3", "don't", "\U0001d400", "\ud800"]), max_size=120
    )
)
def test_words_of_any_script_are_told_apart_as_by_looking_at_each_sign(found: list[str]) -> None:
    text = " ".join(found)
    assert cleaning._says_the_same(text.lower()) == filters.says_the_same(text)
    assert cleaning._at_most(text.lower())[0] == len(ngrams.words(text))
