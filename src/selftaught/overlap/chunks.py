"""Many texts in pieces of a few million characters, whose n-grams are hashed on several threads, in order.

Hashing runs outside of Python's lock, so threads do: each piece is one compiled call. With `stream` n-grams reach from one
text into the next: each piece is given the last words of the one before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from selftaught import storage
from selftaught.corpus.ngrams import ngram_hashes_in, ngram_hashes_of, words
from selftaught.overlap.sources import BREAK, Lines, Source, Stretch

Array = np.ndarray[Any, Any]
PIECE_CHARACTERS = 1 << 22
T = TypeVar("T")


@dataclass(frozen=True)
class Strings:
    """Texts that are hashed together."""

    texts: Sequence[str]
    before: str = ""
    """With `stream`, the last words of the text before the first."""


Piece = Strings | Stretch | Lines


@dataclass(frozen=True)
class Hashed:
    """The hashes of a piece's n-grams, and how many there are up to the end of each text."""

    hashes: Array
    ends: Array
    texts: Callable[[], Sequence[str]] = tuple
    """The texts themselves, to the letter or lower-cased."""

    def by_text(self, found: Array) -> Array:
        """Of a mask over the hashes, how many are set in each text."""
        counted = np.concatenate([[0], np.cumsum(found)])
        return np.diff(counted[np.concatenate([[0], self.ends])])


class Workers:
    """Threads that hash; one thread is this one."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool = ThreadPoolExecutor(jobs) if jobs > 1 else None

    def map(self, work: Callable[..., T], items: Iterable[Any]) -> Iterator[T]:
        """Apply a function to each item, results in the order of the items; no more than a few items wait at a time."""
        if self._pool is None:
            yield from map(work, items)
            return
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(self._pool.submit(work, item))
            if len(waiting) > 2 * self.jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@contextmanager
def workers(jobs: int) -> Iterator[Workers]:
    """So many threads for a while."""
    made = Workers(jobs)
    try:
        yield made
    finally:
        made.close()


def pieces(texts: Iterable[str], n: int, *, stream: bool = False) -> Iterator[Piece]:
    """Texts in order, as many to a piece as make up its size; at least one.

    A source gives bytes, where nothing is to reach from one text into the next.
    """
    if isinstance(texts, Source) and not stream:
        for piece in texts.raw():
            yield Strings(piece) if isinstance(piece, list) else piece
        return
    before = ""
    for gathered in storage.grouped(texts, PIECE_CHARACTERS):
        yield Strings(gathered, before)
        before = _last_words(before, gathered, n) if stream else ""


def hashed(piece: Piece, n: int, *, stream: bool = False) -> Hashed:
    """Hash the n-grams of a piece."""
    if not isinstance(piece, Strings):
        data, count = piece.joined()
        if not count:
            return Hashed(np.empty(0, np.uint64), np.empty(0, np.int64))
        hashes, ends = ngram_hashes_in(data, count, n)
        return Hashed(hashes, ends, lambda: [text.decode() for text in data.split(BREAK)])
    if not stream:
        return Hashed(*ngram_hashes_of(piece.texts, n), lambda: piece.texts)
    hashes, ends = ngram_hashes_of([piece.before, *piece.texts], n, stream=True)
    # The words before are fewer than n: no n-gram ends in them.
    return Hashed(hashes, ends[1:], lambda: piece.texts)


def _last_words(before: str, texts: Sequence[str], n: int) -> str:
    """The last n - 1 words of the texts so far."""
    found: list[str] = []
    for text in [before, *texts][::-1]:
        found = _ending(text, n - 1 - len(found)) + found
        if len(found) >= n - 1:
            break
    return " ".join(found)


def _ending(text: str, count: int) -> list[str]:
    """The last `count` words of a text, or all if there are fewer, looking at no more of it than need be."""
    size = 256
    while True:
        found = words(text[-size:])
        # The first word that is found may be the end of a longer one.
        if size >= len(text) or len(found) > count:
            return found[max(0, len(found) - count) :]
        size *= 2
