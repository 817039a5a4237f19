"""Exact and near duplicates among any number of documents: equal texts by hash, similar ones by MinHash and verified.

Two documents are near duplicates if the Jaccard similarity of their sets of 5-word shingles is at least the threshold. Candidates
are pairs that agree in all minima of one of the bands that 126 MinHash minima are cut into; bands are as narrow as it takes to
find a pair right at the threshold with probability 0.995 (0.8: 21 bands of 6 minima). Each candidate is then compared
shingle by shingle, so nothing is merged that is not similar.

Of duplicates the one with most karma stays, of equal ones the first. A document is dropped for one that stays, never for
one that is dropped itself, so that likeness does not creep from one text to the next. In memory are about 100 bytes a document;
band keys and shingles (32 bits each) lie on the temporary disk.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from selftaught import storage
from selftaught.corpus.signatures import MINIMA, signatures_of

SURELY_FOUND = 0.995
_WIDEST_BAND = 14
_COMPARED_IN_BAND = 64
"""Of more documents than these that agree in a band, each is compared with the 64 best of them only."""
_TOGETHER_CHARACTERS = 1 << 18
"""Texts are looked at together until they are so many characters, at least one."""
_LOOKS_AHEAD = 4
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Duplicates:
    """For each document the number of the one that stays instead, -1 for those that stay; and which are merely near."""

    of: Array
    near: Array


class Fingerprints:
    """What is needed of documents to tell which are the same; they go by their number, the first is 0.

    Texts are looked at by a thread of compiled code, beside whatever the caller does to get the next one.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self.rows = rows_of_bands(threshold)
        self._keys = array("Q")
        self._karma = array("q")
        self._ends = array("Q")
        self._shingles, self._bands = storage.temporary(), storage.temporary()
        self._waiting, self._characters = list[str](), 0
        self._thread, self._looks = ThreadPoolExecutor(1), deque[Future[None]]()

    def __len__(self) -> int:
        """How many documents were added."""
        return len(self._karma)

    def add(self, text: str, karma: int | None = None) -> None:
        """Add the next document."""
        self._karma.append(karma or 0)
        self._waiting.append(text)
        self._characters += len(text)
        if self._characters >= _TOGETHER_CHARACTERS:
            self._begin_to_look()

    def _begin_to_look(self) -> None:
        """Have the texts that wait looked at, behind those before them."""
        while len(self._looks) >= _LOOKS_AHEAD:
            self._looks.popleft().result()
        self._looks.append(self._thread.submit(self._look, self._waiting))
        self._waiting, self._characters = [], 0

    def _look(self, texts: Sequence[str]) -> None:
        """Take what is needed of some texts."""
        found = signatures_of(texts, self.rows)
        self._keys.frombytes(found.keys.tobytes())
        self._ends.frombytes((found.ends + (self._ends[-1] if self._ends else 0)).astype(np.uint64).tobytes())
        self._shingles.write(found.shingles.tobytes())
        self._bands.write(found.bands.tobytes())

    def _end_looking(self) -> None:
        if self._waiting:
            self._begin_to_look()
        while self._looks:
            self._looks.popleft().result()
        self._thread.shutdown()

    def duplicates(self) -> Duplicates:
        """Which documents are duplicates of which."""
        of, near = np.full(len(self), -1, dtype=np.int64), np.zeros(len(self), dtype=bool)
        if not len(self):
            return Duplicates(of, near)
        self._end_looking()
        rank = _ranks(np.frombuffer(self._karma, dtype=np.int64))
        _mark_exact(np.frombuffer(self._keys, dtype=np.uint64).reshape(-1, 2), rank, of)
        ends = np.frombuffer(self._ends, dtype=np.uint64).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        if not ends[-1]:
            return Duplicates(of, near)
        alive = np.flatnonzero((of < 0) & (ends > starts))
        packed = self._candidates(alive, rank)
        shingles = np.memmap(self._shingles, dtype=np.uint32, mode="r+")
        _make_sets(shingles, starts, ends, np.flatnonzero(_in_pairs(packed, len(self))))
        pairs = _unpacked(packed[_similar(shingles, starts, ends, packed, self.threshold)])
        order = np.lexsort((rank[pairs[:, 0]], rank[pairs[:, 1]]))
        _mark_near(pairs[order], of, near)
        return Duplicates(of, near)

    def _candidates(self, alive: Array, rank: Array) -> Array:
        """Pairs of documents that agree in some band, packed into 64 bits, the better one first."""
        bands = np.memmap(self._bands, dtype=np.uint64, mode="r").reshape(len(self), -1)
        found = np.empty(0, dtype=np.uint64)
        for band in range(bands.shape[1]):
            keys = np.asarray(bands[:, band])[alive]
            order = np.lexsort((rank[alive], keys))
            new = _pairs_of_runs(keys[order], alive[order])
            new.sort()
            # np.union1d hashes all of them again for each band, which took most of the time.
            found = _united(found, new)
        return found


