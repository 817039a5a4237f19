"""Keys and values of several texts of different lengths: a value that is passed in, like `model.cache.Cache`."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.model.cache import Cache
from selftaught.model.shape import ModelShape

SCALE_BYTES = 4
"""A float32 after the int8 numbers of a key or a value, which are multiples of it."""


class RaggedCache:
    """Room for several texts, each as long as it is: row r remembers `lengths[r]` positions."""

    def __init__(
        self,
        shape: ModelShape,
        *,
        rows: int,
        length: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        head_size = shape.channels // shape.heads + (SCALE_BYTES if dtype is torch.int8 else 0)
        size = (shape.layers, 2, rows, shape.heads, length, head_size)
        # Zeros, since rows side by side multiply what a shorter one has not filled by a probability of 0.
        on_processor = torch.device(device).type == "cpu"
        self.room = _zeros(size, dtype) if on_processor else torch.zeros(size, device=device, dtype=dtype)
        """Layers, keys and values, rows, heads, positions, head size; in int8 the numbers of each are followed by their scale."""
        self.lengths = [0] * rows
        self._held: list[list[int]] = [[] for _ in range(rows)]
        """Ids whose keys and values are in a row, those beyond its length too until they are written over."""

    @property
    def length(self) -> int:
        """Positions there is room for in each row."""
        return self.room.shape[4]

    def truncate(self, row: int, length: int = 0) -> None:
        """Forget all but the first `length` positions of a row."""
        self.lengths[row] = min(length, self.lengths[row])

    def note(self, row: int, tokens: Sequence[int]) -> None:
        """Remember that tokens were read in a row, after those that it remembers."""
        self._held[row] += tokens
        self.lengths[row] += len(tokens)

    def recall(self, row: int, tokens: Sequence[int]) -> int:
        """Let a row remember as many of some first tokens as have been read in any row before; how many these are."""
        wanted = list(tokens)
        source, length = self._longest(wanted)
        if source != row:
            self.room[:, :, row, :, :length] = self.room[:, :, source, :, :length]
            self._held[row] = wanted[:length]
        self.lengths[row] = length
        return length

    def known(self, tokens: Sequence[int]) -> int:
        """How many that would be."""
        return self._longest(tokens)[1]

    def _longest(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The row that holds most of some first tokens, and how many."""
        shared = [common(held, tokens) for held in self._held]
        return shared.index(max(shared)), max(shared)

    def reorder(self, sources: Sequence[int]) -> None:
        """Let row r remember what row `sources[r]` does now, for the first rows."""
        longest = max(self.lengths[source] for source in sources)
        self.room[:, :, : len(sources), :, :longest] = self.room[:, :, list(sources), :, :longest]
        self.lengths[: len(sources)] = [self.lengths[source] for source in sources]
        self._held[: len(sources)] = [self._held[source][: self.lengths[row]] for row, source in enumerate(sources)]

    def require_room(self, row: int, new: int) -> None:
        """Make ready to write `new` more positions of a row. Raises UsageError where they do not fit."""
        del self._held[row][self.lengths[row] :]
        if self.lengths[row] + new > self.length:
            raise UsageError("too many tokens", expected=f"at most {self.length}", got=str(self.lengths[row] + new))

    def row(self, row: int) -> Cache:
        """One row as a cache of its own, over the same memory; `lengths` does not follow what is added to it."""
        return _View(self.room[:, :, row : row + 1], self.lengths[row])

    def one_more(self, rows_R: torch.Tensor, places_R: torch.Tensor, reach: int) -> Cache:
        """Some rows as a batch that takes one new position each, at its own place, all of them below `reach`."""
        return _OneMore(self.room, rows_R, places_R, reach)


def _zeros(size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor fresh from the system, which gives it memory only where something is written.

    Of many rows it is given small pages, so that memory follows the length of texts; large ones are read a few percent faster.
    """
    count, private = math.prod(size) * dtype.itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapped = torch.frombuffer(mmap.mmap(-1, count, flags=private), dtype=dtype)
    if size[2] == 1:
        compute.prefer_large_pages(mapped.data_ptr(), mapped.nbytes)
    return mapped.view(*size)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of what both begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


class _View(Cache):
    def __init__(self, room: torch.Tensor, filled: int) -> None:
        self._room, self.filled = room, filled


class _OneMore(_View):
    """What `extend` returns has `reach` positions of each row; a mask hides what a row has not filled."""

    def __init__(self, room: torch.Tensor, rows_R: torch.Tensor, places_R: torch.Tensor, reach: int) -> None:
        super().__init__(room, reach - 1)
        self._rows, self._places = rows_R, places_R

    def extend(self, layer: int, key_BHTK: torch.Tensor, value_BHTK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for part, new in enumerate((key_BHTK, value_BHTK)):
            room = self._room[layer, part]
            room[self._rows, :, self._places] = new[:, :, 0].to(room.dtype)
        both = self._room[layer, :, :, :, : self.filled + 1].index_select(1, self._rows)
        return both[0], both[1]
