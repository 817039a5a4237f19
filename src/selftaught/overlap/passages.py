"""Whether a text shares a passage with the texts of an index: what a corpus is cleaned of that must not know its benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from selftaught.corpus.ngrams import ngram_hashes
from selftaught.overlap.bloom import Bloom
from selftaught.overlap.indexing import read_content

PASSAGE_WORDS = 13
"""GPT-3 paper, appendix C: documents that share 13 words with a benchmark are cleaned of it (GPT-2 only measured, with 8)."""


def shares_a_passage(index: Path) -> Callable[[str], bool]:
    """A function that says whether 13 words in a row of a text (or as many as the index' n-grams have) stand in an index.

    13 words are six 8-grams in a row, so that a false hit of the filter, one in a hundred million n-grams, does not count.
    Raises InputError where there is no index.
    """
    words = read_content(index).words
    members, run = Bloom.load(index), max(1, PASSAGE_WORDS - words + 1)

    def check(text: str) -> bool:
        found = members.contains(ngram_hashes(text, words))
        if int(np.count_nonzero(found)) < run:
            return False
        gaps = np.flatnonzero(np.concatenate([[True], ~found, [True]]))
        return bool(np.diff(gaps).max() > run)

    return check
