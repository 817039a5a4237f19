"""Compiled: cut UTF-8 into pieces as `pieces.PATTERN` does, and remember them in a hash table.

A table has one row of four integers for each piece: two key words, the length, a value. A piece of up to 16 bytes is its
own key; a longer one has its hash as the first word and, as the second, its place in a pool of bytes. So a look-up is
exact, and touches a single cache line for nearly every piece of ordinary text.

Numba keeps machine code by the file of the outermost function: after a change here, remove __pycache__ of this folder.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from selftaught.tokenizer.pieces import SPACE

Array = np.ndarray[Any, Any]
Integer = Any
"""An integer of compiled code, where Python's and numpy's are the same."""
FIRST, SECOND, LENGTH, VALUE = 0, 1, 2, 3
"""Columns of a row; a length of 0 marks an empty one."""
OWN_KEY = 16
"""Longest piece that is its own key, in bytes."""
_PRIME, _MIXER = 1099511628211, -7046029254386353131
_BLANK, _APOSTROPHE = ord(" "), ord("'")
_S, _T, _M, _D, _R, _V, _E, _L = (ord(letter) for letter in "stmdrvel")


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def character(data: Array, place: Integer) -> tuple[Integer, Integer]:
    """Code point at a place of well-formed UTF-8, and how many bytes it takes."""
    lead = np.int64(data[place])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | data[place + 1] & 0x3F, 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (data[place + 1] & 0x3F) << 6 | data[place + 2] & 0x3F, 3
    high = (lead & 0x07) << 18 | (data[place + 1] & 0x3F) << 12
    return high | (data[place + 2] & 0x3F) << 6 | data[place + 3] & 0x3F, 4


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def contraction(data: Array, place: Integer, end: Integer) -> Integer:
    """Length of 's 't 'm 'd 're 've 'll at a place, 0 if there is none."""
    if data[place] != _APOSTROPHE or place + 1 >= end:
        return 0
    first = data[place + 1]
    if first in (_S, _T, _M, _D):
        return 2
    if place + 2 < end:
        second = data[place + 2]
        if (first in (_R, _V) and second == _E) or (first == _L and second == _L):
            return 3
    return 0


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def run_end(data: Array, place: Integer, end: Integer, kind: Integer, kinds: Array) -> Integer:
    """Where a run of one kind ends."""
    while place < end:
        lead = data[place]
        if lead < 0x80:
            if kinds[lead] != kind:
                break
            place += 1
        else:
            point, size = character(data, place)
            if kinds[point] != kind:
                break
            place += size
    return place


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def piece_end(data: Array, place: Integer, end: Integer, kinds: Array) -> Integer:
    """Where the piece that begins at a place ends."""
    start = place
    if data[place] == _BLANK and place + 1 < end:
        place += 1
    elif data[place] == _APOSTROPHE:
        short = contraction(data, place, end)
        if short:
            return place + short
    point, size = character(data, place)
    kind = kinds[point]
    if kind != SPACE:
        return run_end(data, place + size, end, kind, kinds)
    stop = run_end(data, place, end, SPACE, kinds)
    if stop == end:
        return stop
    # White space gives its last character to what follows it, unless it has no other.
    last = stop - 1
    while data[last] & 0xC0 == 0x80:
        last -= 1
    return stop if last == start else last


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def key_of(data: Array, start: Integer, length: Integer) -> tuple[Integer, Integer]:
    """Key words of a piece; for a long one the hash and -1."""
    first, second = np.int64(0), np.int64(0)
    if length <= OWN_KEY:
        for offset in range(min(length, 8)):
            first |= np.int64(data[start + offset]) << (8 * offset)
        for offset in range(8, length):
            second |= np.int64(data[start + offset]) << (8 * (offset - 8))
        return first, second
    for offset in range(length):
        first = (first ^ np.int64(data[start + offset])) * _PRIME
    return first ^ first >> 32, np.int64(-1)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def row_of(rows: Array, pool: Array, data: Array, start: Integer, length: Integer) -> Integer:
    """The row of a piece, or the empty row where it belongs."""
    first, second = key_of(data, start, length)
    mask = len(rows) - 1
    mixed = (first ^ length) * _MIXER ^ second * _PRIME
    row = (mixed ^ mixed >> 29) & mask
    while rows[row, LENGTH] != 0:
        if rows[row, FIRST] == first and rows[row, LENGTH] == length:
            if length <= OWN_KEY:
                if rows[row, SECOND] == second:
                    return row
            elif same_bytes(pool, rows[row, SECOND], data, start, length):
                return row
        row = (row + 1) & mask
    return row


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def same_bytes(pool: Array, place: Integer, data: Array, start: Integer, length: Integer) -> bool:
    """Whether the pool holds these bytes at a place."""
    for offset in range(length):  # noqa: SIM110 - compiled, where a plain loop is fastest
        if pool[place + offset] != data[start + offset]:
            return False
    return True


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def add_row(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    rows: Array, row: Integer, pool: Array, pooled: Integer, data: Array, start: Integer, length: Integer
) -> Integer:
    """Fill an empty row with a piece (its value stays 0) and return how much of the pool is used then."""
    first, second = key_of(data, start, length)
    if length > OWN_KEY:
        second = pooled
        pool[pooled : pooled + length] = data[start : start + length]
        pooled += length
    rows[row, FIRST], rows[row, SECOND], rows[row, LENGTH] = first, second, length
    return pooled
