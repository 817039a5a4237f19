"""How many of the n-grams of texts are members of filters: in one pass, on several threads, with memory for a few texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selftaught.overlap.chunks import Hashed, Piece, Workers, hashed, pieces
from selftaught.overlap.plan import OverlapSettings
from selftaught.report.overlap_records import Overlap

Array = np.ndarray[Any, Any]
Members = Callable[[Array], Array]
"""Hashes -> which of them are members."""
MOST_LOCATED = 8_000_000
"""Characters of texts with members that are kept, to tell where in the corpus they stand."""


@dataclass
class Found:
    """What was found in one filter."""

    totals: list[int] = field(default_factory=list)
    """n-grams of each text."""
    hits: list[int] = field(default_factory=list)
    """Those of them that are members."""
    held: list[Array] = field(default_factory=list)
    """The members' hashes, where they are wanted."""
    distinct: tuple[int, int] | None = None
    """Of all texts together the distinct n-grams and those that are members, where those are counted."""

    def row(self, name: str, against: str, rate: float) -> Overlap:
        """As a row of the result."""
        total, hits = self.distinct or (sum(self.totals), sum(self.hits))
        return Overlap(
            name=name,
            against=against,
            documents=len(self.totals),
            ngrams=total,
            hits=hits,
            share=hits / total if total else 0.0,
            false_positive_rate=rate,
            by_document=[hit / all_ for hit, all_ in zip(self.hits, self.totals, strict=True) if all_],
        )


@dataclass(frozen=True)
class _Looked:
    """What a piece holds, filter by filter."""

    totals: Array
    hits: list[Array]
    held: list[Array]
    hashes: Array | None
    located: list[int]
    """Numbers in the piece of texts with members of the first filter."""
    texts: Callable[[], Sequence[str]]


def look_up(
    texts: Iterable[str], filters: Sequence[Members], rules: OverlapSettings, threads: Workers, *, held: bool = False
) -> tuple[list[Found], dict[int, str]]:
    """Look the n-grams of texts up in filters; also the texts, by number, that have any in the first one.

    Of those only the first `MOST_LOCATED` characters are kept. `held`: keep the members' hashes too.
    """
    distinct = rules.count == "distinct"

    def work(piece: Piece) -> _Looked:
        found = hashed(piece, rules.words, stream=rules.across == "stream")
        if distinct:
            found = _once_in_each_text(found)
        masks = [members(found.hashes) for members in filters]
        hits = [found.by_text(mask) for mask in masks]
        return _Looked(
            totals=np.diff(found.ends, prepend=0),
            hits=hits,
            held=[np.unique(found.hashes[mask]) for mask in masks] if held else [],
            hashes=np.unique(found.hashes) if distinct else None,
            located=np.flatnonzero(hits[0]).tolist(),
            texts=found.texts,
        )

    results = [Found() for _ in filters]
    located: dict[int, str] = {}
    seen: Array = np.empty(0, np.uint64)
    room = MOST_LOCATED
    for looked in threads.map(work, pieces(texts, rules.words, stream=rules.across == "stream")):
        first = len(results[0].totals)
        for number, one in enumerate(results):
            one.totals += looked.totals.tolist()
            one.hits += looked.hits[number].tolist()
            one.held += looked.held[number : number + 1]
        if looked.hashes is not None:
            seen = np.union1d(seen, looked.hashes)
        room = _locate(looked, first, room, located)
    if distinct:
        for one, members in zip(results, filters, strict=True):
            one.distinct = len(seen), int(np.count_nonzero(members(seen)))
    return results, located


def _locate(looked: _Looked, first: int, room: int, located: dict[int, str]) -> int:
    """Keep texts with members while there is room for their characters; the room that is left, if any."""
    texts = looked.texts() if looked.located and room > 0 else ()
    for number in looked.located if texts else ():
        room -= len(texts[number])
        if room < 0:
            break
        located[first + number] = texts[number]
    return room


def _once_in_each_text(found: Hashed) -> Hashed:
    if not len(found.ends):
        return found
    parts = [np.unique(part) for part in np.split(found.hashes, found.ends[:-1])]
    return Hashed(np.concatenate(parts), np.cumsum([len(part) for part in parts]), found.texts)
