"""Keys and values of tokens already seen, as a value that is passed to the network and filled by it.

Shapes: L layers, B batch, H heads, M remembered positions (capacity), K head size, T new tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selftaught.errors import UsageError
from selftaught.model.shape import ModelShape


@dataclass(kw_only=True)
class Cache:
    """Preallocated memory of attention. Make one with `Cache.empty`; each forward pass appends to it."""

    keys: Tensor
    """(L, B, H, M, K)."""
    values: Tensor
    """(L, B, H, M, K)."""
    length: int = 0
    """Positions filled so far."""

    @classmethod
    def empty(
        cls,
        shape: ModelShape,
        *,
        batch: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Cache:
        """Return a cache with room for `capacity` tokens in each of `batch` rows."""
        size = (shape.layers, batch, shape.heads, capacity, shape.head_size)
        return cls(
            keys=torch.empty(size, device=device, dtype=dtype),
            values=torch.empty(size, device=device, dtype=dtype),
        )

    @property
    def capacity(self) -> int:
        """Positions that fit."""
        return self.keys.size(3)

    def append(self, layer: int, keys_BHTK: Tensor, values_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of one layer and return those of all positions, the new ones last."""
        end = self.length + keys_BHTK.size(2)
        if end > self.capacity:
            raise UsageError("the cache is full", expected=f"at most {self.capacity} tokens", got=f"{end}")
        self.keys[layer, :, :, self.length : end] = keys_BHTK
        self.values[layer, :, :, self.length : end] = values_BHTK
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` more positions as filled, once every layer has appended them."""
        self.length += tokens
