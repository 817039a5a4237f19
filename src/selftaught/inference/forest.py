"""Texts that are continued side by side: trunks are read once, and tokens may follow any place of them. Knows ids only.

A forest has a row for each trunk. What follows a trunk is a tree: each node stands for the trunk up to a place and the
tokens read after it, and sees nothing else. So the turns of one conversation, the questions after one prompt and the beams of
one search all share what they have in common. Shapes: B rows, T trunk, S tokens read at a time, M remembered, N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selftaught.inference.trees import padded
from selftaught.model.cache import Cache, remembered_as
from selftaught.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Node:
    """A text that has been read: what it sees, and the state that predicts what follows."""

    row: int
    trunk: int
    """Tokens of the trunk that it sees."""
    slots: tuple[int, ...]
    """Where in the cache the tokens after them are."""
    state: torch.Tensor
    """Of its last token."""

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return self.trunk + len(self.slots)


class Forest:
    """Trunks of at least one token each, with room to read `room` tokens after them in each row."""

    def __init__(self, model: Transformer, trunks: Sequence[Sequence[int]], room: int) -> None:
        self._model, self._device = model, model.tokens.weight.device
        trunk_BT = torch.from_numpy(padded(trunks)).to(self._device)
        self._cache = Cache(
            model.shape,
            batch=len(trunks),
            length=trunk_BT.shape[1] + room,
            device=self._device,
            dtype=remembered_as(self._device),
        )
        self._hidden_BTC = model(trunk_BT, self._cache)

    def at(self, row: int, place: int) -> Node:
        """The first `place` (at least one) tokens of a trunk."""
        return Node(row=row, trunk=place, slots=(), state=self._hidden_BTC[row, place - 1])

    def read(self, following: Sequence[tuple[Node, Sequence[int]]]) -> list[Node]:
        """Read at least one token after each of some nodes; return the nodes that stand for them."""
        filled = self._cache.filled
        widths = [0] * self._hidden_BTC.shape[0]
        starts = []
        for node, tokens in following:
            starts.append(widths[node.row])
            widths[node.row] += len(tokens)
        ids_BS = np.zeros((len(widths), max(widths)), dtype=np.int64)
        places_BS = np.zeros_like(ids_BS)
        seen_BSM = np.zeros((*ids_BS.shape, filled + ids_BS.shape[1]), dtype=bool)
        # What pads a row sees itself: a softmax over nothing would not be a number.
        seen_BSM[:, np.arange(ids_BS.shape[1]), filled + np.arange(ids_BS.shape[1])] = True
        for (node, tokens), start in zip(following, starts, strict=True):
            end = start + len(tokens)
            ids_BS[node.row, start:end] = tokens
            places_BS[node.row, start:end] = np.arange(node.length, node.length + len(tokens))
            seen = seen_BSM[node.row, start:end]
            seen[:, : node.trunk] = True
            seen[:, list(node.slots)] = True
            seen[:, filled + start : filled + end] = np.tri(len(tokens), dtype=bool)
        ids, places, mask = (torch.from_numpy(part).to(self._device) for part in (ids_BS, places_BS, seen_BSM[:, None]))
        hidden_BSC = self._model(ids, self._cache, places_BT=places, mask=mask)
        return [
            Node(
                row=node.row,
                trunk=node.trunk,
                slots=(*node.slots, *range(filled + start, filled + start + len(tokens))),
                state=hidden_BSC[node.row, start + len(tokens) - 1],
            )
            for (node, tokens), start in zip(following, starts, strict=True)
        ]
