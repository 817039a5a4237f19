"""How unlike several continuations of one context are: distinct n-grams and self-BLEU, on words in normal form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDERS = (1, 2, 3, 4)


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n words in a row occur."""
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def distinct(texts: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """For n = 1 to 4: distinct n-grams of all texts / all their n-grams (Li and others 2016); 0 where there are none."""
    shares = []
    for n in ORDERS:
        counts: Counter[tuple[str, ...]] = sum((ngrams(text, n) for text in texts), Counter())
        shares.append(len(counts) / counts.total() if counts else 0.0)
    return tuple(shares)


def self_bleu(texts: Sequence[Sequence[str]]) -> float:
    """Mean BLEU of each text with all others as its references (Zhu and others 2018), 0 to 1."""
    others = [[*texts[:number], *texts[number + 1 :]] for number in range(len(texts))]
    return sum(map(bleu, texts, others)) / len(texts)


def bleu(text: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of one text: geometric mean of clipped precisions for n = 1 to 4, times the brevity penalty.

    A text too short for some n is measured without it. From n = 2 on, 1 is added to both sides of a precision (Lin and Och
    2004), so that one n without a match does not make the whole 0.
    """
    precisions = []
    for n in ORDERS:
        own = ngrams(text, n)
        if not own:
            break
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= ngrams(reference, n)
        added = n > 1
        precisions.append(((own & most).total() + added) / (own.total() + added))
    if not precisions or not precisions[0]:
        return 0.0
    nearest = min((abs(len(reference) - len(text)), len(reference)) for reference in references)[1]
    brevity = min(1.0, math.exp(1 - nearest / len(text)))
    return brevity * math.exp(sum(map(math.log, precisions)) / len(precisions))
