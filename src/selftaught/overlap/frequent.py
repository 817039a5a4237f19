"""Passages that occur in many documents of a corpus: found by counting, in bounded memory.

Every stretch of n words is counted by its hash, once a document. Where there are more of them than memory is meant for, only
those whose hash lies below a limit are kept, and the limit is halved whenever they grow too many: a fair sample of all
stretches with exact counts. A passage of more than n words has many stretches, so that even of a large corpus it is not missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes, word_places, words
from selftaught.overlap.wanted import Wanted

Array = np.ndarray[Any, Any]
MOST_COUNTED = 1 << 23
"""Distinct stretches that are counted at a time; at most 400 MB."""
CANDIDATES = 1024
"""Stretches of one frequency that are looked at, to find a few that are not parts of the same passage."""
PLACES = 64
"""Occurrences of a passage that continuations are compared with."""
_LEAST_DISTINCT = 0.5
"""Share of distinct words below which a stretch is a table or a drawing rather than prose."""


class Counts:
    """In how many documents each n-gram occurs, of a fair sample of the n-grams."""

    def __init__(self, most: int = MOST_COUNTED) -> None:
        self.most, self.limit = most, 1 << 64
        """Only hashes below the limit are counted."""
        self.hashes: Array = np.empty(0, np.uint64)
        self.counts: Array = np.empty(0, np.int64)
        self._new: list[Array] = []
        self._waiting = 0

    def add(self, hashes: Array) -> None:
        """Count a document's n-grams."""
        kept = np.unique(hashes if self.limit == 1 << 64 else hashes[hashes < np.uint64(self.limit)])
        self._new.append(kept)
        self._waiting += len(kept)
        if self._waiting > self.most:
            self.settle()

    def settle(self) -> None:
        """Bring what was added into `hashes` (ascending) and `counts`."""
        everything = np.concatenate([self.hashes, *self._new])
        weights = np.concatenate([self.counts, np.ones(self._waiting, np.int64)])
        self._new, self._waiting = [], 0
        order = np.argsort(everything)
        everything, weights = everything[order], weights[order]
        first = np.flatnonzero(np.concatenate([[True], everything[1:] != everything[:-1]])[: len(everything)])
        self.hashes = everything[first]
        self.counts = np.add.reduceat(weights, first) if len(first) else weights
        while len(self.hashes) > self.most:
            self.limit >>= 1
            kept = np.searchsorted(self.hashes, np.uint64(self.limit))
            self.hashes, self.counts = self.hashes[:kept].copy(), self.counts[:kept].copy()


@dataclass(frozen=True)
class Place:
    """Where a stretch begins."""

    document: int
    """Number of the document in the corpus."""
    word: int


@dataclass(frozen=True)
class Written:
    """A passage as one document has it."""

    document: Document
    prompt: str
    following: str
    """All of the document after the prompt."""


@dataclass
class Found:
    """A passage that was chosen: in how many documents it occurs, and where (at most `PLACES`)."""

    documents: int
    places: list[Place]
    texts: list[Written] = field(default_factory=list)
    """As it is written at each place."""


def band(count: int) -> int:
    """Counts that are alike: 1, 2-3, 4-7, 8-15, ..."""
    return count.bit_length() - 1


def find(
    corpus: Callable[[], Iterable[Document]],
    *,
    prompt_words: int,
    following_words: int,
    each: int,
) -> list[Found]:
    """Passages of so many words, up to `each` of each band of frequencies, the most frequent first.

    No two overlap in a document. Reads the corpus three times.
    """
    n = prompt_words + following_words
    counted = Counts()
    for document in corpus():
        counted.add(ngram_hashes(document.text, n))
    counted.settle()
    candidates = _candidates(counted)
    places = _places(corpus(), candidates, n)
    chosen = _chosen(candidates, places, n, each)
    _read(corpus(), chosen, prompt_words)
    return _prose(chosen, each)


def _candidates(counted: Counts) -> dict[int, int]:
    """Hashes -> documents, the most frequent first; of one count in the order of the hashes, which is a random one."""
    found: dict[int, int] = {}
    bands = np.frexp(counted.counts)[1] - 1
    for number in sorted(set(bands.tolist()), reverse=True):
        own = np.flatnonzero(bands == number)
        best = own[np.argsort(-counted.counts[own], kind="stable")[:CANDIDATES]]
        found.update(zip(counted.hashes[best].tolist(), counted.counts[best].tolist(), strict=True))
    return found


def _places(corpus: Iterable[Document], candidates: dict[int, int], n: int) -> dict[int, list[Place]]:
    wanted = Wanted(np.fromiter(candidates, dtype=np.uint64, count=len(candidates)))
    places: dict[int, list[Place]] = defaultdict(list)
    for number, document in enumerate(corpus):
        at, which = wanted.find(ngram_hashes(document.text, n))
        for word, value in zip(at.tolist(), wanted.hashes[which].tolist(), strict=True):
            if len(places[value]) < PLACES:
                places[value].append(Place(number, word))
    return places


def _chosen(candidates: dict[int, int], places: dict[int, list[Place]], n: int, each: int) -> list[Found]:
    """Candidates that do not overlap one another; several times as many as wanted, since some turn out not to be prose."""
    taken: dict[int, list[int]] = defaultdict(list)
    chosen: dict[int, list[Found]] = defaultdict(list)
    for value, count in candidates.items():
        own, at = chosen[band(count)], places[value]
        if len(own) >= 4 * each or any(
            abs(place.word - word) < 2 * n for place in at for word in taken[place.document]
        ):
            continue
        own.append(Found(count, at))
        for place in at:
            taken[place.document].append(place.word)
    return [one for number in sorted(chosen, reverse=True) for one in chosen[number]]


def _read(corpus: Iterable[Document], chosen: Sequence[Found], prompt_words: int) -> None:
    wanted: dict[int, list[tuple[Found, int]]] = defaultdict(list)
    for found in chosen:
        for place in found.places:
            wanted[place.document].append((found, place.word))
    for number, document in enumerate(corpus):
        if number in wanted:
            starts, ends = word_places(document.text)
            for found, word in wanted[number]:
                end = ends[word + prompt_words - 1]
                found.texts.append(Written(document, document.text[starts[word] : end], document.text[end:]))


def _prose(chosen: Sequence[Found], each: int) -> list[Found]:
    kept: dict[int, list[Found]] = defaultdict(list)
    for found in chosen:
        own, prompt = kept[band(found.documents)], words(found.texts[0].prompt)
        if len(own) < each and len(set(prompt)) >= _LEAST_DISTINCT * len(prompt):
            own.append(found)
    return [one for own in kept.values() for one in own]
