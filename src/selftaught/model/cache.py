"""Keys and values of positions that a network has seen: a value that is passed in, never found on a module."""

from __future__ import annotations

import torch

from selftaught.model.shape import ModelShape


class Cache:
    """Room for `length` positions of a batch, filled from the left; `filled` positions are valid in every row."""

    def __init__(
        self,
        shape: ModelShape,
        *,
        batch: int,
        length: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
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


def remembered_as(device: torch.device) -> torch.dtype:
    """The format that keys and values have on a device now: autocast's, or float32."""
    kind = str(device.type)
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
