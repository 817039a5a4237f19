"""A few hashes that are looked for in much text, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from selftaught.corpus.ngrams import ngram_hashes
from selftaught.overlap.bloom import Bloom

Array = np.ndarray[Any, Any]


class Wanted:
    """A set of 64-bit hashes; a small Bloom filter before it turns nearly all strangers away at once."""

    def __init__(self, hashes: Array) -> None:
        self.hashes: Array = np.unique(hashes)
        self._first = Bloom(max(1, len(self.hashes)))
        self._first.add(self.hashes)

    def find(self, hashes: Array) -> tuple[Array, Array]:
        """Which of the given hashes are in the set: their places, and their numbers in `self.hashes`."""
        places = np.flatnonzero(self._first.contains(hashes))
        numbers = np.searchsorted(self.hashes, hashes[places])
        numbers = np.minimum(numbers, len(self.hashes) - 1)
        right = self.hashes[numbers] == hashes[places]
        return places[right], numbers[right]

    def holds(self, hashes: Array) -> Array:
        """Whether each of the given hashes is in the set."""
        held = np.zeros(len(hashes), dtype=np.bool_)
        held[self.find(hashes)[0]] = True
        return held

    def those_in(self, texts: Iterable[str], n: int) -> Array:
        """The members that are n-grams of the texts (two n-grams of one 64-bit hash count as the same)."""
        return self.those_among(ngram_hashes(text, n) for text in texts)

    def those_among(self, parts: Iterable[Array]) -> Array:
        """The members that are among hashes."""
        found = np.zeros(len(self.hashes), dtype=np.bool_)
        for part in parts:
            found[self.find(part)[1]] = True
        return self.hashes[found]
