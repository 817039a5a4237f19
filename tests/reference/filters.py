"""Filters as their sources describe them, sign by sign and group by group."""

from __future__ import annotations

from collections import Counter

from selftaught.corpus.ngrams import words


def letters_signs_words(text: str) -> tuple[int, int, int]:
    """Letters, signs that are not blank, and words between blanks."""
    signs = "".join(text.split())
    return sum(map(str.isalpha, signs)), len(signs), len(text.split())


def says_the_same(text: str) -> bool:
    """Gopher, table A1: whether a group of 2, 3 or 4 words makes up 20, 18 or 16 % of at least 50 groups."""
    for n, highest in ((2, 0.20), (3, 0.18), (4, 0.16)):
        found = words(text)
        groups = Counter(tuple(found[start : start + n]) for start in range(len(found) - n + 1))
        most = max(groups.values(), default=0)
        if groups.total() >= 50 and most > 1 and most * n > highest * groups.total():
            return True
    return False
