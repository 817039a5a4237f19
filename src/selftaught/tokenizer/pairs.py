"""Compiled: merge the most frequent pair of neighbours again and again, looking only at the places where it stands.

All distinct pieces lie one after another as rows of `tokens`, each linked with its neighbours in the same piece. A hash table
has for every pair its count and a list of the places where it has been seen; places that no longer hold are skipped. All
places of a pair are found while the younger of its two tokens is made, from left to right, so the lists are in order.
"""

from __future__ import annotations

import heapq

import numba
import numpy as np

from selftaught.tokenizer.scanning import Array, Integer

_ID, _NEXT, _BEFORE, _PIECE = 0, 1, 2, 3
"""Columns of `tokens`: the token's id (-1 once it is merged away), rows of its neighbours (-1: none), number of its piece."""
_KEY, _COUNT, _HEAD, _TAIL = 0, 1, 2, 3
"""Columns of the table: left << 32 | right, how often the pair occurs, first and last row of its list in `places`."""
_USED, _PLACED = 0, 1
"""How many rows of the table and of `places` are taken."""
_EMPTY = np.int64(-1)
_PRIME = 1099511628211
_SMALLEST_TABLE = 1 << 12
_FEWEST = 2
"""A pair that occurs once is not worth a token."""


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def merge_most_frequent(ids: Array, lengths: Array, counts: Array, wanted: Integer, new: Integer) -> Array:
    """Merge pairs in pieces given as one array of `ids` (int32), cut by `lengths`, that occur `counts` times (int64).

    The first merge makes token `new`. Returns the merged pairs, most frequent first: int64 (at most wanted, 2). Of equally
    frequent pairs the one with the lower left id comes first, then the one with the lower right id.
    """
    tokens = _linked(ids, lengths)
    places = np.empty((3 * len(ids) + 1, 2), dtype=np.int32)  # at first one a pair, later two a merge
    taken = np.zeros(2, dtype=np.int64)
    table = _first_pairs(tokens, counts, places, taken)
    heap = [(-row[_COUNT], row[_KEY]) for row in table if row[_KEY] != _EMPTY and row[_COUNT] >= _FEWEST]
    heapq.heapify(heap)
    merges = np.empty((wanted, 2), dtype=np.int64)
    for made in range(wanted):
        key = _most_frequent(heap, table)
        if key == _EMPTY:
            return merges[:made]
        table, fresh = _merge(key, new + made, tokens, counts, table, places, taken)
        for born in fresh:
            count = table[_row(table, born), _COUNT]
            if count >= _FEWEST:
                heapq.heappush(heap, (-count, born))
        merges[made, 0], merges[made, 1] = key >> 32, key & 0xFFFFFFFF
    return merges


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _linked(ids: Array, lengths: Array) -> Array:
    tokens = np.empty((len(ids), 4), dtype=np.int32)
    start = 0
    for piece in range(len(lengths)):
        stop = start + lengths[piece]
        for place in range(start, stop):
            tokens[place, _ID], tokens[place, _PIECE] = ids[place], piece
            tokens[place, _NEXT] = place + 1 if place + 1 < stop else -1
            tokens[place, _BEFORE] = place - 1 if place > start else -1
        start = stop
    return tokens


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _first_pairs(tokens: Array, counts: Array, places: Array, taken: Array) -> Array:
    table = np.full((_SMALLEST_TABLE, 4), _EMPTY, dtype=np.int64)
    for place in range(len(tokens)):
        after = tokens[place, _NEXT]
        if after >= 0:
            table = _with_room(table, taken)
            key = np.int64(tokens[place, _ID]) << 32 | tokens[after, _ID]
            _add(table, places, taken, key, counts[tokens[place, _PIECE]], place)
    return table


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _most_frequent(heap: list[tuple[int, int]], table: Array) -> Integer:
    """Take the best pair from a heap of (-count, key), whose counts may be too high, never too low."""
    while len(heap) > 0:
        negative, key = heapq.heappop(heap)
        count = table[_row(table, key), _COUNT]
        if count == -negative:
            return key
        if count >= _FEWEST:
            heapq.heappush(heap, (-count, key))
    return _EMPTY


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _merge(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    key: Integer, new: Integer, tokens: Array, counts: Array, table: Array, places: Array, taken: Array
) -> tuple[Array, list[int]]:
    """Merge a pair wherever it stands; returns the table, which may have grown, and the pairs that came into being."""
    left, right = key >> 32, key & 0xFFFFFFFF
    fresh = [key for _ in range(0)]
    seen = table[_row(table, key), _HEAD]
    while seen >= 0:
        here, seen = places[seen, 0], places[seen, 1]
        after = tokens[here, _NEXT]
        if tokens[here, _ID] != left or after < 0 or tokens[after, _ID] != right:
            continue
        table = _with_room(table, taken)
        count = counts[tokens[here, _PIECE]]
        last, beyond = tokens[here, _BEFORE], tokens[after, _NEXT]
        if last >= 0:
            neighbour = np.int64(tokens[last, _ID])
            table[_row(table, neighbour << 32 | left), _COUNT] -= count
            if _add(table, places, taken, neighbour << 32 | new, count, last):
                fresh.append(neighbour << 32 | new)
        if beyond >= 0:
            neighbour = np.int64(tokens[beyond, _ID])
            table[_row(table, right << 32 | neighbour), _COUNT] -= count
            if _add(table, places, taken, new << 32 | neighbour, count, here):
                fresh.append(new << 32 | neighbour)
            tokens[beyond, _BEFORE] = here
        tokens[here, _ID], tokens[here, _NEXT], tokens[after, _ID] = new, beyond, -1
    table[_row(table, key), _COUNT] = 0
    return table, fresh


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _row(table: Array, key: Integer) -> Integer:
    """The row of a pair, or the empty row where it belongs."""
    mask = len(table) - 1
    mixed = key * _PRIME
    row = (mixed ^ mixed >> 31) & mask
    while table[row, _KEY] != key and table[row, _KEY] != _EMPTY:
        row = (row + 1) & mask
    return row


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _add(  # noqa: PLR0917 - as above
    table: Array, places: Array, taken: Array, key: Integer, count: Integer, place: Integer
) -> bool:
    """Count a pair at a place; returns whether it is new."""
    row, entry = _row(table, key), taken[_PLACED]
    taken[_PLACED] += 1
    places[entry, 0], places[entry, 1] = place, -1
    new = table[row, _KEY] == _EMPTY
    if new:
        taken[_USED] += 1
        table[row, _KEY], table[row, _COUNT], table[row, _HEAD] = key, 0, entry
    else:
        places[table[row, _TAIL], 1] = entry
    table[row, _COUNT] += count
    table[row, _TAIL] = entry
    return new  # type: ignore[no-any-return]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _with_room(table: Array, taken: Array) -> Array:
    """The table, or one of twice its size if two more pairs would fill more than half of it."""
    if 2 * (taken[_USED] + 2) <= len(table):
        return table
    larger = np.full((2 * len(table), 4), _EMPTY, dtype=np.int64)
    for row in table:
        if row[_KEY] != _EMPTY:
            larger[_row(larger, row[_KEY])] = row
    return larger
