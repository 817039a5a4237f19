"""The longest stretch of each text that stands word for word in a corpus, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes, words
from selftaught.overlap.wanted import Wanted
from selftaught.report.overlap_records import CopiedSpan

_PLACES = 64
"""Places of one n-gram in the texts that are followed; more are the same text over and over."""


@dataclass(frozen=True)
class Run:
    """n-grams that follow one another in a text and in a document alike."""

    length: int
    start: int
    """Number of the first word in the text."""
    position: int
    """Number of the first word in the document."""


def longest_copies(texts: Sequence[tuple[str, str]], corpus: Iterable[Document], n: int) -> list[CopiedSpan]:
    """For each of (name, text) the longest run of words, of at least n, that a document of the corpus holds too.

    One pass over the corpus; of equally long runs the first is told. Texts without such a run are left out.
    """
    index: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (_, text) in enumerate(texts):
        for place, value in enumerate(ngram_hashes(text, n).tolist()):
            index[value].append((number, place))
    wanted = Wanted(np.fromiter(index, dtype=np.uint64, count=len(index)))
    best: dict[int, tuple[Run, Document]] = {}
    for document in corpus:
        places, found = wanted.find(ngram_hashes(document.text, n))
        hits = zip(places.tolist(), wanted.hashes[found].tolist(), strict=True)
        for number, run in _runs(hits, index).items():
            if number not in best or run.length > best[number][0].length:
                best[number] = run, document
    return [_span(texts[number], number, *best[number], n) for number in sorted(best)]


def _runs(hits: Iterable[tuple[int, int]], index: dict[int, list[tuple[int, int]]]) -> dict[int, Run]:
    """For each text its longest run in step with the document, whose hits are (place, value)."""
    best: dict[int, Run] = {}
    open_runs: dict[tuple[int, int], int] = {}
    previous = -2
    for place, value in hits:
        before = open_runs if place == previous + 1 else {}
        open_runs = {}
        for number, at in index[value][:_PLACES]:
            length = before.get((number, at - 1), 0) + 1
            open_runs[number, at] = length
            if number not in best or length > best[number].length:
                best[number] = Run(length, at - length + 1, place - length + 1)
        previous = place
    return best


def _span(named: tuple[str, str], number: int, run: Run, document: Document, n: int) -> CopiedSpan:
    copied = words(named[1])[run.start : run.start + run.length + n - 1]
    return CopiedSpan(
        name=named[0],
        sample=number,
        words=len(copied),
        text=" ".join(copied),
        document=document.id,
        url=document.url,
        position=run.position,
    )
