"""Byte-pair encoding as one would explain it: everything is counted again after each merge."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import regex

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
Merge = tuple[bytes, bytes]


def cut(text: str) -> list[list[bytes]]:
    return [[bytes([byte]) for byte in piece.encode()] for piece in PATTERN.findall(text)]


def apply(merge: Merge, word: list[bytes]) -> list[bytes]:
    done: list[bytes] = []
    rest = list(word)
    while rest:
        hit = tuple(rest[:2]) == merge
        done.append(rest[0] + rest[1] if hit else rest[0])
        rest = rest[2 if hit else 1 :]
    return done


def learn(texts: list[str], wanted: int, order: list[bytes]) -> list[Merge]:
    """`order` lists the 256 bytes by id; ties go to the lower left id, then the lower right id."""
    words, ids, merges = [word for text in texts for word in cut(text)], {token: n for n, token in enumerate(order)}, []
    for number in range(wanted):
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or counts[best] < 2:
            break
        merges.append(best)
        ids[best[0] + best[1]] = 256 + number
        words = [apply(best, word) for word in words]
    return merges


def encode(text: str, merges: list[Merge]) -> list[bytes]:
    """Tokens of a text: in each piece the earliest merge first, wherever it fits, as OpenAI's encoder.py does."""
    ranks, tokens = {merge: rank for rank, merge in enumerate(merges)}, []
    for word in cut(text):
        while fits := [pair for pair in pairwise(word) if pair in ranks]:
            word = apply(min(fits, key=ranks.__getitem__), word)  # noqa: PLW2901
        tokens += word
    return tokens
