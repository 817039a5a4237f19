"""The compiled n-gram hashes agree with n-grams as strings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus.ngrams import ngram_hashes, ngram_hashes_of, words
from tests.reference.ngrams import ngrams

TEXT = st.text(alphabet="abAB12é中İΣ\u03c3ςßǅ𐐀٣_ .,\n-\u0307\ud800", max_size=120)


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 4))
def test_equal_ngrams_have_equal_hashes_and_different_ones_differ(texts: list[str], n: int) -> None:
    named = [
        (gram, value) for text in texts for gram, value in zip(ngrams(text, n), ngram_hashes(text, n), strict=True)
    ]
    assert len({gram for gram, _ in named}) == len({value for _, value in named}) == len(set(named))


@given(st.text(max_size=200))
def test_words_of_any_text_are_those_that_are_hashed(text: str) -> None:
    assert len(ngram_hashes(text, 1)) == len(words(text))


def test_normal_form() -> None:
    assert words("Don't STOP—now, 3 times!") == ["don", "t", "stop", "now", "3", "times"]
    assert (ngram_hashes("One, two; THREE", 2) == ngram_hashes("one two three", 2)).all()


def test_too_few_words_give_nothing() -> None:
    assert len(ngram_hashes("seven words are not enough for this", 8)) == 0
    assert len(ngram_hashes("", 8)) == 0


def test_every_sign_of_unicode_is_lowered_and_separated_as_python_does() -> None:
    signs = "".join(chr(code) for code in range(0x110000) if chr(code) not in "İΣ")
    text = " ".join(signs)
    hashes, strings = ngram_hashes(text, 1), words(text)
    assert (hashes == ngram_hashes(text.lower(), 1)).all()
    assert len(hashes) == len(strings)
    assert len(set(hashes.tolist())) == len(set(strings))


@given(st.lists(TEXT, max_size=6), st.integers(1, 4))
def test_many_texts_at_once_are_hashed_as_one_by_one(texts: list[str], n: int) -> None:
    hashes, ends = ngram_hashes_of(texts, n)
    parts = [ngram_hashes(text, n) for text in texts]
    assert hashes.tolist() == [value for part in parts for value in part.tolist()]
    assert ends.tolist() == np.cumsum([len(part) for part in parts]).tolist()


@given(st.lists(TEXT, max_size=6), st.integers(1, 4))
def test_ngrams_of_a_stream_are_those_of_all_words(texts: list[str], n: int) -> None:
    hashes, ends = ngram_hashes_of(texts, n, stream=True)
    assert hashes.tolist() == ngram_hashes("\n".join(texts), n).tolist()
    until = np.cumsum([len(words(text)) for text in texts])
    assert ends.tolist() == np.maximum(0, until - n + 1).tolist()
