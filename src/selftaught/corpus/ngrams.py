"""Hashes of word n-grams: the paper's normal form of text (lower-cased alphanumeric words) at the speed of reading it.

A word is a longest run of letters and digits (Unicode: `str.isalnum`) of the lower-cased text; anything else separates words.
(GPT-2 paper, section 4: "lower-cased alphanumeric words with a single space as a delimiter".)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from selftaught.corpus import codepoints

_BREAK, _MARK = b"\xff", b"\xfe"
"""Bytes that UTF-8 does not have, between texts: n-grams end there, or go on."""
_LOWERED_IN_CONTEXT = "\u0130\u03a3"
"""Dotted capital I, whose lower case is two signs, and capital sigma, whose lower case depends on its place in the word; every
other sign is lowered by itself."""


def words(text: str) -> list[str]:
    """The words of a text, in order: what the hashes stand for."""
    return "".join(sign if sign.isalnum() else " " for sign in text.lower()).split()


def word_places(text: str) -> tuple[list[int], list[int]]:
    """Where each of `words(text)` begins and ends in the text as it is written."""
    starts, ends, inside = [], [], False
    for place, sign in enumerate(text):
        # One sign is lowered to two, of which the second, a combining dot, ends the word.
        parts = [part.isalnum() for part in sign.lower()]
        if parts[0] and not inside:
            starts.append(place)
        elif inside and not parts[0]:
            ends.append(place)
        inside = parts[0]
        if inside and not all(parts):
            ends.append(place + 1)
            inside = False
    return starts, [*ends, len(text)] if inside else ends


def ngram_hashes(text: str, n: int) -> np.ndarray[Any, Any]:
    """A 64-bit hash of every n words that follow one another (uint64, length max(0, words - n + 1))."""
    return ngram_hashes_of((text,), n)[0]


def ngram_hashes_of(
    texts: Sequence[str], n: int, *, stream: bool = False
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The hashes of many texts' n-grams one after another, and for each text how many there are up to its end.

    With `stream` n-grams reach from one text into the next; each counts for the text that it ends in.
    """
    return ngram_hashes_in(joined(texts, stream=stream), len(texts), n)


def joined(texts: Sequence[str], *, stream: bool = False) -> bytes:
    """Texts in UTF-8 with a byte between them that UTF-8 does not have: 0xFF, or 0xFE within a stream."""
    return (_MARK if stream else _BREAK).join([_encoded(text) for text in texts])


def ngram_hashes_in(data: bytes, count: int, n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """`ngram_hashes_of` for so many texts that are joined already."""
    hashes = np.empty(len(data) // 2 + 1, dtype=np.uint64)
    ends = np.zeros(count, dtype=np.int64)
    found: int = _hash_ngrams(np.frombuffer(data, dtype=np.uint8), codepoints.folded(), n, hashes, ends)
    return hashes[:found].copy(), ends


def _encoded(text: str) -> bytes:
    if not text.isascii() and any(sign in text for sign in _LOWERED_IN_CONTEXT):
        text = text.lower()
    return text.encode("utf-8", "surrogatepass")


@numba.njit(cache=True, nogil=True)
def _hash_ngrams(data, folded, n, hashes, ends):  # type: ignore[no-untyped-def]  # noqa: C901 - one loop, one look at each byte
    """Write the hashes of UTF-8 texts into `hashes`, how many up to the end of each text into `ends`, and return how many.

    Words are hashed as they are read (FNV-1a over code points, then a mixing step), n-grams as a polynomial of word hashes.
    """
    one, empty = np.uint64(1), np.uint64(0xCBF29CE484222325)
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    leaving = one
    for _ in range(n):
        leaving *= multiplier
    ring = np.zeros(n, dtype=np.uint64)
    rolling, word, count, slot, found, place, number = np.uint64(0), empty, 0, 0, 0, 0, 0
    while place <= len(data):
        sign, separator = np.uint32(0), 0
        if place == len(data):
            separator = 0xFE
            place += 1
        elif data[place] < 0x80:
            sign = folded[data[place]]
            place += 1
        elif data[place] >= 0xFE:
            separator = data[place]
            place += 1
        else:
            code, place = decoded(data, place)
            sign = folded[code]
        if sign:
            word = (word ^ np.uint64(sign)) * np.uint64(0x100000001B3)
        elif word != empty:
            word = _mixed(word)
            rolling = rolling * multiplier + word - ring[slot] * leaving
            ring[slot], word = word, empty
            slot = slot + 1 if slot + 1 < n else 0
            count += 1
            if count >= n:
                hashes[found] = _mixed(rolling)
                found += 1
        if separator:
            if number < len(ends):
                ends[number] = found
            number += 1
            if separator == 0xFF:
                rolling, count, slot = np.uint64(0), 0, 0
                ring[:] = 0
    return found


@numba.njit(cache=True, nogil=True)
def decoded(data, place):  # type: ignore[no-untyped-def]
    """The code point of two to four bytes at a place, and the place after it."""
    first = np.uint32(data[place])
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    code = first & np.uint32(0xFF >> (length + 1))
    for offset in range(1, length):
        code = (code << np.uint32(6)) | (np.uint32(data[place + offset]) & np.uint32(0x3F))
    return code, place + length


@numba.njit(cache=True, nogil=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    """The finishing step of splitmix64: every bit of the value reaches every bit of the hash."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
