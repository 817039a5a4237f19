"""The filters' fast paths, beside slow twins."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus import cleaning, finishing, ngrams
from selftaught.corpus.documents import Document, Drop, Funnel
from selftaught.corpus.workers import Workers
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


def test_texts_are_cleaned_alike_here_and_by_any_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    prose = "It is not known who came to the old house at the end of that road, and nobody has ever asked. "
    texts = [f"{prose * 3}No. {number}." for number in range(40)]
    texts[3:3] = [
        "short",
        "a b " * 200,
        prose * 300,
        "1 + 2 = 3; " * 90,
        "les enfants ne sont pas tous dans la maison. " * 9,
    ]
    rows = [Document(id=str(number), text=text, url=f"http://a.test/{number}") for number, text in enumerate(texts)]
    rules = cleaning.CleaningSettings(repeated_words=False)

    def cleaned(workers: Workers | None) -> tuple[list[Document], list[Drop]]:
        funnel = Funnel()
        kept = list(finishing.clean(rows, funnel, rules, workers))
        assert funnel.counts[finishing.CLEAN, ""] == len(rows)
        return kept, list(funnel.drops)

    alone = cleaned(None)
    assert {drop.reason for drop in alone[1]} >= {"short", "symbols"}
    monkeypatch.setattr(finishing, "_LONGEST_SENT", 10_000)
    for count in (1, 2):
        with Workers(count) as workers:
            assert cleaned(workers) == alone
