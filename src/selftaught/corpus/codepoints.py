"""What Unicode's code points are, as tables by number that compiled code and numpy look signs up in; made in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

UNICODE = 0x110000
_NAMED = 0x40000
"""No code point from here on is a letter, a digit or blank, or has another case."""
Array = np.ndarray[Any, Any]


def codes_of(text: str) -> Array:
    """The code points of a text: as bytes if it is ASCII, else 32 bits each."""
    if text.isascii():
        return np.frombuffer(text.encode(), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@cache
def alphabetic() -> Array:
    """For each code point whether it is a letter (0 or 1)."""
    return _table(np.strings.isalpha(_signs()))


@cache
def alphanumeric() -> Array:
    """For each code point whether it is a letter or digit (0 or 1)."""
    return _table(np.strings.isalnum(_signs()))


@cache
def blank() -> Array:
    """For each code point whether it is white space (0 or 1)."""
    return _table(np.strings.isspace(_signs()))


@cache
def lowered() -> Array:
    """For each code point its lower case; of dotted capital I, whose lower case is two signs, the first."""
    codes = np.arange(UNICODE, dtype=np.uint32)
    signs = _signs().tobytes().decode("utf-32-le", "surrogatepass").replace("\u0130", "i")
    codes[:_NAMED] = np.frombuffer(signs.lower().encode("utf-32-le", "surrogatepass"), "<u4")
    return codes


@cache
def folded() -> Array:
    """For each code point its lower case where that is a letter or digit, else 0."""
    codes = lowered()
    return np.asarray(codes * alphanumeric()[codes])


def _signs() -> Array:
    """All that may be something, none of which has an influence on the lower case of another where they stand in order."""
    return np.arange(_NAMED, dtype="<u4").view("<U1")


def _table(found: Array) -> Array:
    table = np.zeros(UNICODE, dtype=np.uint8)
    table[: len(found)] = found
    return table
