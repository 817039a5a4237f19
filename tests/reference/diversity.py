"""Distinct n-grams and BLEU the slow way, as their papers write them down."""

from __future__ import annotations

import math

from tests.reference.ngrams import ngrams


def distinct(texts: list[str], n: int) -> float:
    """Distinct n-grams / n-grams."""
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def bleu(text: str, references: list[str]) -> float:
    """BLEU-4 with 1 added to the counts from n = 2 on, over the orders that the text is long enough for."""
    logs = []
    for n in (1, 2, 3, 4):
        own = ngrams(text, n)
        if not own:
            break
        matches = sum(min(own.count(g), max(ngrams(one, n).count(g) for one in references)) for g in set(own))
        smooth = 1 if n > 1 else 0
        if matches + smooth == 0:
            return 0.0
        logs.append(math.log((matches + smooth) / (len(own) + smooth)))
    if not logs:
        return 0.0
    length = len(text.split())
    nearest = min((len(one.split()) for one in references), key=lambda size: (abs(size - length), size))
    return min(1.0, math.exp(1 - nearest / length)) * math.exp(sum(logs) / len(logs))
