"""MinHash signatures the slow way."""

from __future__ import annotations

from collections.abc import Sequence


def minima(shingles: Sequence[int], factors: Sequence[int], terms: Sequence[int]) -> list[int]:
    """For each hash function the least value of all shingles: 32 bits of factor * shingle + term."""
    least = []
    for factor, term in zip(factors, terms, strict=True):
        values = [(factor * shingle + term) % 2**32 for shingle in shingles]
        least.append(min(values, default=2**32 - 1))
    return least
