"""A Bloom filter the slow way: whole numbers without end, one bit at a time."""

from __future__ import annotations

import math

from selftaught.overlap.probing import BITS_SET, BLOCK_BITS

ALL = (1 << 64) - 1


def bits(key: int, blocks: int) -> set[tuple[int, int]]:
    """Every (block, bit) that a key sets."""
    found = set()
    for half in (1, 2):
        value = (key ^ (half * 0xD6E8FEB86659FD93 & ALL)) * 0xBF58476D1CE4E5B9 & ALL
        value = (value ^ (value >> 29)) * 0x94D049BB133111EB & ALL
        value ^= value >> 32
        parts = 64 if blocks >= 8192 else 1
        block = (key * parts >> 64) * (blocks // parts) + (value * (blocks // parts) >> 64)
        for _ in range(2):
            value = value * 0x9E3779B97F4A7C15 & ALL
            value ^= value >> 32
            found |= {(block, value >> 9 * turn & 511) for turn in range(5)}
    return found


def rate_at(keys: int, blocks: int) -> float:
    """False-positive rate of a filter with so many distinct keys: the number of keys of a block is a Poisson variable."""
    mean = 2 * keys / blocks
    total, probability = 0.0, math.exp(-mean)
    for held in range(int(mean + 12 * math.sqrt(mean) + 40)):
        total += probability * (1 - (1 - 1 / BLOCK_BITS) ** (BITS_SET * held)) ** BITS_SET
        probability *= mean / (held + 1)
    return total**2
