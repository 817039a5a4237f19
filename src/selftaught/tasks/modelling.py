"""Texts whose probability is measured: documents, and language-modelling data sets with their own units."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from selftaught import compute, storage
from selftaught.tasks import detokenizers
from selftaught.tasks.examples import Text

WIKITEXT2_FILE = "wikitext2/wiki.test.tokens"


def choose_texts(texts: Iterable[tuple[str, str]], *, most_bytes: int, seed: int) -> list[Text]:
    """(id, text) in an order drawn by the seed, until `most_bytes` are reached; the unit is the UTF-8 byte."""
    order = sorted(texts, key=lambda one: compute.seed_of("texts", seed, one[0]))
    chosen: list[Text] = []
    size = 0
    for name, text in order:
        length = len(text.encode("utf-8", "replace"))
        if chosen and size + length > most_bytes:
            continue
        chosen.append(Text(id=name, text=text, units=length))
        size += length
    return chosen


def read_wikitext2(data: Path, *, detokenise: bool = True) -> Text:
    """The WikiText-2 test set as one text; its units are the original words and one line end a line (245,569)."""
    original = storage.read_bytes(data / WIKITEXT2_FILE).decode("utf-8")
    units = sum(len(line.split()) + 1 for line in original.splitlines())
    return Text(id="wikitext2", text=detokenizers.wikitext(original) if detokenise else original, units=units)
