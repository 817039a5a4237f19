"""Passages that occur often are found, counted and located as counting strings would."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes, word_places, words
from selftaught.overlap import frequent
from tests.reference.ngrams import ngrams


def prose(seed: int, count: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(count))


def corpus() -> list[Document]:
    """A famous passage in nine documents, another in three, all else once."""
    texts = [prose(seed) for seed in range(12)]
    famous, other = prose(100, 25), prose(101, 25)
    texts = [f"{text} {famous.upper()}, {prose(200 + n, 9)}" if n < 9 else text for n, text in enumerate(texts)]
    texts = [f"{other}. {text}" if n % 4 == 3 else text for n, text in enumerate(texts)]
    return [Document(id=f"d{n}", text=text) for n, text in enumerate(texts)]


def test_passages_are_found_by_how_many_documents_hold_them() -> None:
    rows = corpus()
    found = frequent.find(lambda: rows, prompt_words=8, following_words=4, each=2)
    assert [one.documents for one in found] == [9, 3, 1, 1]
    famous = found[0]
    assert famous.texts[0].prompt.isupper()
    assert {one.document.id for one in famous.texts} == {f"d{n}" for n in range(9)}
    for one in found:
        for place, written in zip(one.places, one.texts, strict=True):
            assert rows[place.document] is written.document
            own = words(written.document.text)
            assert words(written.prompt) == own[place.word : place.word + 8] == words(one.texts[0].prompt)
            assert words(written.following) == own[place.word + 8 :]
            assert words(written.following)[:4] == words(one.texts[0].following)[:4]


def test_passages_of_a_document_do_not_overlap() -> None:
    rows = [Document(id="d", text=prose(1, 400))]
    found = frequent.find(lambda: rows, prompt_words=10, following_words=5, each=4)
    starts = sorted(one.places[0].word for one in found)
    assert len(starts) == 4
    assert all(after - before >= 30 for before, after in pairwise(starts))


def test_tables_are_no_prompts() -> None:
    rows = [Document(id=str(n), text=f"{'0 1 ' * 30} {prose(n)}") for n in range(4)]
    found = frequent.find(lambda: rows, prompt_words=8, following_words=4, each=2)
    assert found
    assert all(len(set(words(one.texts[0].prompt))) >= 4 for one in found)


SMALL = st.lists(st.sampled_from("abc"), max_size=12).map(" ".join)


@given(st.lists(SMALL, max_size=6), st.integers(1, 3), st.integers(1, 30))
def test_counts_are_those_of_strings_for_every_hash_below_the_limit(texts: list[str], n: int, most: int) -> None:
    counted = frequent.Counts(most)
    for text in texts:
        counted.add(ngram_hashes(text, n))
    counted.settle()
    truth = Counter(gram for text in texts for gram in set(ngrams(text, n)))
    hashed = {int(ngram_hashes(gram, n)[0]): count for gram, count in truth.items()}
    expected = {value: count for value, count in hashed.items() if value < counted.limit}
    assert dict(zip(counted.hashes.tolist(), counted.counts.tolist(), strict=True)) == expected
    assert len(counted.hashes) <= most
    if len(hashed) <= most:
        assert counted.limit == 1 << 64


def test_bands_double() -> None:
    assert [frequent.band(count) for count in (1, 2, 3, 4, 7, 8, 15, 16)] == [0, 1, 1, 2, 2, 3, 3, 4]
    counts = np.array([1, 2, 3, 4, 7, 8, 15, 16])
    assert (np.frexp(counts)[1] - 1).tolist() == [frequent.band(count) for count in counts.tolist()]


def test_an_empty_corpus_has_no_passages() -> None:
    assert frequent.find(lambda: [Document(id="d", text="few words")], prompt_words=8, following_words=4, each=2) == []


@given(st.text(st.sampled_from("aB \u0130\u03a3\u03c3ß9_-é\u0307ǅﬁ\n"), max_size=14))
def test_places_of_words_are_where_they_are_written(text: str) -> None:
    starts, ends = word_places(text)
    written = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    lowered = ["".join(sign for sign in one.lower() if sign.isalnum()) for one in written]
    # The lower case of a capital sigma depends on the word around it, which a cut-out word lacks.
    assert [one.replace("\u03c2", "\u03c3") for one in lowered] == [
        one.replace("\u03c2", "\u03c3") for one in words(text)
    ]
