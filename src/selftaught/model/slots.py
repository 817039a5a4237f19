"""Keys and values of texts that come and go, one a slot, each of its own length.

Shapes: B slots, H heads, M remembered positions, K head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from selftaught.model.cache import Cache
from selftaught.model.shape import ModelShape


class Slots:
    """Room for `slots` texts of up to `length` positions, all of it taken at the start.

    A pass either reads tokens of one slot, through `one`, or one token of every `active` slot: it is then given this object and
    a row for every slot, idle or not, so that the shapes of its products never change and no text's company changes its sums.
    """

    def __init__(
        self,
        shape: ModelShape,
        *,
        slots: int,
        length: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        size = (shape.layers, 2, slots, shape.heads, length, shape.channels // shape.heads)
        # Zeros: what idle rows see is not used, but must be numbers.
        self._room = torch.zeros(size, device=device, dtype=dtype)
        self.filled = [0] * slots
        self.active: Sequence[int] = ()

    @property
    def length(self) -> int:
        """Positions that each slot has room for."""
        return self._room.shape[4]

    def one(self, slot: int) -> Cache:
        """A slot as a cache of one row; who fills it further sets `filled` here."""
        return _Slot(self._room[:, :, slot : slot + 1], self.filled[slot])

    def places(self) -> torch.Tensor:
        """Where the next token of each slot stands, places_B1; idle slots say 0."""
        active = set(self.active)
        places = [[filled if slot in active else 0] for slot, filled in enumerate(self.filled)]
        return torch.tensor(places, device=self._room.device)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, wide: bool = False
    ) -> torch.Tensor:
        """Remember one new position of each active slot and mix what each slot remembers; mixed_BHTK, any value in idle rows.

        Query, key and value are tensors_BHTK with T = 1; `wide` computes in float32. On a processor each slot attends alone, over
        just its own positions: nothing of the others enters its sums, and nothing is computed for padding. Elsewhere one masked
        product for all is faster.
        """
        room_BHMK, ends = self._room[layer], [self.filled[slot] for slot in self.active]
        rows, places = torch.tensor((self.active, ends), device=query.device)
        for part, new in zip(room_BHMK, (key, value), strict=True):
            part[rows, :, places] = new[rows, :, 0].to(part.dtype)
        query = query.to(room_BHMK.dtype)
        if query.device.type != "cpu":
            end = max(ends) + 1
            seen = (torch.arange(end, device=query.device) <= self.places())[:, None, None]
            return _mixed(query, room_BHMK[:, :, :, :end], seen, wide=wide)
        mixed = torch.zeros_like(query)
        for slot, end in zip(self.active, ends, strict=True):
            mixed[slot] = _mixed(query[slot : slot + 1], room_BHMK[:, slot : slot + 1, :, : end + 1], wide=wide)[0]
        return mixed

    def advance(self) -> None:
        """Count the position that a pass has added to every active slot."""
        for slot in self.active:
            self.filled[slot] += 1


class _Slot(Cache):
    def __init__(self, room: torch.Tensor, filled: int) -> None:
        self._room, self.filled = room, filled


def _mixed(
    query: torch.Tensor, remembered: torch.Tensor, seen: torch.Tensor | None = None, *, wide: bool
) -> torch.Tensor:
    """Attention of query_BHTK over keys and values, the two halves of `remembered`."""
    key, value = remembered
    if not wide:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    with torch.autocast(query.device.type, enabled=False):  # which would turn float32 back
        wide_ones = (query.float(), key.float(), value.float())
        return functional.scaled_dot_product_attention(*wide_ones, attn_mask=seen).to(query.dtype)
