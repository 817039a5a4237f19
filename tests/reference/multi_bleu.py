"""BLEU of tokenised text as Papineni and others (2002) define it for a corpus, with one reference and without smoothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, log


def multi_bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """In per cent; 0 where no n-gram of some length up to four is right."""
    right, said = Counter[int](), Counter[int]()
    for one, other in zip(translations, references, strict=True):
        for n in range(1, 5):
            ours, theirs = (
                Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
                for words in (one.split(), other.split())
            )
            right[n] += (ours & theirs).total()
            said[n] += ours.total()
    if not all(right[n] for n in range(1, 5)):
        return 0.0
    short = sum(len(one.split()) for one in references) / said[1]
    return 100 * min(1.0, exp(1 - short)) * exp(sum(log(right[n] / said[n]) for n in range(1, 5)) / 4)
