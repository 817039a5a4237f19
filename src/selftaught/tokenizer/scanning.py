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

from selftaught.tokenizer.pieces import LETTER, SPACE

Array = np.ndarray[Any, Any]
Integer = Any
"""An integer of compiled code, where Python's and numpy's are the same."""
FIRST, SECOND, LENGTH, VALUE = 0, 1, 2, 3
"""Columns of a row; a length of 0 marks an empty one."""
OWN_KEY = 16
"""Longest piece that is its own key, in bytes."""
_PRIME, _MIXER = 1099511628211, -7046029254386353131
_PADDING = bytes(24)
"""After the text, so that words of 8 bytes can be read anywhere in it."""
_TOP_BITS, _LOW_BITS, _ONES = -0x7F7F7F7F7F7F7F80, 0x7F7F7F7F7F7F7F7F, 0x0101010101010101
_SMALL, _FROM_A, _PAST_Z = 0x20 * _ONES, (0x80 - ord("a")) * _ONES, (0x7F - ord("z")) * _ONES
_BLANK, _APOSTROPHE = ord(" "), ord("'")
_S, _T, _M, _D, _R, _V, _E, _L = (ord(letter) for letter in "stmdrvel")


def padded(text: bytes) -> tuple[Array, Array]:
    """A text as bytes, and as the little-endian word of 8 bytes that begins at each of them; both with some bytes to spare."""
    raw = text + _PADDING
    words = np.ndarray(len(raw) - 8, dtype="<i8", buffer=raw, strides=(1,))
    return np.frombuffer(raw, dtype=np.uint8), words


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
def leading_letters(word: Integer) -> Integer:
    """How many of the 8 bytes of a word are ASCII letters before the first that is none."""
    small = word & _LOW_BITS | _SMALL
    others = (~(small + _FROM_A) | small + _PAST_Z | word) & _TOP_BITS
    if others == 0:
        return 8
    return (((others & -others) - 1 & _ONES) * _ONES >> 56) - 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def run_end(data: Array, words: Array, place: Integer, end: Integer, kind: Integer, kinds: Array) -> Integer:  # noqa: PLR0917 - compiled functions take no keywords cheaply
    """Where a run of one kind ends."""
    while place < end:
        if kind == LETTER:
            letters = leading_letters(words[place])
            place += letters
            if letters == 8:
                continue
        lead = data[place]
        if lead < 0x80:
            if place >= end or kinds[lead] != kind:
                break
            place += 1
        else:
            point, size = character(data, place)
            if kinds[point] != kind:
                break
            place += size
    return place


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def piece_end(data: Array, words: Array, place: Integer, end: Integer, kinds: Array) -> Integer:
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
        return run_end(data, words, place + size, end, kind, kinds)
    stop = run_end(data, words, place, end, SPACE, kinds)
    if stop == end:
        return stop
    # White space gives its last character to what follows it, unless it has no other.
    last = stop - 1
    while data[last] & 0xC0 == 0x80:
        last -= 1
    return stop if last == start else last


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def key_of(words: Array, start: Integer, length: Integer) -> tuple[Integer, Integer]:
    """Key words of a piece; for a long one a hash and -1."""
    if length <= 8:
        return words[start] & low_bytes(length), np.int64(0)
    if length <= OWN_KEY:
        return words[start], words[start + 8] & low_bytes(length - 8)
    mixed = np.int64(0)
    for offset in range(0, length, 8):
        mixed = (mixed ^ words[start + offset] & low_bytes(min(8, length - offset))) * _MIXER
        mixed ^= mixed >> 32
    return mixed, np.int64(-1)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def low_bytes(count: Integer) -> Integer:
    """A mask of the lowest 1 to 8 bytes of a word."""
    return np.int64(-1) if count == 8 else (np.int64(1) << 8 * count) - 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def first_row(rows: Array, first: Integer, second: Integer, length: Integer) -> Integer:
    """Where the search for a key begins; a long piece's second word, which is a place, plays no part."""
    mixed = (first ^ length) * _MIXER ^ (second * _PRIME if length <= OWN_KEY else 0)
    return (mixed ^ mixed >> 29) & len(rows) - 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def free_row(rows: Array, first: Integer, second: Integer, length: Integer) -> Integer:
    """The empty row where a key belongs that the table does not hold."""
    row = first_row(rows, first, second, length)
    while rows[row, LENGTH] != 0:
        row = row + 1 & len(rows) - 1
    return row


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def row_of(  # noqa: PLR0917 - as above
    rows: Array, pool: Array, data: Array, words: Array, start: Integer, length: Integer
) -> Integer:
    """The row of a piece, or the empty row where it belongs."""
    first, second = key_of(words, start, length)
    mask, row = len(rows) - 1, first_row(rows, first, second, length)
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
    rows: Array, row: Integer, pool: Array, pooled: Integer, data: Array, words: Array, start: Integer, length: Integer
) -> Integer:
    """Fill an empty row with a piece (its value stays 0) and return how much of the pool is used then."""
    first, second = key_of(words, start, length)
    if length > OWN_KEY:
        second = pooled
        pool[pooled : pooled + length] = data[start : start + length]
        pooled += length
    rows[row, FIRST], rows[row, SECOND], rows[row, LENGTH] = first, second, length
    return pooled
