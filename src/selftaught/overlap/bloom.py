"""A Bloom filter for 64-bit hashes with a false-positive rate of at most 1e-8, at two cache misses a key.

A key sets 10 bits in each of two blocks of 512 bits. Blocks fill unevenly, so the rate is not that of a plain Bloom filter:
`rate_at` gives it by formula (the number of keys of a block is a Poisson variable), `measured_rate` from the bits that are
really set. 46 bits a key give 6e-9; the plain filter needs 38 bits and 27 cache misses for 1e-8.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import storage
from selftaught.errors import DamagedFileError, MismatchError, UsageError
from selftaught.overlap.probing import BITS_SET, BLOCK_BITS, insert, look_up

BITS_PER_KEY = 46
LARGEST_RATE = 1e-8
"""GPT-2 paper, section 4: 1 in 10^8."""
SCHEME = f"2 blocks of {BLOCK_BITS} bits, {BITS_SET} bits in each, {BITS_PER_KEY} bits a key"
BITS_FILE, PARAMETERS_FILE = "filter.npy", "filter.json"
_WORDS = BLOCK_BITS // 64
_LINE_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a saved filter is."""

    scheme: str
    capacity: int
    keys: int
    """Insertions so far, repeated keys included."""
    content: str
    """What was inserted, in words: which n-grams, and the hash of their text."""
    sha256: str


class Bloom:
    """A set of 64-bit hashes that never forgets and rarely takes a stranger for a member."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UsageError("a filter needs room for at least one key", got=str(capacity))
        self.capacity, self.keys = capacity, 0
        self.blocks = _zeros(_block_count(capacity))

    def add(self, hashes: np.ndarray[Any, Any]) -> None:
        """Insert hashes (uint64). Raises MismatchError past the capacity, where the rate would no longer hold."""
        if self.keys + len(hashes) > self.capacity:
            raise MismatchError(
                "the Bloom filter is full",
                expected=f"at most {self.capacity:,} keys",
                got=f"{self.keys + len(hashes):,}",
            )
        insert(self.blocks, hashes)
        self.keys += len(hashes)

    def contains(self, hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Whether each hash is (almost surely) a member."""
        return np.asarray(look_up(self.blocks, hashes))

    def union(self, other: Bloom) -> None:
        """Take in the members of another filter of the same capacity, as if they had been inserted here."""
        if other.capacity != self.capacity:
            raise MismatchError(
                "only filters of one capacity can be united", expected=f"{self.capacity:,}", got=f"{other.capacity:,}"
            )
        if self.keys + other.keys > self.capacity:
            raise MismatchError(
                "the united filter would be too full",
                expected=f"at most {self.capacity:,} keys",
                got=f"{self.keys + other.keys:,}",
            )
        self.blocks |= other.blocks
        self.keys += other.keys

    def measured_rate(self) -> float:
        """The false-positive rate, from the bits that are set: a stranger needs 10 set bits in two blocks drawn at random."""
        filled = np.bitwise_count(self.blocks).sum(axis=1) / BLOCK_BITS
        return float(np.mean(filled**BITS_SET) ** 2)

    def save(self, folder: Path, *, content: str = "") -> None:
        """Write filter.npy and, last, filter.json; `content` says what was inserted."""
        with storage.writing(folder / BITS_FILE) as stream:
            np.save(stream, self.blocks, allow_pickle=False)
        known = Parameters(
            scheme=SCHEME, capacity=self.capacity, keys=self.keys, content=content, sha256=_digest(self.blocks)
        )
        storage.write_json(folder / PARAMETERS_FILE, known)

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> Bloom:
        """Open a saved filter, memory-mapped; what is inserted later stays in memory.

        Raises InputError if there is none, DamagedFileError if it is not what was saved (without `verify` only the size is
        looked at), MismatchError if another version of the program made it.
        """
        known = storage.read_json(folder / PARAMETERS_FILE, Parameters)
        if known.scheme != SCHEME:
            raise MismatchError(f"{folder} holds a filter of another kind", expected=SCHEME, got=known.scheme)
        found = object.__new__(cls)
        found.capacity, found.keys = known.capacity, known.keys
        found.blocks = _mapped(folder / BITS_FILE, _block_count(known.capacity))
        if verify and _digest(found.blocks) != known.sha256:
            raise DamagedFileError(f"{folder / BITS_FILE} is damaged", expected=f"SHA-256 {known.sha256}")
        return found


def rate_at(keys: int, blocks: int) -> float:
    """False-positive rate of a filter with so many distinct keys, by formula."""
    mean = 2 * keys / blocks
    total, probability = 0.0, math.exp(-mean)
    for held in range(int(mean + 12 * math.sqrt(mean) + 40)):
        total += probability * (1 - (1 - 1 / BLOCK_BITS) ** (BITS_SET * held)) ** BITS_SET
        probability *= mean / (held + 1)
    return total**2


def _block_count(capacity: int) -> int:
    return max(2, math.ceil(capacity * BITS_PER_KEY / BLOCK_BITS))


def _zeros(count: int) -> np.ndarray[Any, Any]:
    """Empty blocks, each in one cache line: numpy aligns to 16 bytes only, and a block across two lines costs two misses."""
    room = np.zeros(count * _WORDS + _LINE_BYTES // 8, dtype=np.uint64)
    first = -(room.ctypes.data // 8) % (_LINE_BYTES // 8)
    return room[first : first + count * _WORDS].reshape(count, _WORDS)


def _mapped(path: Path, count: int) -> np.ndarray[Any, Any]:
    try:
        blocks = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DamagedFileError(f"{path} is damaged", got=str(problem)) from problem
    if not isinstance(blocks, np.ndarray) or blocks.dtype != np.uint64 or blocks.shape != (count, _WORDS):
        raise DamagedFileError(f"{path} is damaged", expected=f"{count:,} blocks of {BLOCK_BITS} bits")
    return blocks.view(np.ndarray)


def _digest(blocks: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(blocks).view(np.uint8).reshape(-1).data).hexdigest()
