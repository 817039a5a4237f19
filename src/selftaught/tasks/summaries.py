"""CNN and Daily Mail articles with their highlights, and ROUGE (GPT-2 paper, section 3.6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught import compute
from selftaught.errors import MissingExtraError
from selftaught.tasks.rows import malformed, read_rows
from selftaught.tasks.sentences import split_sentences

CNN_DM_FILES = ("cnn_dm/test.jsonl", "cnn_dm/test_first500.jsonl")
"""The whole test set (11,490 articles), or a part of it."""
SENTENCES = 3
"""Of what is written that count as the summary."""
HINT = "\nTL;DR:"
MEASURES = {"1": "rouge1", "2": "rouge2", "l": "rougeLsum"}
"""Our name -> rouge-score's; `Lsum`: the longest common subsequence sentence by sentence, as ROUGE-1.5.5 counts it."""


@dataclass(frozen=True, kw_only=True)
class Article:
    """A news article and its highlights, one a line."""

    id: str
    article: str
    highlights: str


@dataclass(frozen=True, kw_only=True)
class Rouge:
    """F1 of words, of pairs of words, of longest common subsequences, and their mean."""

    rouge_1: float
    rouge_2: float
    rouge_l: float

    @property
    def rouge_average(self) -> float:
        """The paper's R-AVG."""
        return (self.rouge_1 + self.rouge_2 + self.rouge_l) / 3


def read_articles(data: Path) -> list[Article]:
    """The articles of the test set; InputError for one that has no text or no highlights, or an id that is there twice."""
    path = next((data / file for file in CNN_DM_FILES if (data / file).exists()), data / CNN_DM_FILES[0])
    found: dict[str, Article] = {}
    for number, row in read_rows(path, Article):
        if not row.article.strip() or not row.highlights.strip() or row.id in found:
            raise malformed(path, number, expected="an id of its own, an article and its highlights")
        found[row.id] = row
    return list(found.values())


def summary_of(text: str) -> list[str]:
    """The first three sentences."""
    return split_sentences(text)[:SENTENCES]


def random_three(article: Article, seed: int) -> list[str]:
    """Three sentences drawn by the seed, in the order of the article."""
    sentences = split_sentences(article.article)
    draw = random.Random(compute.seed_of("random three", seed, article.id))
    places = draw.sample(range(len(sentences)), min(SENTENCES, len(sentences)))
    return [sentences[place] for place in sorted(places)]


def prompt(
    article: Article, *, hint: str, room: int, length: Callable[[str], int], part: Callable[[str, int], str]
) -> tuple[str, bool]:
    """The article and the hint in at most `room` tokens, and whether only a `part` of the article is there."""
    text = article.article.strip()
    kept = text
    while (over := length(kept + hint) - room) > 0 and kept:
        kept = part(kept, max(0, length(kept) - over))
    return kept + hint, kept != text


class RougeScorer:
    """ROUGE F1 with Porter's stemmer. Raises MissingExtraError where rouge-score is not installed."""

    def __init__(self) -> None:
        try:
            from rouge_score import rouge_scorer
        except ImportError as problem:
            raise MissingExtraError("rouge-score", "evaluate") from problem
        self._scorer: Any = rouge_scorer.RougeScorer(list(MEASURES.values()), use_stemmer=True)

    def score(self, summary: Sequence[str], highlights: str) -> Rouge:
        """Score the sentences of a summary against highlights, one a line."""
        found = self._scorer.score(highlights, "\n".join(summary))
        return Rouge(**{f"rouge_{ours}": float(found[theirs].fmeasure) for ours, theirs in MEASURES.items()})
