"""Keys and values of positions that a network has seen: a value that is passed in, never found on a module."""

from __future__ import annotations

import torch

from selftaught.model.shape import ModelShape


class Cache:
    """Room for `length` positions of a batch, filled from the left; `filled` positions are valid in every row."""

    def __init__(
        self, shape: ModelShape, *, batch: int, length: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        size = (shape.layers, 2, batch, shape.heads, length, shape.channels // shape.heads)
        self._room = torch.empty(size, device=device, dtype=dtype)
        self.filled = 0

    @property
    def length(self) -> int:
        """Positions there is room for."""
        return self._room.shape[4]

    def extend(self, layer: int, key_BHTK: torch.Tensor, value_BHTK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of new positions to a layer and return all of them, key_BHMK and value_BHMK."""
        end = self.filled + key_BHTK.shape[2]
        self._room[layer, 0, :, :, self.filled : end] = key_BHTK
        self._room[layer, 1, :, :, self.filled : end] = value_BHTK
        return self._room[layer, 0, :, :, :end], self._room[layer, 1, :, :, :end]

    def repeat(self, batch: int, length: int) -> Cache:
        """A cache of `batch` copies of this one's single row, with room for `length` positions."""
        copy = object.__new__(Cache)
        layers, two, _, heads, _, size = self._room.shape
        copy._room = self._room.new_empty((layers, two, batch, heads, length, size))  # noqa: SLF001 - of its own class
        copy._room[:, :, :, :, : self.filled] = self._room[:, :, :, :, : self.filled]  # noqa: SLF001
        copy.filled = self.filled
        return copy
