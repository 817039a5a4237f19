"""Some documents of a split as one text, so that a part of the training text can be held out without packing it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selftaught import compute
from selftaught.errors import InputError, UsageError
from selftaught.tokens.shards import Shards


class Tokens(Protocol):
    """What batches and measurements need of a text: `Shards`, or some documents of them."""

    folder: Path
    split: str
    tokens: int
    bytes: int

    def slice(self, start: int, count: int) -> np.ndarray[Any, Any]:
        """Tokens start to start + count - 1, as int64."""
        ...


class Selection:
    """Documents of `shards` by number, one after another; `bytes` is their share of the whole by tokens."""

    def __init__(self, shards: Shards, documents: np.ndarray[Any, Any]) -> None:
        starts = shards.document_starts()
        ends = np.append(starts[1:], shards.tokens)
        self._shards, self._starts = shards, starts[documents]
        self._places = np.concatenate([[0], np.cumsum(ends[documents] - self._starts)])
        """Where each of them begins here, and the end of the last."""
        self.folder, self.split, self.tokens = shards.folder, shards.split, int(self._places[-1])
        self.bytes = round(shards.bytes * self.tokens / max(1, shards.tokens))

    def slice(self, start: int, count: int) -> np.ndarray[Any, Any]:
        """Tokens start to start + count - 1, as int64. Raises UsageError past either end."""
        end = start + count
        if not 0 <= start <= end <= self.tokens:
            raise UsageError(f"no tokens {start} to {end - 1} in a part of {self.folder}", got=f"{self.tokens} tokens")
        parts, place = [np.empty(0, dtype=np.int64)], start
        while place < end:
            number = int(np.searchsorted(self._places, place, side="right")) - 1
            taken = min(end, int(self._places[number + 1])) - place
            parts.append(self._shards.slice(int(self._starts[number] + place - self._places[number]), taken))
            place += taken
        return np.concatenate(parts)


def divide(shards: Shards, share: float, seed: int) -> tuple[Selection, Selection]:
    """The documents in two parts, the second about `share` of them, drawn by a seed.

    Raises InputError if there are too few for that.
    """
    if shards.documents < 2:
        raise InputError(f"{shards.folder} has too few documents to hold some out", got=str(shards.documents))
    order = np.random.default_rng(compute.seed_of("divide", seed)).permutation(shards.documents)
    held = max(1, round(shards.documents * share))
    return Selection(shards, np.sort(order[held:])), Selection(shards, np.sort(order[:held]))
