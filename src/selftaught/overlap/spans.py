"""The longest stretch of each text that stands word for word in a corpus, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from selftaught.corpus.documents import Document
from selftaught.corpus.ngrams import ngram_hashes, words
from selftaught.report.records import CopiedSpan

_PLACES = 64
"""Occurrences of one n-gram in one document that are followed; more are the same text over and over."""


def longest_copies(texts: Sequence[tuple[str, str]], corpus: Iterable[Document], n: int) -> list[CopiedSpan]:
    """For each of (name, text) the longest run of words, of at least n, that a document of the corpus holds too.

    One pass over the corpus; texts without such a run are left out.
    """
    index: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (_, text) in enumerate(texts):
        for place, value in enumerate(ngram_hashes(text, n).tolist()):
            index[value].append((number, place))
    wanted = np.sort(np.fromiter(index, dtype=np.uint64, count=len(index)))
    best: dict[int, tuple[int, int, Document]] = {}
    for document in corpus:
        found = _hits(ngram_hashes(document.text, n), wanted)
        for number, (run, start) in _runs(found, index).items():
            if run > best.get(number, (0, 0, document))[0]:
                best[number] = (run, start, document)
    return [_span(texts[number], number, best[number], n) for number in sorted(best)]


def _hits(hashes: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """Place and value of the n-grams that are looked for."""
    if not len(wanted) or not len(hashes):
        return []
    near = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    places = np.flatnonzero(wanted[near] == hashes)
    return list(zip(places.tolist(), hashes[places].tolist(), strict=True))


def _runs(hits: list[tuple[int, int]], index: dict[int, list[tuple[int, int]]]) -> dict[int, tuple[int, int]]:
    """For each text its longest run of n-grams in step with the document: (length, first n-gram in the text)."""
    best: dict[int, tuple[int, int]] = {}
    open_runs: dict[tuple[int, int], int] = {}
    previous = -2
    for place, value in hits:
        before = open_runs if place == previous + 1 else {}
        open_runs = {}
        for number, at in index[value][:_PLACES]:
            run = before.get((number, at - 1), 0) + 1
            open_runs[number, at] = run
            if run > best.get(number, (0, 0))[0]:
                best[number] = (run, at - run + 1)
        previous = place
    return best


def _span(named: tuple[str, str], number: int, found: tuple[int, int, Document], n: int) -> CopiedSpan:
    run, start, document = found
    copied = words(named[1])[start : start + run + n - 1]
    return CopiedSpan(
        name=named[0], sample=number, words=len(copied), text=" ".join(copied), document=document.id, url=document.url
    )
