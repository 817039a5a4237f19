"""Pre-tokenisation: text is cut into pieces that merges never cross (GPT-2 paper, section 2.2).

A piece is a contraction, or letters, or digits, or other signs, each with at most one leading blank, or white space.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern of OpenAI's encoder.py."""
_ASCII_PATTERN = r" ?[A-Za-z]+| ?[0-9]+|'(?:[stmd]|re|ve|ll)| ?[^ \t-\rA-Za-z0-9]+|[ \t-\r]+(?![^ \t-\r])|[ \t-\r]+"
"""The same for text of ASCII alone: there the standard library's `re` will do, at more than twice the speed."""
OTHER, LETTER, DIGIT, SPACE = 0, 1, 2, 3
"""The four kinds of character that the pattern tells apart."""


@cache
def _finders() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    import re

    import regex

    return re.compile(_ASCII_PATTERN).findall, regex.compile(PATTERN).findall


def pieces(text: str) -> list[str]:
    """Cut a text into pieces; joined, they are the text again."""
    ascii_only, any_text = _finders()
    return ascii_only(text) if text.isascii() else any_text(text)


@cache
def kinds() -> np.ndarray[Any, Any]:
    """The kind of every code point, as the installed `regex` knows Unicode: uint8 of 0x110000."""
    import numpy as np
    import regex

    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    table = np.full(len(everything), OTHER, dtype=np.uint8)
    for kind, pattern in ((LETTER, r"\p{L}+"), (DIGIT, r"\p{N}+"), (SPACE, r"\s+")):
        for run in regex.finditer(pattern, everything):
            table[run.start() : run.end()] = kind
    return table


def utf8(text: str) -> bytes:
    """A text as UTF-8, after `well_formed`: what tokens are made of."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return well_formed(text).encode()


def well_formed(text: str) -> str:
    """Text with surrogate pairs joined and every lone surrogate replaced by U+FFFD, since UTF-8 has no form for them.

    tiktoken does the same.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
