"""Hashes of word n-grams: the paper's normal form of text (lower-cased alphanumeric words) at the speed of reading it.

A word is a longest run of letters and digits (Unicode: `str.isalnum`) of the lower-cased text; anything else separates words.
(GPT-2 paper, section 4: "lower-cased alphanumeric words with a single space as a delimiter".)
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

HASH_BITS = 64
_UNICODE = 0x110000


def words(text: str) -> list[str]:
    """The words of a text, in order: what the hashes stand for."""
    return "".join(sign if sign.isalnum() else " " for sign in text.lower()).split()


def ngram_hashes(text: str, n: int) -> np.ndarray[Any, Any]:
    """A 64-bit hash of every n words that follow one another (uint64, length max(0, words - n + 1))."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return np.asarray(_hash_ngrams(codes, _is_alphanumeric(), n))


@cache
def _is_alphanumeric() -> np.ndarray[Any, Any]:
    return np.array([chr(code).isalnum() for code in range(_UNICODE)], dtype=np.bool_)


@numba.njit(cache=True, nogil=True)
def _hash_ngrams(codes, alphanumeric, n):  # type: ignore[no-untyped-def]
    """Hash words as they are read (FNV-1a over code points, then a mixing step), n-grams as a polynomial of word hashes."""
    one, multiplier = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)
    leaving = one
    for _ in range(n):
        leaving *= multiplier
    hashes = np.empty(len(codes) // 2 + 1, dtype=np.uint64)
    ring = np.zeros(n, dtype=np.uint64)
    rolling, word, count, found, inside = np.uint64(0), np.uint64(0), 0, 0, False
    for place in range(len(codes) + 1):
        if place < len(codes) and alphanumeric[codes[place]]:
            if not inside:
                word, inside = np.uint64(0xCBF29CE484222325), True
            word = (word ^ np.uint64(codes[place])) * np.uint64(0x100000001B3)
        elif inside:
            inside = False
            word = _mixed(word)
            rolling = rolling * multiplier + word - ring[count % n] * leaving
            ring[count % n] = word
            count += 1
            if count >= n:
                hashes[found] = _mixed(rolling)
                found += 1
    return hashes[:found].copy()


@numba.njit(cache=True, nogil=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    """The finishing step of splitmix64: every bit of the value reaches every bit of the hash."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
