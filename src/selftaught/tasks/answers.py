"""Answers to questions compared word by word, as the official scripts of SQuAD and CoQA do."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(answer: str) -> str:
    """In lower case, without ASCII punctuation and articles, blanks squeezed."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def is_exact(answer: str, reference: str) -> bool:
    """Whether two answers are the same in normal form."""
    return normal(answer) == normal(reference)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of words, as multisets; of empty answers, whether both are."""
    ours, theirs = normal(answer).split(), normal(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def best_f1(answer: str, references: Sequence[str]) -> float:
    """Against the reference that is nearest."""
    return max(f1(answer, reference) for reference in references)


def best_exact(answer: str, references: Sequence[str]) -> bool:
    """Whether any reference is the same."""
    return any(is_exact(answer, reference) for reference in references)


def left_out_f1(answer: str, references: Sequence[str]) -> float:
    """CoQA's: the mean over references of the best among the others, so that people are judged in the same way."""
    return _left_out([f1(answer, reference) for reference in references])


def left_out_exact(answer: str, references: Sequence[str]) -> float:
    """CoQA's exact match, by the same rule."""
    return _left_out([float(is_exact(answer, reference)) for reference in references])


def _left_out(scores: Sequence[float]) -> float:
    if len(scores) == 1:
        return scores[0]
    return sum(max([*scores[:place], *scores[place + 1 :]]) for place in range(len(scores))) / len(scores)
