"""A Bloom filter for 64-bit hashes with a false-positive rate of at most 1e-8, at two cache misses a key.

A key sets 10 bits in each of two blocks of 512 bits. Blocks fill unevenly, so the rate is not that of a plain Bloom filter:
`measured_rate` gives it from the bits that are really set. 45 bits a key give 8e-9; the plain filter needs 38 bits and 27
cache misses for 1e-8.

Its capacity is in distinct keys: a key that comes again sets no new bit. How many distinct ones there are is reckoned from
the bits that are set, so that filters of parts can be united and still know how full they are.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import compute, storage
from selftaught.errors import DamagedFileError, MismatchError, UsageError
from selftaught.overlap.parameters import BITS_FILE, PARAMETERS_FILE, Content, Parameters
from selftaught.overlap.probing import BITS_SET, BLOCK_BITS, PARTED_BLOCKS, PARTS, by_part, insert, look_up

Array = np.ndarray[Any, Any]
BITS_PER_KEY = 45
LARGEST_RATE = 1e-8
"""GPT-2 paper, section 4: 1 in 10^8."""
SCHEME = (
    f"2 blocks of {BLOCK_BITS} bits, {BITS_SET} bits in each, {BITS_PER_KEY} bits a key; "
    f"from {PARTED_BLOCKS} blocks on {PARTS} parts"
)
SLACK = 1.01
"""How far above its capacity a filter may be reckoned to be; the rate is then 9.4e-9."""
_WORDS = BLOCK_BITS // 64
_LINE_BYTES = 64
_MANY = 1 << 15
"""Hashes that are worth being put in the order of parts."""
_COUNTED_BLOCKS = 1 << 18
"""Blocks whose set bits are counted at a time."""


class Bloom:
    """A set of 64-bit hashes that never forgets and rarely takes a stranger for a member."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UsageError("a filter needs room for at least one key", got=str(capacity))
        self._set_up(capacity, 0, _zeros(_block_count(capacity)), room=capacity)

    def _set_up(self, capacity: int, keys: int, blocks: Array, *, room: int) -> None:
        self.capacity, self.keys, self.blocks = capacity, keys, blocks
        self._room = room
        """Insertions until it has to be reckoned again how full the filter is."""
        self._gate, self._under_way = threading.Condition(), 0
        """Insertions that are admitted and not finished."""
        self._parts = [threading.Lock() for _ in range(PARTS)]
        self._turn = cycle((0, PARTS // 2, PARTS // 4, 3 * PARTS // 4))

    def add(self, hashes: Array) -> None:
        """Insert hashes (uint64); several threads may at a time.

        Raises MismatchError where distinct ones pass the capacity: the rate would not hold.
        """
        alone = len(self.blocks) < PARTED_BLOCKS or len(hashes) < _MANY
        with self._gate:
            self.keys += len(hashes)
            taken = not alone and self._take(len(hashes))
        if not alone and not taken:
            # Looked up outside of the gate: of text that repeats itself most is there already, and there may be much of it.
            hashes = hashes[~self.contains(hashes)]
            with self._gate:
                taken = self._take(len(hashes))
        if not taken:
            with self._gate:
                self._gate.wait_for(lambda: not self._under_way)
                insert(self.blocks, self._fitting(hashes))
            return
        try:
            self._insert_by_part(hashes)
        finally:
            with self._gate:
                self._under_way -= 1
                self._gate.notify_all()

    def _take(self, count: int) -> bool:
        """Let an insertion of so many begin, if there is room without reckoning."""
        if count > self._room:
            return False
        self._room -= count
        self._under_way += 1
        return True

    def _insert_by_part(self, hashes: Array) -> None:
        """Part after part, which the processor's cache has room for; each thread begins with another one."""
        keys, ends = by_part(hashes)
        first = next(self._turn)
        waiting = [(first + number) % PARTS for number in range(PARTS)]
        while waiting:
            number = next((one for one in waiting if not self._parts[one].locked()), waiting[0])
            waiting.remove(number)
            with self._parts[number]:
                insert(self.blocks, keys[ends[number - 1] if number else 0 : ends[number]])

    def _fitting(self, hashes: Array) -> Array:
        """Hashes that are inserted while nobody else does; of those that might not fit only what is new."""
        if len(hashes) > self._room:
            self._room = self._reckoned_room()
        if len(hashes) > self._room:
            hashes = hashes[~self.contains(hashes)]
        if len(hashes) > self._room:
            hashes = np.unique(hashes)
        if len(hashes) > self._room:
            raise MismatchError(
                "the Bloom filter is full",
                expected=f"at most {self.capacity:,} distinct keys",
                got=f"about {self.distinct() + len(hashes):,.0f}",
                hint="Give it more room with --capacity, in another folder.",
            )
        self._room -= len(hashes)
        return hashes

    def _reckoned_room(self) -> int:
        return max(0, int(self.capacity * SLACK - self.distinct())) if self.keys else self.capacity

    def distinct(self) -> float:
        """About how many distinct keys there are, from the share of bits that are not set."""
        total = len(self.blocks) * BLOCK_BITS
        unset = 1 - sum(int(filled.sum()) for filled in self._filled()) / total
        if unset <= 0:
            return math.inf
        # A block gets a Poisson number of halves with mean 2n / blocks; each leaves a bit unset with probability (1 - 1/512)^10.
        return abs(math.log(unset)) * len(self.blocks) / 2 / (1 - (1 - 1 / BLOCK_BITS) ** BITS_SET)

    def contains(self, hashes: Array) -> Array:
        """Whether each hash is (almost surely) a member."""
        return np.asarray(look_up(self.blocks, hashes))

    def union(self, other: Bloom) -> None:
        """Take in the members of another filter of the same capacity, as if they had been inserted here."""
        if other.capacity != self.capacity:
            raise MismatchError(
                "only filters of one capacity can be united", expected=f"{self.capacity:,}", got=f"{other.capacity:,}"
            )
        self.blocks |= other.blocks
        self.keys += other.keys
        self._room = 0
        if self.distinct() > self.capacity * SLACK:
            raise MismatchError(
                "the united filter is too full",
                expected=f"at most {self.capacity:,} distinct keys",
                got=f"about {self.distinct():,.0f}",
                hint="Index the parts with a larger --capacity.",
            )

    def measured_rate(self) -> float:
        """The false-positive rate, from the bits that are set: a stranger needs 10 set bits in two blocks of one part."""
        parts = PARTS if len(self.blocks) >= PARTED_BLOCKS else 1
        sums, before = [0.0] * parts, 0
        for filled in self._filled(len(self.blocks) // parts):
            sums[before * parts // len(self.blocks)] += float(((filled / BLOCK_BITS) ** BITS_SET).sum())
            before += len(filled)
        return sum((one * parts / len(self.blocks)) ** 2 for one in sums) / parts

    def _filled(self, part: int = 0) -> Iterator[Array]:
        """How many bits of each block are set, a few megabytes at a time; no stretch reaches from one part into the next."""
        part = part or len(self.blocks)
        for first in range(0, len(self.blocks), part):
            for start in range(first, first + part, _COUNTED_BLOCKS):
                yield np.bitwise_count(self.blocks[start : min(start + _COUNTED_BLOCKS, first + part)]).sum(axis=1)

    def save(self, folder: Path, content: Content) -> None:
        """Write filter.npy and, last, filter.json with what was inserted."""
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
        found._set_up(known.capacity, known.keys, _mapped(folder / BITS_FILE, _block_count(known.capacity)), room=0)
        if verify and _digest(found.blocks) != known.sha256:
            raise DamagedFileError(f"{folder / BITS_FILE} is damaged", expected=f"SHA-256 {known.sha256}")
        return found


def _block_count(capacity: int) -> int:
    """A multiple of the number of parts, where there are parts."""
    count = max(2, math.ceil(capacity * BITS_PER_KEY / BLOCK_BITS))
    return count if count < PARTED_BLOCKS else PARTS * math.ceil(count / PARTS)


def _zeros(count: int) -> Array:
    """Empty blocks, each in one cache line: numpy aligns to 16 bytes only, and a block across two lines costs two misses."""
    room = np.zeros(count * _WORDS + _LINE_BYTES // 8, dtype=np.uint64)
    compute.prefer_large_pages(room.ctypes.data, room.nbytes)
    first = -(room.ctypes.data // 8) % (_LINE_BYTES // 8)
    return room[first : first + count * _WORDS].reshape(count, _WORDS)


def _mapped(path: Path, count: int) -> Array:
    try:
        blocks = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DamagedFileError(f"{path} is damaged", got=str(problem)) from problem
    if not isinstance(blocks, np.ndarray) or blocks.dtype != np.uint64 or blocks.shape != (count, _WORDS):
        raise DamagedFileError(f"{path} is damaged", expected=f"{count:,} blocks of {BLOCK_BITS} bits")
    return blocks.view(np.ndarray)


def _digest(blocks: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(blocks).view(np.uint8).reshape(-1).data).hexdigest()
