"""Word n-grams the slow way."""

from __future__ import annotations

import re


def ngrams(text: str, n: int) -> list[str]:
    """Every n words in a row, lower-cased, one blank between them."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]


def jaccard(left: str, right: str, n: int) -> float:
    """Similarity of two texts' sets of n-grams."""
    first, second = set(ngrams(left, n)), set(ngrams(right, n))
    return len(first & second) / len(first | second)
