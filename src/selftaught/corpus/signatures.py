"""What is kept of a text to tell whether another is the same: an exact key, its shingles, and the keys of its MinHash bands.

Texts are looked at many at a time, as joined UTF-8, so that compiled code goes over them and nothing is made for each one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from selftaught.corpus import codepoints
from selftaught.corpus.ngrams import decoded, joined, ngram_hashes_in

SHINGLE_WORDS, MINIMA = 5, 126
_DRAW = np.random.default_rng(20190214)
_FACTORS = _DRAW.integers(1, 1 << 31, MINIMA, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_TERMS = _DRAW.integers(0, 1 << 32, MINIMA, dtype=np.uint32)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Signatures:
    """Of some texts: `keys` (uint64, two a text), `bands` (uint64, a row a text), `shingles` (uint32) one text after another.

    `ends` says how many shingles there are up to the end of each text. They are in the order of the text, some more than once.
    """

    keys: Array
    bands: Array
    shingles: Array
    ends: Array


def signatures_of(texts: Sequence[str], rows: int) -> Signatures:
    """What is kept of some texts, with so many minima in a band; minima that fill no band are left out."""
    data = joined(texts)
    hashes, ends = ngram_hashes_in(data, len(texts), SHINGLE_WORDS)
    shingles = (hashes >> np.uint64(32)).astype(np.uint32)
    bands = np.empty((len(texts), MINIMA // rows), dtype=np.uint64)
    _band_keys(shingles, ends, (_FACTORS, _TERMS), rows, bands)
    keys = np.zeros((len(texts), 2), dtype=np.uint64)
    if texts:
        _exact_keys(np.frombuffer(data, dtype=np.uint8), codepoints.lowered(), keys)
    return Signatures(keys, bands, shingles, ends)


@numba.njit(cache=True, nogil=True)
def _exact_keys(data, lowered, keys):  # type: ignore[no-untyped-def]
    """128 bits of each text: of its lower case with every run of white space taken as one blank, and none at the ends."""
    packed = np.empty(2 * len(data) + 8, dtype=np.uint8)
    number, place, size, blank = 0, 0, 0, 1
    while place <= len(data):
        sign = data[place] if place < len(data) else np.uint8(0xFF)
        if sign < 0x80:  # a blank is written over by the next one; asking for it would be guessed wrong at every word
            white = int((sign == 32) | (np.uint8(sign - np.uint8(9)) < 5))
            capital = np.uint8(np.uint8(sign - np.uint8(65)) < 26)
            packed[size] = np.uint8(32) if white else np.uint8(sign + (capital << np.uint8(5)))
            size += 1 - (white & blank)
            blank = white
            place += 1
        elif sign < 0xFE:
            code, place = decoded(data, place)
            code = lowered[code]
            blank = 0
            if code < 0x80:  # the lower case of the Kelvin sign is k
                packed[size] = code
                size += 1
                continue
            packed[size] = 0xFF  # which nothing else begins with: the rest is its number
            for part in range(1, 4):
                packed[size + part] = (code >> np.uint32(8 * (part - 1))) & np.uint32(0xFF)
            size += 4
        else:
            _hash_bytes(packed, size - blank if size else 0, keys[number])
            number, size, blank = number + 1, 0, 1
            place += 1


@numba.njit(cache=True, nogil=True)
def _hash_bytes(packed, size, key):  # type: ignore[no-untyped-def]
    """Two 64-bit hashes (multiply and shift) of the first bytes, eight at a time; the rest of the eighth is written over."""
    for place in range(size, size + 8):
        packed[place] = 0
    one, other = np.uint64(0xCBF29CE484222325) ^ np.uint64(size), np.uint64(0x84222325CBF29CE4)
    for value in packed[: (size + 7) // 8 * 8].view(np.uint64):
        one = (one ^ value) * np.uint64(0x9E3779B97F4A7C15)
        one ^= one >> np.uint64(32)
        other = (other + value) * np.uint64(0xD6E8FEB86659FD93)
        other ^= other >> np.uint64(29)
    key[0], key[1] = one, other


@numba.njit(cache=True, nogil=True)
def _minima(shingles, factors, terms):  # type: ignore[no-untyped-def]
    """MinHash signature: for each of the hash functions the least value over all shingles (32 bits)."""
    least = np.empty(len(factors), dtype=np.uint32)
    for k in range(len(factors)):  # one function after another, so that its least value stays in a register
        factor, term, lowest = factors[k], terms[k], np.uint32(0xFFFFFFFF)
        for place in range(len(shingles)):
            lowest = min(lowest, np.uint32(np.uint32(shingles[place] * factor) + term))
        least[k] = lowest
    return least


@numba.njit(cache=True, nogil=True)
def _band_keys(shingles, ends, functions, rows, keys):  # type: ignore[no-untyped-def]
    """One 64-bit key for each band of the minima of each text."""
    start = 0
    for number in range(len(ends)):
        signature = _minima(shingles[start : ends[number]], functions[0], functions[1])
        start = ends[number]
        for band in range(keys.shape[1]):
            value = np.uint64(0xCBF29CE484222325)
            for row in range(rows):
                value = (value ^ np.uint64(signature[band * rows + row])) * np.uint64(0x9E3779B97F4A7C15)
                value ^= value >> np.uint64(29)
            keys[number, band] = value
