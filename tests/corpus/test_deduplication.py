"""The compiled MinHash agrees with the slow one; duplicates are found, verified, and the best of them stays."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.corpus import deduplication, documents, signatures
from selftaught.corpus.deduplication import Fingerprints, rows_of_bands
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.finishing import Cluster, deduplicate
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.corpus.signatures import signatures_of
from tests.reference import minhash
from tests.reference.ngrams import jaccard


def duplicates_of(texts: list[str], karma: list[int] | None = None, threshold: float = 0.8) -> list[int]:
    prints = Fingerprints(threshold)
    for number, text in enumerate(texts):
        prints.add(text, karma[number] if karma else None)
    found: list[int] = prints.duplicates().of.tolist()
    return found


def prose(seed: int, words: int = 300) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(10**6)}" for _ in range(words)]


def changed(words: list[str], seed: int, changes: int) -> list[str]:
    draw, other = random.Random(seed), list(words)
    for _ in range(changes):
        other[draw.randrange(len(other))] = f"x{draw.randrange(10**6)}"
    return other


def minima(shingles: np.ndarray) -> np.ndarray:
    return signatures._minima(shingles, signatures._FACTORS, signatures._TERMS)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_minima_are_those_of_the_slow_twin(hashes: list[int]) -> None:
    slow = minhash.minima(hashes, signatures._FACTORS.tolist(), signatures._TERMS.tolist())
    assert minima(np.array(hashes, dtype=np.uint32)).tolist() == slow


SIGNS = st.text(
    alphabet="ab \n\t\u00c9\u00e9A\u0391\u03b1\u03a3\u03c3\u03c2\u212ak\u0130i\u0307\U00010400\U00010428\U0001f600\x85\0",
    max_size=12,
)


def keys_of(*texts: str) -> list[tuple[int, ...]]:
    return [tuple(key) for key in signatures_of(texts, 6).keys.tolist()]


def folded(text: str) -> str:
    return re.sub("[ \t-\r]+", " ", text.lower()).strip(" ")


@given(st.lists(SIGNS, min_size=1, max_size=5))
def test_texts_share_a_key_if_they_are_equal_but_for_case_and_white_space(texts: list[str]) -> None:
    keys = keys_of(*texts)
    for text, key in zip(texts, keys, strict=True):
        assert keys_of(text) == [key]
        for other, its_key in zip(texts, keys, strict=True):
            assert (key == its_key) is (folded(text) == folded(other))


def test_every_sign_is_lowered_as_python_does() -> None:
    signs = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and chr(code).lower() != chr(code)]
    assert len(signs) > 1000
    assert keys_of(*signs) == keys_of(*(sign.lower() for sign in signs))


@given(st.lists(st.text(alphabet="ab \u00e9", max_size=60), max_size=4), st.sampled_from([3, 6, 14]))
def test_many_texts_are_looked_at_as_each_by_itself(texts: list[str], rows: int) -> None:
    found = signatures_of(texts, rows)
    hashes = [(ngram_hashes(text, signatures.SHINGLE_WORDS) >> np.uint64(32)).tolist() for text in texts]
    assert found.shingles.tolist() == list(itertools.chain.from_iterable(hashes))
    assert found.ends.tolist() == list(itertools.accumulate(map(len, hashes)))
    assert found.bands.tolist() == [signatures_of([text], rows).bands[0].tolist() for text in texts]
    for one, of_it in enumerate(found.bands.tolist()):
        for other, of_other in enumerate(found.bands.tolist()):
            wanted = [list(minima(np.array(hashes[at], dtype=np.uint32))) for at in (one, other)]
            same = [wanted[0][k : k + rows] == wanted[1][k : k + rows] for k in range(0, rows * len(of_it), rows)]
            assert [a == b for a, b in zip(of_it, of_other, strict=True)] == same


def test_agreement_estimates_the_true_similarity() -> None:
    """The mean error over 60 pairs of known similarity: a standard error of 0.045 a pair gives 0.006 for the mean."""
    errors = []
    for seed in range(60):
        words = prose(seed, 200)
        texts = (" ".join(words), " ".join(changed(words, seed, 6)))
        one, other = (minima(signatures_of([text], 6).shingles) for text in texts)
        errors.append(float(np.mean(one == other)) - jaccard(*texts, signatures.SHINGLE_WORDS))
    assert abs(float(np.mean(errors))) < 0.02
    assert float(np.std(errors)) < 0.07


def test_planted_pairs_are_found_and_nothing_is_merged_that_is_not_similar() -> None:
    """600 pairs of known similarity, all in one collection: recall at and over 0.8 is 0.99, precision is 1."""
    texts, similarity = [], []
    for seed in range(600):
        words = prose(seed)
        pair = (" ".join(words), " ".join(changed(words, seed, seed % 24)))
        texts += pair
        similarity.append(jaccard(*pair, signatures.SHINGLE_WORDS))
    found = [of == 2 * number for number, of in enumerate(duplicates_of(texts)[1::2])]
    assert duplicates_of(texts)[::2] == [-1] * 600
    similar = [hit for hit, true in zip(found, similarity, strict=True) if true >= 0.8]
    apart = [hit for hit, true in zip(found, similarity, strict=True) if true < 0.8]
    assert len(similar) > 150
    assert len(apart) > 200
    assert sum(similar) >= 0.99 * len(similar)
    assert not any(apart)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.97, 1.0])
def test_bands_are_narrow_enough_for_the_threshold(threshold: float) -> None:
    rows = rows_of_bands(threshold)
    assert 1 - (1 - threshold**rows) ** (signatures.MINIMA // rows) >= deduplication.SURELY_FOUND


def test_another_threshold_draws_another_line() -> None:
    words = prose(1)
    texts = [" ".join(words), " ".join(changed(words, 2, 20))]
    similarity = jaccard(texts[0], texts[1], signatures.SHINGLE_WORDS)
    assert 0.45 < similarity < 0.75
    assert duplicates_of(texts, threshold=similarity - 0.02) == [-1, 0]
    assert duplicates_of(texts, threshold=similarity + 0.02) == [-1, -1]


def test_of_each_family_the_best_stays_and_the_first_of_equal_ones() -> None:
    families = [prose(seed, 150) for seed in range(30)]
    rows = [(family, copy, random.Random(family * 7 + copy).randrange(5)) for family in range(30) for copy in range(4)]
    random.Random(5).shuffle(rows)
    texts = [" ".join([*families[family], f"version{copy}"]) for family, copy, _ in rows]
    of = duplicates_of(texts, [karma for _, _, karma in rows])
    for family in range(30):
        numbers = [number for number, row in enumerate(rows) if row[0] == family]
        best = max(numbers, key=lambda number: (rows[number][2], -number))
        assert [of[number] for number in numbers] == [-1 if number == best else best for number in numbers]


def test_exact_duplicates_are_found_before_near_ones() -> None:
    text = " ".join(prose(1))
    of = duplicates_of([text, text.upper().replace(" ", "\n"), "a b c", "a b d", "A  b c"], [1, 2, 0, 0, 0])
    assert of == [1, -1, -1, -1, 2]
    assert duplicates_of([]) == []
    assert duplicates_of(["", "  ", "a"]) == [-1, 0, -1]


def test_likeness_does_not_creep() -> None:
    """B is like A and C is like B, but C is not like A: B goes, and C stays."""
    a = prose(1)
    b = a[25:] + prose(2, 25)
    c = b[25:] + prose(3, 25)
    texts = [" ".join(words) for words in (a, b, c)]
    assert jaccard(texts[0], texts[1], 5) > 0.8
    assert jaccard(texts[1], texts[2], 5) > 0.8
    assert jaccard(texts[0], texts[2], 5) < 0.8
    assert duplicates_of(texts) == [-1, 0, -1]


def test_very_many_copies_of_one_page() -> None:
    words = prose(1, 100)
    assert duplicates_of([" ".join([*words, f"page{number}"]) for number in range(500)]) == [-1] + [0] * 499


def test_clusters_and_drops_say_who_stays(tmp_path: Path) -> None:
    one, other = prose(1), prose(2)
    texts = [one, other, one, changed(one, 1, 3), other]
    karma = [3, 4, 9, 5, 4]
    rows = [Document(id=f"d{number}", text=" ".join(words), karma=karma[number]) for number, words in enumerate(texts)]
    funnel = Funnel()
    assert [row.id for row in deduplicate(rows, funnel, 0.8, tmp_path / "clusters.jsonl")] == ["d1", "d2"]
    assert [(drop.id, drop.reason, drop.of) for drop in funnel.drops] == [
        ("d0", "exact duplicate", "d2"),
        ("d3", "near duplicate", "d2"),
        ("d4", "exact duplicate", "d1"),
    ]
    assert list(documents.read_rows(tmp_path / "clusters.jsonl", Cluster)) == [
        Cluster(id="d1", dropped=("d4",)),
        Cluster(id="d2", dropped=("d0", "d3")),
    ]


NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9))


@given(NUMBERS, NUMBERS)
def test_two_sorted_arrays_united(one: list[int], other: list[int]) -> None:
    first, second = (np.array(sorted(numbers), dtype=np.uint64) for numbers in (one, other))
    assert deduplication._united(first, second).tolist() == sorted({*one, *other})


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)))),
    st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
)
def test_similarity_is_that_of_the_sets_however_early_comparing_stops(
    given_pairs: list[tuple[set[int], set[int]]], threshold: float
) -> None:
    pairs = [pair for pair in given_pairs if pair[0] or pair[1]]
    sets = [sorted(one) for pair in pairs for one in pair]
    shingles = np.array([number for one in sets for number in one], dtype=np.uint32)
    ends = np.cumsum([len(one) for one in sets], dtype=np.int64)
    starts = ends - np.array([len(one) for one in sets], dtype=np.int64)
    numbers = np.array([(first << 32) + first + 1 for first in range(0, len(sets), 2)], dtype=np.uint64)
    found = deduplication._similar(shingles, starts, ends, numbers, threshold).tolist()
    assert found == [len(one & other) >= threshold * len(one | other) for one, other in pairs]
