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
    return _table(bytes(map(str.isalpha, _signs())), np.uint8)


@cache
def alphanumeric() -> Array:
    """For each code point whether it is a letter or digit (0 or 1)."""
    return _table(bytes(map(str.isalnum, _signs())), np.uint8)


@cache
def blank() -> Array:
    """For each code point whether it is white space (0 or 1)."""
    return _table(bytes(map(str.isspace, _signs())), np.uint8)


@cache
def lowered() -> Array:
    """For each code point its lower case; of dotted capital I, whose lower case is two signs, the first."""
    codes = np.arange(UNICODE, dtype=np.uint32)
    codes[:_NAMED] = np.frombuffer(_signs().replace("\u0130", "i").lower().encode("utf-32-le", "surrogatepass"), "<u4")
    return codes


@cache
def folded() -> Array:
    """For each code point its lower case where that is a letter or digit, else 0."""
    codes = lowered()
    return np.asarray(codes * alphanumeric()[codes])


def _signs() -> str:
    """All that may be something, none of which has an influence on the lower case of another where they stand in order."""
    return "".join(map(chr, range(_NAMED)))


def _table(values: bytes, dtype: type[np.generic]) -> Array:
    table = np.zeros(UNICODE, dtype=dtype)
    table[: len(values)] = np.frombuffer(values, dtype=dtype)
    return table
