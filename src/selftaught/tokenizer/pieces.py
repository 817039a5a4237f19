"""Pre-tokenisation: text is cut into pieces that merges never cross (GPT-2 paper, section 2.2).

A piece is a contraction, or letters, or digits, or other signs, each with at most one leading blank, or white space.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern of OpenAI's encoder.py."""


@cache
def _compiled() -> Any:
    import regex

    return regex.compile(PATTERN)


def pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces; joined, they are the text again."""
    return iter(_compiled().findall(text))


def well_formed(text: str) -> str:
    """Text with every lone surrogate replaced by U+FFFD and surrogate pairs joined, since UTF-8 has no form for them.

    tiktoken does the same.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
