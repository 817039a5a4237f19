"""Counting pieces: how often each distinct piece of a text, or of many texts, occurs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numba
import numpy as np

from selftaught import console
from selftaught.tokenizer import scanning
from selftaught.tokenizer.pieces import kinds, utf8
from selftaught.tokenizer.scanning import FIRST, LENGTH, OWN_KEY, SECOND, VALUE, Array, Integer

_ROWS, _POOL = 1 << 16, 1 << 20
"""Sizes that the table begins with; both double when half full or full."""


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


def count_pieces(texts: Iterable[str]) -> PieceCounts:
    """Count the pieces of all texts; memory holds each distinct piece once."""
    counter = _Counter()
    with console.progress("counting", unit="documents") as bar:
        for text in texts:
            counter.add(utf8(text))
            bar.advance()
    return counter.counts()


class _Counter:
    """A table of pieces (see `scanning`) whose values are counts, growing as need be."""

    def __init__(self) -> None:
        self._kinds = kinds()
        self._rows = np.zeros((_ROWS, 4), dtype=np.int64)
        self._pool = np.empty(_POOL, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)

    def add(self, text: bytes) -> None:
        data, words = scanning.padded(text)
        place, end = 0, len(text)
        while True:
            place, needed = _count(data, words, place, end, self._kinds, self._rows, self._pool, self._used)
            if place == end:
                return
            if 2 * (self._used[0] + 1) > len(self._rows):
                self._rows = _doubled(self._rows)
            else:
                self._pool = np.concatenate([self._pool, np.empty(max(len(self._pool), needed), dtype=np.uint8)])

    def counts(self) -> PieceCounts:
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
