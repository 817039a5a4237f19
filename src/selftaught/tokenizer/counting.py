"""Counting pieces: how often each distinct piece of a text, or of many texts, occurs."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numba
import numpy as np

from selftaught import console, storage
from selftaught.tokenizer import scanning
from selftaught.tokenizer.pieces import kinds, utf8
from selftaught.tokenizer.scanning import FIRST, LENGTH, OWN_KEY, SECOND, VALUE, Array, Integer

_ROWS, _POOL = 1 << 16, 1 << 20
"""Sizes that the table begins with; both double when half full or full."""
MOST_PIECES = 1 << 24
"""Distinct pieces that are held, about a gigabyte; English text of some ten gigabytes comes to so many."""
_CHUNK = 1 << 22
"""Characters that a process counts at a time."""


@dataclass(frozen=True, kw_only=True)
class PieceCounts:
    """Distinct pieces and how often each occurs, in no particular order."""

    data: Array
    """The bytes of all pieces, one after another (uint8)."""
    lengths: Array
    """Bytes of each piece (int64)."""
    counts: Array
    """Occurrences of each piece (int64)."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> PieceCounts:
        """The same as arrays."""
        encoded = [utf8(piece) for piece in counts]
        return cls(
            data=np.frombuffer(b"".join(encoded), dtype=np.uint8),
            lengths=np.array([len(piece) for piece in encoded], dtype=np.int64),
            counts=np.array(list(counts.values()), dtype=np.int64),
        )

    def as_mapping(self) -> dict[str, int]:
        """The same with the pieces as text."""
        ends = np.cumsum(self.lengths)
        data = self.data.tobytes()
        cuts = zip((ends - self.lengths).tolist(), ends.tolist(), self.counts.tolist(), strict=True)
        return {data[start:end].decode(): count for start, end, count in cuts}


def count_pieces(texts: Iterable[str], *, jobs: int = 1) -> PieceCounts:
    """Count the pieces of all texts, by `jobs` processes; the result depends neither on their number nor on the order of texts.

    Memory holds each distinct piece once, up to `MOST_PIECES` of them. Of a text with more, the rarest are forgotten on the way,
    again and again (lossy counting, Manku and Motwani 2002), with a warning that says how many times such a piece may have been
    there. What is forgotten then depends on the order of texts, but still not on the number of processes.
    """
    counter = _Counter()
    with console.progress("counting", unit="documents") as bar, ExitStack() as stack:
        chunks = _advancing(storage.grouped(texts, _CHUNK), bar.advance)
        if jobs == 1:
            for chunk in chunks:
                counter.include(_counted(chunk))
        else:
            pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")))
            for counts in _in_order(pool, chunks, 2 * jobs):
                counter.include(counts)
    if counter.forgotten:
        console.warn(
            f"pieces that occur at most {counter.forgotten:,} times may have been forgotten: there were too many"
        )
    return counter.counts()


def _advancing(chunks: Iterator[list[str]], advance: Callable[[int], None]) -> Iterator[list[str]]:
    for chunk in chunks:
        yield chunk
        advance(len(chunk))


def _counted(chunk: list[str]) -> PieceCounts:
    counter = _Counter()
    for text in chunk:
        counter.add(utf8(text))
    return counter.counts()


def _in_order(pool: ProcessPoolExecutor, chunks: Iterator[list[str]], ahead: int) -> Iterator[PieceCounts]:
    """Counts of chunk after chunk, no more than some chunks ahead of what is asked for."""
    waiting: deque[Future[PieceCounts]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(_counted, chunk))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Counter:
    """A table of pieces (see `scanning`) whose values are counts, growing as need be."""

    def __init__(self) -> None:
        self._kinds = kinds()
        self._rows = np.zeros((_ROWS, 4), dtype=np.int64)
        self._pool = np.empty(_POOL, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)
        self.forgotten = 0
        """How often a piece that was forgotten may have occurred."""

    def add(self, text: bytes) -> None:
        """Count the pieces of a text in UTF-8."""
        data, words = scanning.padded(text)
        place, end = 0, len(text)
        while True:
            place, needed = _count(data, words, place, end, self._kinds, self._rows, self._pool, self._used)
            if place == end:
                return
            self._make_room(needed)

    def include(self, counts: PieceCounts) -> None:
        """Add what another counter counted."""
        data, words = scanning.padded(counts.data.tobytes())
        starts = np.cumsum(counts.lengths) - counts.lengths
        number = 0
        while True:
            number, needed = _include(
                data, words, starts, counts.lengths, counts.counts, number, self._rows, self._pool, self._used
            )
            if number == len(starts):
                break
            self._make_room(needed)
        least = 0
        while self._used[0] > MOST_PIECES:
            least += 1
            self._rows, self._pool, self._used = _frequent(self._rows, self._pool, least)
        self.forgotten += least

    def _make_room(self, needed: int) -> None:
        if 2 * (self._used[0] + 1) > len(self._rows):
            self._rows = _doubled(self._rows)
        else:
            self._pool = np.concatenate([self._pool, np.empty(max(len(self._pool), needed), dtype=np.uint8)])

    def counts(self) -> PieceCounts:
        """The pieces met and how often."""
        rows = self._rows[self._rows[:, LENGTH] > 0]
        data = np.empty(int(rows[:, LENGTH].sum()), dtype=np.uint8)
        _spell(rows, self._pool, data)
        return PieceCounts(data=data, lengths=rows[:, LENGTH].copy(), counts=rows[:, VALUE].copy())


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _count(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    data: Array, words: Array, place: Integer, end: Integer, kinds: Array, rows: Array, pool: Array, used: Array
) -> tuple[Integer, Integer]:
    """Count from a place until the text ends or there is no room for a new piece, whose length is returned too."""
    while place < end:
        stop = scanning.piece_end(data, words, place, end, kinds)
        length = stop - place
        row = scanning.row_of(rows, pool, data, words, place, length)
        if rows[row, LENGTH] == 0:
            if 2 * (used[0] + 1) > len(rows) or (length > OWN_KEY and used[1] + length > len(pool)):
                return place, length
            used[1] = scanning.add_row(rows, row, pool, used[1], data, words, place, length)
            used[0] += 1
        rows[row, VALUE] += 1
        place = stop
    return place, 0


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _include(  # noqa: PLR0917 - as above
    data: Array,
    words: Array,
    starts: Array,
    lengths: Array,
    counts: Array,
    number: Integer,
    rows: Array,
    pool: Array,
    used: Array,
) -> tuple[Integer, Integer]:
    """Add counted pieces from one on until all are there or there is no room for a new one, whose length is returned too."""
    while number < len(starts):
        start, length = starts[number], lengths[number]
        row = scanning.row_of(rows, pool, data, words, start, length)
        if rows[row, LENGTH] == 0:
            if 2 * (used[0] + 1) > len(rows) or (length > OWN_KEY and used[1] + length > len(pool)):
                return number, length
            used[1] = scanning.add_row(rows, row, pool, used[1], data, words, start, length)
            used[0] += 1
        rows[row, VALUE] += counts[number]
        number += 1
    return number, 0


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _frequent(rows: Array, pool: Array, least: Integer) -> tuple[Array, Array, Array]:
    """The same table without the pieces that occur `least` times or less."""
    fewer, smaller = np.zeros_like(rows), np.empty_like(pool)
    used = np.zeros(2, dtype=np.int64)
    for row in rows:
        if row[LENGTH] > 0 and row[VALUE] > least:
            place = scanning.free_row(fewer, row[FIRST], row[SECOND], row[LENGTH])
            fewer[place] = row
            used[0] += 1
            if row[LENGTH] > OWN_KEY:
                smaller[used[1] : used[1] + row[LENGTH]] = pool[row[SECOND] : row[SECOND] + row[LENGTH]]
                fewer[place, SECOND] = used[1]
                used[1] += row[LENGTH]
    return fewer, smaller, used


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _spell(rows: Array, pool: Array, data: Array) -> None:
    """Write the bytes of the pieces of all rows, none of which may be empty, into `data`."""
    place = 0
    for number in range(len(rows)):
        length = rows[number, LENGTH]
        if length > OWN_KEY:
            data[place : place + length] = pool[rows[number, SECOND] : rows[number, SECOND] + length]
        else:
            for offset in range(length):
                word, shift = rows[number, offset // 8], 8 * (offset % 8)
                data[place + offset] = word >> shift & 0xFF
        place += length


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _doubled(rows: Array) -> Array:
    larger = np.zeros((2 * len(rows), 4), dtype=np.int64)
    for row in rows:
        if row[LENGTH] > 0:
            larger[scanning.free_row(larger, row[FIRST], row[SECOND], row[LENGTH])] = row
    return larger
