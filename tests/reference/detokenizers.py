"""What undoes our de-tokenisers: the tokens that a line was written from, by the data set's own tokeniser."""

from __future__ import annotations

from selftaught.tasks import detokenizers

SPELLINGS = {
    detokenizers.wikitext: detokenizers._WIKITEXT,
    detokenizers.news: detokenizers._NEWS,
    detokenizers.penn: detokenizers._PENN_WORDS,
}


def tokens(line, join):
    """The tokens of which `join` made a line."""
    return [token for chunk in line.split(" ") for token in detokenizers._chunk_tokens(chunk, SPELLINGS[join])]
