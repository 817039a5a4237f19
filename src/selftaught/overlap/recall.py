"""After how many words and tokens a continuation leaves the text that it could have gone on with."""

from __future__ import annotations

from collections.abc import Sequence

from selftaught.corpus.ngrams import word_places, words
from selftaught.report.overlap_records import Recall
from selftaught.report.records import Sample


def recalled(sample: Sample, truths: Sequence[str]) -> Recall:
    """Compare a sample with what follows its prompt at each of its occurrences; the longest agreement counts.

    Words in normal form are compared, so that other line breaks, capitals and punctuation are no departure. A last word that
    was cut by the number of tokens is neither counted nor a departure.
    """
    drawn = words(sample.text)
    followed = [_agreement(drawn, sample.text, words(truth[: _enough(sample.text)])) for truth in truths]
    agreed, left = max(followed, key=lambda one: (one[0], not one[1]))
    end = word_places(sample.text)[1][agreed - 1] if agreed else 0
    return Recall(
        settings=sample.settings, text=sample.text, words=agreed, tokens=_tokens_until(sample, end), left=left
    )


def _enough(text: str) -> int:
    """Characters of a truth that are looked at: its words may be parted by more blanks than the sample's."""
    return 4 * len(text) + 1000


def _agreement(drawn: Sequence[str], text: str, truth: Sequence[str]) -> tuple[int, bool]:
    """How many words agree from the beginning, and whether there is then a word that does not."""
    agreed = 0
    while agreed < min(len(drawn), len(truth)) and drawn[agreed] == truth[agreed]:
        agreed += 1
    if agreed == len(drawn) or agreed == len(truth):
        return agreed, False
    cut = agreed == len(drawn) - 1 and text[-1:].isalnum() and truth[agreed].startswith(drawn[agreed])
    return agreed, not cut


def _tokens_until(sample: Sample, end: int) -> int:
    """How many pieces it took to write the first `end` characters."""
    length = count = 0
    for piece in sample.pieces:
        if length >= end:
            break
        length, count = length + len(piece.text), count + 1
    return count
