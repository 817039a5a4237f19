"""Batches: batch k is a pure function of the shards, a seed and k, so that resuming or more processes change nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from selftaught import compute
from selftaught.errors import InputError, UsageError
from selftaught.tokens.selection import Tokens


class _Rows(ABC):
    """An endless row of windows, taken in batches."""

    batch_size: int
    context: int

    @abstractmethod
    def window(self, number: int) -> np.ndarray[Any, Any]:
        """Window `number` of the endless row: `context` tokens and the next."""

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch k: ids_BT and the same moved on by one token, targets_BT (int64)."""
        return self.rows(k, 0, self.batch_size)

    def rows(self, k: int, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows first to first + count - 1 of batch k."""
        wanted = range(k * self.batch_size + first, k * self.batch_size + first + count)
        both = torch.from_numpy(np.stack([self.window(number) for number in wanted]))
        return both[:, :-1], both[:, 1:]


class Batches(_Rows):
    """Windows of `context` tokens in an order shuffled anew each epoch.

    Every window starts at a multiple of `context` plus an offset drawn for the epoch; each epoch shows every window once, and
    a batch may span two epochs. Raises InputError for too few tokens, UsageError for an empty batch.
    """

    def __init__(self, shards: Tokens, *, seed: int, batch_size: int, context: int) -> None:
        if batch_size < 1 or context < 1:
            raise UsageError(
                "a batch needs rows and tokens",
                expected="at least 1 of each",
                got=f"{batch_size} rows of {context} tokens",
            )
        self.windows = (shards.tokens - context) // context  # so that the last still has its targets at any offset
        if self.windows < 1:
            raise InputError(
                f"{shards.folder} has too few {shards.split} tokens",
                expected=f"at least {2 * context} for a context of {context}",
                got=str(shards.tokens),
            )
        self._shards, self._seed, self.batch_size, self.context = shards, seed, batch_size, context
        self._epoch = lru_cache(maxsize=2)(self._epoch_starts)

    def window(self, number: int) -> np.ndarray[Any, Any]:
        """Of the endless row of epochs."""
        epoch, place = divmod(number, self.windows)
        return self._shards.slice(int(self._epoch(epoch)[place]), self.context + 1)

    def _epoch_starts(self, epoch: int) -> np.ndarray[Any, Any]:
        draw = np.random.default_rng(compute.seed_of("batches", self._seed, epoch))
        offset = draw.integers(self.context)
        return draw.permutation(self.windows).astype(np.int64) * self.context + offset


BLOCK = 1000
"""Rows over which a mixture keeps its shares exactly, to a thousandth."""


class Mixture(_Rows):
    """Rows of several corpora in fixed shares, in an order drawn anew each block of rows; each corpus has its own epochs.

    A pure function of (seed, k) like that of one corpus: each block holds the same number of rows of each, so that how many
    came before is a product.
    """

    def __init__(self, corpora: Sequence[tuple[Batches, float]], *, seed: int, batch_size: int) -> None:
        """Corpora with their shares, which add up to 1."""
        self._corpora, self._seed, self.batch_size = [batches for batches, _ in corpora], seed, batch_size
        self.context = self._corpora[0].context
        ends = np.round(np.cumsum([share for _, share in corpora]) * BLOCK).astype(np.int64)
        self._counts = np.diff(ends, prepend=0)
        self._block = lru_cache(maxsize=2)(self._block_sources)

    def window(self, number: int) -> np.ndarray[Any, Any]:
        """Of the corpus whose turn it is, its own next one."""
        block, place = divmod(number, BLOCK)
        sources, earlier = self._block(block)
        source = int(sources[place])
        return self._corpora[source].window(block * int(self._counts[source]) + int(earlier[place]))

    def _block_sources(self, block: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Which corpus each row of a block is from, and how many rows of the block before it are."""
        draw = np.random.default_rng(compute.seed_of("mixture", self._seed, block))
        sources = draw.permutation(np.repeat(np.arange(len(self._counts)), self._counts))
        earlier = np.empty(BLOCK, dtype=np.int64)
        for source, count in enumerate(self._counts):
            earlier[sources == source] = np.arange(count)
        return sources, earlier
