"""Learning byte-level BPE: the most frequent pair of neighbours becomes a token, again and again.

Pieces (`tokenizer.pieces`) are counted once; merges then work on distinct pieces only, and after a merge only the pieces
that hold it are looked at. Of equally frequent pairs the one with the lower ids is merged first, as in Hugging Face's
tokenizers, so the result depends on nothing but the counts.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from selftaught import console
from selftaught.errors import InputError, UsageError
from selftaught.tokenizer import files
from selftaught.tokenizer.alphabet import BYTES_IN_ORDER
from selftaught.tokenizer.pieces import pieces, well_formed
from selftaught.tokenizer.tokenizer import Tokenizer

SMALLEST_VOCABULARY = 257
"""256 bytes and <|endoftext|>."""


def learn_tokenizer(texts: Iterable[str], *, vocabulary_size: int = 4096) -> Tokenizer:
    """Learn a tokenizer of at most `vocabulary_size` ids (fewer if no pair occurs twice any more).

    Raises UsageError for a size below 257, InputError if there is no text.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise UsageError(
            "the vocabulary is too small",
            expected=f"at least {SMALLEST_VOCABULARY}: every byte and <|endoftext|>",
            got=str(vocabulary_size),
        )
    counts = count_pieces(texts)
    if not counts:
        raise InputError("there is no text to learn a tokenizer from")
    return Tokenizer(files.from_merges(learn_merges(counts, vocabulary_size - SMALLEST_VOCABULARY)))


def count_pieces(texts: Iterable[str]) -> Counter[str]:
    """How often each piece occurs."""
    counts: Counter[str] = Counter()
    with console.progress("counting", unit="documents") as bar:
        for text in texts:
            counts.update(pieces(well_formed(text)))
            bar.advance()
    return counts


def learn_merges(counts: Counter[str], wanted: int) -> list[tuple[bytes, bytes]]:
    """The first `wanted` merges, most frequent first; stops when no pair occurs at least twice."""
    tokens = [bytes([byte]) for byte in BYTES_IN_ORDER]
    pairs = _Pairs(counts)
    merges: list[tuple[bytes, bytes]] = []
    with console.progress("merging", wanted, unit="merges") as bar:
        while len(merges) < wanted:
            best = pairs.most_frequent()
            if best is None:
                break
            merges.append((tokens[best[0]], tokens[best[1]]))
            pairs.merge(best, len(tokens))
            tokens.append(tokens[best[0]] + tokens[best[1]])
            bar.advance()
    return merges


class _Pairs:
    """Counts of neighbouring ids over all distinct pieces, kept right as pairs are merged."""

    def __init__(self, counts: Counter[str]) -> None:
        ids = {byte: number for number, byte in enumerate(BYTES_IN_ORDER)}
        self._words = [[ids[byte] for byte in piece.encode()] for piece in counts]
        self._occurrences = list(counts.values())
        self._counts: dict[tuple[int, int], int] = defaultdict(int)
        self._places: dict[tuple[int, int], set[int]] = defaultdict(set)
        for number, word in enumerate(self._words):
            for pair in pairwise(word):
                self._counts[pair] += self._occurrences[number]
                self._places[pair].add(number)
        self._heap = [(-count, pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def most_frequent(self) -> tuple[int, int] | None:
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._counts.get(pair, 0)
            if count == -negative:
                return pair if count > 1 else None
            if count > 0:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair: tuple[int, int], new: int) -> None:
        changes: dict[tuple[int, int], int] = defaultdict(int)
        for number in self._places.pop(pair):
            before = self._words[number]
            after = _replaced(before, pair, new)
            self._words[number] = after
            for old in pairwise(before):
                changes[old] -= self._occurrences[number]
            for fresh in pairwise(after):
                changes[fresh] += self._occurrences[number]
                if new in fresh:
                    self._places[fresh].add(number)
        for changed, change in changes.items():
            if change:
                self._counts[changed] += change
                if change > 0:
                    heapq.heappush(self._heap, (-self._counts[changed], changed))
        del self._counts[pair]


def _replaced(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    left, right = pair
    after, place, end = [], 0, len(word)
    while place < end:
        if word[place] == left and place + 1 < end and word[place + 1] == right:
            after.append(new)
            place += 2
        else:
            after.append(word[place])
            place += 1
    return after
