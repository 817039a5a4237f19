"""How many different hashes there are among many, estimated in 64 KiB (HyperLogLog; Flajolet and others 2007, Ertl 2017)."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, Any]
INDEX_BITS = 16
STANDARD_ERROR = 1.04 / math.sqrt(1 << INDEX_BITS)
"""0.4 %."""


class Distinct:
    """An estimate that depends on the set of what was added alone, not on order, repetition or company."""

    def __init__(self) -> None:
        self.ranks: Array = np.zeros(1 << INDEX_BITS, dtype=np.uint8)

    def add(self, hashes: Array) -> None:
        """Take hashes (uint64) in."""
        _observe(self.ranks, hashes)

    def unite(self, other: Distinct) -> None:
        """Take in what another one took in."""
        np.maximum(self.ranks, other.ranks, out=self.ranks)

    def estimate(self) -> float:
        """About how many there are (Ertl 2017, algorithm 6: as exact for few as for many)."""
        size, longest = len(self.ranks), 64 - INDEX_BITS
        counts = np.bincount(self.ranks, minlength=longest + 2) / size
        total = _saturated(counts[longest + 1])
        for rank in range(longest, 0, -1):
            total = (total + counts[rank]) / 2
        total += _empty(counts[0])
        return float(size / (2 * math.log(2)) / total)


def _empty(share: float) -> float:
    """What the places without any hash stand for."""
    if share == 1.0:
        return math.inf
    total, weight = share, 1.0
    while True:
        share *= share
        more = total + share * weight
        if more == total:
            return total
        total, weight = more, 2 * weight


def _saturated(share: float) -> float:
    """What the places with the longest possible run stand for."""
    rest = 1.0 - share
    if rest in (0.0, 1.0):
        return 0.0
    total, weight = 1.0 - rest, 1.0
    while True:
        rest, weight = math.sqrt(rest), weight / 2
        less = total - (1 - rest) ** 2 * weight
        if less == total:
            return total / 3
        total = less


@numba.njit(cache=True, nogil=True)
def _observe(ranks, hashes):  # type: ignore[no-untyped-def]
    """Keep for each place the longest run of zeros that a hash with that place begins with."""
    shift, one = np.uint64(64 - INDEX_BITS), np.uint64(1)
    top = np.uint64(1) << np.uint64(63)
    for value in hashes:
        place = value >> shift
        rest = (value << np.uint64(INDEX_BITS)) | (one << np.uint64(INDEX_BITS - 1))
        rank = np.uint8(1)
        while not rest & top:
            rest <<= one
            rank += np.uint8(1)
        ranks[place] = max(ranks[place], rank)
