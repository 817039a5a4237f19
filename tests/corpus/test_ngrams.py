"""The compiled n-gram hashes agree with n-grams as strings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus.ngrams import ngram_hashes, words
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
