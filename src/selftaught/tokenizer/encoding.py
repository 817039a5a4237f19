"""Compiled encoding: for much text, the same ids as `Tokenizer.encode` at many times its speed.

The first use compiles or loads machine code, so the tokenizer comes here only once it has seen enough text to win that back.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numba
import numpy as np

from selftaught.tokenizer import pieces, scanning
from selftaught.tokenizer.merging import Pairs
from selftaught.tokenizer.scanning import LENGTH, VALUE, Array, Integer

_ROWS = 1 << 18
"""Rows of the table of remembered pieces (8 MiB); it is emptied when half full."""
_LONGEST_REMEMBERED = 96
_POOL = 1 << 22
_BUFFER = 1 << 20
"""Ids that one call of the compiled loop may return."""
_NEVER = np.int64((1 << 63) - 1)
_LONG = 64
"""From this many bytes on, a heap beats looking at all pairs again after each merge."""
_EMPTY = np.int64(-1)
_PRIME = 1099511628211


class Encoder:
    """Encodes bytes with one vocabulary and remembers the pieces it has met; not for several threads at once."""

    def __init__(self, byte_ids: Sequence[int], pairs: Pairs, dtype: type[np.uint16 | np.uint32]) -> None:
        self._kinds = pieces.kinds()
        self._byte_ids = np.array(byte_ids, dtype=np.int64)
        self._pairs = _pair_table(pairs)
        self._rows = np.zeros((_ROWS, 4), dtype=np.int64)
        self._pool = np.empty(_POOL, dtype=np.uint8)
        self._ids = np.empty(_ROWS * 8, dtype=np.uint32)
        self._used = np.zeros(3, dtype=np.int64)
        self._dtype = dtype

    def encode(self, text: bytes) -> Array:
        """Ids of a text in well-formed UTF-8."""
        data, words = scanning.padded(text)
        place, end, parts = 0, len(text), []
        room = min(end, _BUFFER)
        while place < end:
            out = np.empty(room, dtype=self._dtype)
            stop, count = _encode(
                data,
                words,
                place,
                end,
                self._kinds,
                self._byte_ids,
                self._pairs,
                self._rows,
                self._pool,
                self._ids,
                self._used,
                out,
            )
            if stop == place:
                room = end - place
            place = stop
            parts.append(out[:count])
        return (
            parts[0].copy() if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, dtype=self._dtype)
        )


def _pair_table(pairs: Pairs | Mapping[tuple[int, int], tuple[int, int]]) -> Array:
    """Hash table of merges: row = (left << 32 | right, rank << 32 | merged id)."""
    table = np.full((1 << max(4, (3 * len(pairs)).bit_length()), 2), _EMPTY, dtype=np.int64)
    keys = np.fromiter((left << 32 | right for left, right in pairs), dtype=np.int64, count=len(pairs))
    values = np.fromiter((rank << 32 | merged for rank, merged in pairs.values()), dtype=np.int64, count=len(pairs))
    _fill(table, keys, values)
    return table


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _pair_row(table: Array, key: Integer) -> Integer:
    mask = len(table) - 1
    mixed = key * _PRIME
    row = (mixed ^ mixed >> 31) & mask
    while table[row, 0] != key and table[row, 0] != _EMPTY:
        row = (row + 1) & mask
    return row


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _fill(table: Array, keys: Array, values: Array) -> None:
    for number in range(len(keys)):
        row = _pair_row(table, keys[number])
        table[row, 0], table[row, 1] = keys[number], values[number]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _merge_of(table: Array, left: Integer, right: Integer) -> Integer:
    """Rank << 32 | merged id of a pair; the largest number if it does not merge."""
    row = _pair_row(table, left << 32 | right)
    return _NEVER if table[row, 0] == _EMPTY else table[row, 1]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _merge_short(ids: Array, count: Integer, table: Array) -> Integer:
    """Merge in place; returns how many ids are left."""
    merges = np.empty(_LONG, dtype=np.int64)
    for place in range(count - 1):
        merges[place] = _merge_of(table, ids[place], ids[place + 1])
    while count > 1:
        best = 0
        for place in range(1, count - 1):
            if merges[place] < merges[best]:
                best = place
        if merges[best] == _NEVER:
            break
        ids[best] = merges[best] & 0xFFFFFFFF
        count -= 1
        for place in range(best + 1, count):
            ids[place] = ids[place + 1]
        for place in range(best + 1, count - 1):
            merges[place] = merges[place + 1]
        if best > 0:
            merges[best - 1] = _merge_of(table, ids[best - 1], ids[best])
        if best < count - 1:
            merges[best] = _merge_of(table, ids[best], ids[best + 1])
    return count


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _merge_long(ids: Array, count: Integer, table: Array) -> Integer:
    """The same in O(n log n): a linked list and a heap of (merge, place), where an entry that no longer holds is skipped."""
    following, before = np.arange(1, count + 1), np.arange(-1, count - 1)
    heap = [(_merge_of(table, ids[first], ids[first + 1]), np.int64(first)) for first in range(count - 1)]
    heapq.heapify(heap)
    while heap:
        merge, place = heapq.heappop(heap)
        if merge == _NEVER:
            break
        right = following[place]
        if ids[place] < 0 or right >= count or _merge_of(table, ids[place], ids[right]) != merge:
            continue
        ids[place], ids[right] = merge & 0xFFFFFFFF, -1
        following[place] = following[right]
        if following[place] < count:
            before[following[place]] = place
            heapq.heappush(heap, (_merge_of(table, ids[place], ids[following[place]]), place))
        if before[place] >= 0:
            heapq.heappush(heap, (_merge_of(table, ids[before[place]], ids[place]), before[place]))
    alive = 0
    for number in range(count):
        if ids[number] >= 0:
            ids[alive] = ids[number]
            alive += 1
    return alive


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _encode(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    data: Array,
    words: Array,
    place: Integer,
    end: Integer,
    kinds: Array,
    byte_ids: Array,
    table: Array,
    rows: Array,
    pool: Array,
    known: Array,
    used: Array,
    out: Array,
) -> tuple[Integer, Integer]:
    """Encode from a place until the text ends or `out` may be too small; returns where it stopped and the ids written.

    A row's value is: where its ids lie in `known` (or the id itself, if there is one) << 32 | how many they are. `used`:
    rows, bytes of the pool and places of `known` taken so far.
    """
    count = 0
    short = np.empty(_LONG, dtype=np.int64)
    while place < end:
        stop = scanning.piece_end(data, words, place, end, kinds)
        length = stop - place
        if count + length > len(out):
            break
        row = scanning.row_of(rows, pool, data, words, place, length) if length <= _LONGEST_REMEMBERED else -1
        if row >= 0 and rows[row, LENGTH] != 0:
            first, ids_count = rows[row, VALUE] >> 32, rows[row, VALUE] & 0xFFFFFFFF
            if ids_count == 1:
                out[count] = first
            else:
                for offset in range(ids_count):
                    out[count + offset] = known[first + offset]
            count += ids_count
            place = stop
            continue
        ids = short if length <= _LONG else np.empty(length, dtype=np.int64)
        for offset in range(length):
            ids[offset] = byte_ids[data[place + offset]]
        ids_count = _merge_short(ids, length, table) if length <= _LONG else _merge_long(ids, length, table)
        for offset in range(ids_count):
            out[count + offset] = ids[offset]
        if row >= 0:
            _remember(rows, row, pool, known, used, data, words, place, length, out[count : count + ids_count])
        count += ids_count
        place = stop
    return place, count


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _remember(  # noqa: PLR0917 - as above
    rows: Array,
    row: Integer,
    pool: Array,
    known: Array,
    used: Array,
    data: Array,
    words: Array,
    place: Integer,
    length: Integer,
    ids: Array,
) -> None:
    """Keep the ids of a piece; a table that is half full, or has no more room for bytes or ids, is emptied instead."""
    if used[0] * 2 >= len(rows) or used[1] + length > len(pool) or used[2] + len(ids) > len(known):
        rows[:, LENGTH] = 0
        used[:] = 0
        return
    used[0] += 1
    used[1] = scanning.add_row(rows, row, pool, used[1], data, words, place, length)
    if len(ids) == 1:
        rows[row, VALUE] = np.int64(ids[0]) << 32 | 1
        return
    rows[row, VALUE] = used[2] << 32 | len(ids)
    known[used[2] : used[2] + len(ids)] = ids
    used[2] += len(ids)
