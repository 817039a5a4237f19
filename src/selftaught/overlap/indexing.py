"""Filters of the n-grams of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selftaught import console, storage
from selftaught.corpus import documents
from selftaught.corpus.ngrams import ngram_hashes
from selftaught.overlap.bloom import PARAMETERS_FILE, Bloom, Parameters

Array = np.ndarray[Any, Any]


def training_filter(corpus: Path, out: Path, n: int) -> Bloom:
    """The filter of the training side: the one in `out` if it is of this text, else a new one that is kept there."""
    content = f"{n}-grams of training text {storage.sha256(documents.split_file(corpus, 'train'))}"
    if (out / PARAMETERS_FILE).is_file() and storage.read_json(out / PARAMETERS_FILE, Parameters).content == content:
        return Bloom.load(out)
    hashes = []
    with console.progress("indexing", documents.count(corpus, "train"), unit="documents") as bar:
        for text in (row.text for row in documents.read(corpus, "train")):
            hashes.append(ngram_hashes(text, n))
            bar.advance()
    train = filled(hashes)
    train.save(out, content=content)
    return train


def filled(hashes: Sequence[Array]) -> Bloom:
    """A filter with room for just these."""
    found = Bloom(max(1, sum(map(len, hashes))))
    for part in hashes:
        found.add(part)
    return found