def load() -> None:
    """Have all compiled code loaded, which takes a third of a second; a thread may do it before it is needed."""
    prints = Fingerprints()
    for text in ("a b c d e f g h i j k l m", "a b c d e f g h i j k l m n", "a b c d e f g h i j k l m n"):
        prints.add(text)
    prints.duplicates()


def _unpacked(pairs: Array) -> Array:
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


def rows_of_bands(threshold: float) -> int:
    """How many minima a band has, as many as leave a pair right at the threshold a chance of 0.995 to be found."""
    for rows in range(_WIDEST_BAND, 1, -1):
        if 1 - (1 - threshold**rows) ** (MINIMA // rows) >= SURELY_FOUND:
            return rows
    return 1


def _make_sets(shingles: Array, starts: Array, ends: Array, numbers: Array) -> None:
    """Sort the shingles of some documents in place, each once, and move their ends."""
    for number in numbers.tolist():
        ordered = np.sort(shingles[starts[number] : ends[number]])
        different = ordered[np.append(True, ordered[1:] != ordered[:-1])]
        ends[number] = starts[number] + len(different)
        shingles[starts[number] : ends[number]] = different


def _ranks(karma: Array) -> Array:
    """The place of each document if they stood in order of karma, equal ones as they came."""
    rank = np.empty(len(karma), dtype=np.int64)
    rank[np.argsort(-karma, kind="stable")] = np.arange(len(karma))
    return rank


def _mark_exact(keys: Array, rank: Array, of: Array) -> None:
    """Of documents with one key the best stays."""
    order = np.lexsort((rank, keys[:, 1], keys[:, 0]))
    same = np.all(keys[order][1:] == keys[order][:-1], axis=1)
    first = np.maximum.accumulate(np.where(np.concatenate([[False], same]), 0, np.arange(len(order))))
    twins = np.flatnonzero(np.concatenate([[False], same]))
    of[order[twins]] = order[first[twins]]


@numba.njit(cache=True, nogil=True)
def _pairs_of_runs(keys, numbers):  # type: ignore[no-untyped-def]
    """Pairs within each run of equal keys, packed into 64 bits; `numbers` are in order of rank within a run."""
    count = 0
    for fill in range(2):
        if fill:
            pairs = np.empty(count, dtype=np.uint64)
            count = 0
        start = 0
        for place in range(1, len(keys) + 1):
            if place < len(keys) and keys[place] == keys[start]:
                continue
            for later in range(start + 1, place):
                for earlier in range(start, min(later, start + _COMPARED_IN_BAND)):
                    if fill:
                        pairs[count] = (np.uint64(numbers[earlier]) << np.uint64(32)) | np.uint64(numbers[later])
                    count += 1
            start = place
    return pairs


@numba.njit(cache=True, nogil=True)
def _united(one, other):  # type: ignore[no-untyped-def]
    """The values of two sorted arrays, in order, each once."""
    united = np.empty(0, dtype=np.uint64)
    for fill in range(2):
        i, j, count, last = 0, 0, 0, np.uint64(0)
        while i < len(one) or j < len(other):
            if j >= len(other) or (i < len(one) and one[i] <= other[j]):
                value = one[i]
                i += 1
            else:
                value = other[j]
                j += 1
            if count and value == last:
                continue
            if fill:
                united[count] = value
            last = value
            count += 1
        if not fill:
            united = np.empty(count, dtype=np.uint64)
    return united


@numba.njit(cache=True, nogil=True)
def _in_pairs(pairs, count):  # type: ignore[no-untyped-def]
    """For each document whether it is in a pair."""
    found = np.zeros(count, dtype=np.bool_)
    for pair in pairs:
        found[pair >> np.uint64(32)] = True
        found[pair & np.uint64(0xFFFFFFFF)] = True
    return found


@numba.njit(cache=True, nogil=True)
def _similar(shingles, starts, ends, pairs, threshold):  # type: ignore[no-untyped-def]
    """For each pair whether the Jaccard similarity of its two sorted sets of shingles reaches the threshold."""
    found = np.zeros(len(pairs), dtype=np.bool_)
    for number in range(len(pairs)):
        one, other = pairs[number] >> np.uint64(32), pairs[number] & np.uint64(0xFFFFFFFF)
        i, j, shared = starts[one], starts[other], 0
        both = ends[one] - i + ends[other] - j
        # One more than may stand alone, so that rounding decides nothing.
        alone, most_alone = 0, both - 2 * threshold / (1 + threshold) * both + 1
        while i < ends[one] and j < ends[other] and alone <= most_alone:
            if shingles[i] == shingles[j]:
                shared += 1
                i += 1
                j += 1
                continue
            alone += 1
            if shingles[i] < shingles[j]:
                i += 1
            else:
                j += 1
        union = ends[one] - starts[one] + ends[other] - starts[other] - shared
        found[number] = shared >= threshold * union
    return found


@numba.njit(cache=True, nogil=True)
def _mark_near(pairs, of, near):  # type: ignore[no-untyped-def]
    """Drop the worse one of each pair whose better one stays; `pairs` are in order of the worse one's rank."""
    for number in range(len(pairs)):
        better, worse = pairs[number]
        if of[better] < 0 and of[worse] < 0:
            of[worse] = better
            near[worse] = True
