"""Learning byte-level BPE: the most frequent pair of neighbours becomes a token, again and again.

Pieces (`tokenizer.pieces`) are counted first; merges then work on distinct pieces only, so that none crosses the border of
two kinds of character except for a leading blank (GPT-2 paper, section 2.2). Of equally frequent pairs the one with the
lower ids is merged first, left before right, as in Hugging Face's tokenizers: the result depends on nothing but the counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from selftaught.errors import InputError, UsageError
from selftaught.tokenizer import files, pairs
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER
from selftaught.tokenizer.counting import PieceCounts, count_pieces
from selftaught.tokenizer.tokenizer import Tokenizer

SMALLEST_VOCABULARY = 257
"""256 bytes and <|endoftext|>."""


def learn_tokenizer(texts: Iterable[str], *, vocabulary_size: int = 4096, jobs: int = 1) -> Tokenizer:
    """Learn a tokenizer of at most `vocabulary_size` ids (fewer if no pair occurs twice any more).

    `jobs` processes count; the merges are the same whatever their number (see `counting.count_pieces`).
    Raises UsageError for a size below 257, InputError if there is no text.
    """
    require_size(vocabulary_size)
    counts = count_pieces(texts, jobs=jobs)
    if not len(counts.counts):
        raise InputError("there is no text to learn a tokenizer from")
    return Tokenizer(files.from_merges(learn_merges(counts, vocabulary_size - SMALLEST_VOCABULARY)))


def require_size(vocabulary_size: int) -> None:
    """Raise UsageError for a vocabulary that cannot hold every byte and <|endoftext|>."""
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise UsageError(
            "the vocabulary is too small",
            expected=f"at least {SMALLEST_VOCABULARY}: every byte and <|endoftext|>",
            got=str(vocabulary_size),
            hint="Type: --vocabulary-size 4096",
        )


def learn_merges(counts: PieceCounts, wanted: int) -> list[tuple[bytes, bytes]]:
    """The first `wanted` merges, most frequent first; fewer if no pair occurs twice any more."""
    ids = np.zeros(256, dtype=np.int32)
    ids[list(BYTES_IN_ORDER)] = np.arange(256)
    made = pairs.merge_most_frequent(ids[counts.data], counts.lengths, counts.counts, wanted, 256)
    tokens = [bytes([byte]) for byte in BYTES_IN_ORDER]
    merges = []
    for left, right in made.tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges
