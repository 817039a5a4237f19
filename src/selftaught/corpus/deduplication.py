"""Exact and near duplicates: equal texts by hash, similar ones by MinHash and locality-sensitive hashing.

Two documents are near duplicates if the Jaccard similarity of their sets of 5-word shingles is estimated at `threshold` or
more from 128 minima (standard error of the estimate at most 0.045). Candidates are pairs that agree in one of 16 bands of
8 minima: similarity 0.8 is found with probability 0.95, 0.9 with 0.9999.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numba
import numpy as np

from selftaught.corpus.ngrams import ngram_hashes

SHINGLE_WORDS, MINIMA, BANDS = 5, 128, 16
_DRAW = np.random.default_rng(20190214)
_FACTORS = _DRAW.integers(1, 1 << 63, MINIMA, dtype=np.uint64) | np.uint64(1)
_TERMS = _DRAW.integers(0, 1 << 63, MINIMA, dtype=np.uint64)


class Deduplicator:
    """Remembers what it has seen; of duplicates the first one stays, so offer the best first."""

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self._exact: set[bytes] = set()
        self._signatures: list[np.ndarray[Any, Any]] = []
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]

    def reason_to_drop(self, text: str) -> str:
        """`exact duplicate`, `near duplicate`, or "" for a text that is new and now remembered."""
        key = hashlib.blake2b(" ".join(text.split()).casefold().encode("utf-8", "replace"), digest_size=16).digest()
        if key in self._exact:
            return "exact duplicate"
        self._exact.add(key)
        shingles = ngram_hashes(text, SHINGLE_WORDS)
        if len(shingles) == 0:
            return ""
        signature = minima(shingles)
        keys = [part.tobytes() for part in np.split(signature, BANDS)]
        candidates = {number for band, part in zip(self._bands, keys, strict=True) for number in band.get(part, ())}
        if any(np.mean(self._signatures[number] == signature) >= self.threshold for number in candidates):
            return "near duplicate"
        for band, part in zip(self._bands, keys, strict=True):
            band.setdefault(part, []).append(len(self._signatures))
        self._signatures.append(signature)
        return ""


def minima(shingles: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """MinHash signature: for each of 128 hash functions the least value over all shingles (upper 32 bits)."""
    return np.asarray(_minima(shingles, _FACTORS, _TERMS))


@numba.njit(cache=True, nogil=True)
def _minima(shingles, factors, terms):  # type: ignore[no-untyped-def]
    least = np.full(len(factors), 0xFFFFFFFF, dtype=np.uint32)
    for shingle in shingles:
        for k in range(len(factors)):
            value = np.uint32((shingle * factors[k] + terms[k]) >> np.uint64(32))
            least[k] = min(least[k], value)
    return least
