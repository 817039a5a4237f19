"""Networks made ready for generation: `prefill` reads a prompt into a cache, `step` one more token of each of several texts.

Weights are turned into their format once. Caches are values that are passed in. Shapes: R rows of a cache, T new tokens,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selftaught.errors import UsageError
from selftaught.inference import recasting
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.recasting import WeightFormat
from selftaught.model.cache import Cache
from selftaught.model.transformer import Transformer, Watch


@dataclass(frozen=True)
class Piece:
    """Tokens of a prompt to read in a row, after what it remembers."""

    row: int
    tokens: Sequence[int]
    every: bool = False
    """Whether the logits after each of them are wanted, not only after the last."""


class Decoder:
    """Reads tokens with PyTorch alone, on any device. The slow twin of the compiled one."""

    def __init__(self, model: Transformer, weights: WeightFormat = "float32") -> None:
        self.shape, self.weights = model.shape, weights
        self.device = model.tokens.weight.device
        self._prepare(model)

    def _prepare(self, model: Transformer) -> None:
        """Turn the weights into their format."""
        self._network = recasting.recast(model, self.weights)
        self._head = recasting.head(model, self.weights)

    def cache(self, rows: int = 1, length: int | None = None) -> RaggedCache:
        """An empty cache for some texts, each of up to `length` tokens (default: all that the network can see)."""
        room = min(length or self.shape.context, self.shape.context)
        return RaggedCache(self.shape, rows=rows, length=room, device=self.device, dtype=self._remembered_as())

    def _remembered_as(self) -> torch.dtype:
        """The format of keys and values."""
        return torch.float32 if self.weights == "float32" else torch.bfloat16

    @torch.inference_mode()
    def prefill(self, cache: RaggedCache, row: int, tokens: Sequence[int], *, every: bool = False) -> torch.Tensor:
        """Read tokens after what a row remembers; logits_V after the last, or logits_TV after each, on the CPU.

        Raises UsageError for tokens that do not fit.
        """
        self._check(cache, row, tokens)
        hidden_TC = self._network(torch.tensor([tokens], device=self.device), cache.row(row))[0]
        cache.note(row, tokens)
        logits: torch.Tensor = self._head(hidden_TC if every else hidden_TC[-1]).cpu()
        return logits

    @torch.inference_mode()
    def step(self, cache: RaggedCache, rows: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """Read one token in each of some different rows; logits_RV after them, on the CPU."""
        for row, token in zip(rows, tokens, strict=True):
            self._check(cache, row, (token,))
        places = [cache.lengths[row] for row in rows]
        given_3R = torch.tensor([rows, places, tokens], device=self.device)
        logits_RV = self._next(cache, given_3R, max(places) + 1).cpu()
        for row, token in zip(rows, tokens, strict=True):
            cache.note(row, (token,))
        return logits_RV

    def _next(self, cache: RaggedCache, given_3R: torch.Tensor, reach: int) -> torch.Tensor:
        """Logits_RV on the device after a token (the last of the three) at a place, below `reach`, of each row."""
        rows_R, places_R, tokens_R = given_3R
        seen_RM = torch.arange(reach, device=self.device) <= places_R[:, None]
        hidden_RTC = self._network(
            tokens_R[:, None],
            cache.one_more(rows_R, places_R, reach),
            places_BT=places_R[:, None],
            mask=seen_RM[:, None, None],
        )
        logits_RV: torch.Tensor = self._head(hidden_RTC[:, 0])
        return logits_RV

    def read(
        self, cache: RaggedCache, rows: Sequence[int], tokens: Sequence[int], pieces: Sequence[Piece]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What `step` gives of some rows, and `prefill` of pieces of prompts in others."""
        logits_RV = self.step(cache, rows, tokens) if rows else torch.empty(0, self.shape.vocabulary)
        return logits_RV, [self.prefill(cache, one.row, one.tokens, every=one.every) for one in pieces]

    @torch.inference_mode()
    def attention(self, tokens: Sequence[int], layer: int) -> torch.Tensor:
        """How much each head of a layer attends from the last of some tokens to each one, weights_HT on the CPU.

        All but the last are read as usual, so that no matrix of all pairs of positions is made.
        """
        cache, watch = Cache(self.shape, batch=1, length=len(tokens), device=self.device), Watch()
        ids_BT = torch.tensor([tokens], device=self.device)
        if len(tokens) > 1:
            self._network(ids_BT[:, :-1], cache)
        self._network(ids_BT[:, -1:], cache, watch=watch)
        return watch.attention[layer][0, :, 0].cpu()

    def _check(self, cache: RaggedCache, row: int, tokens: Sequence[int]) -> None:
        cache.require_room(row, len(tokens))
        if not tokens or not 0 <= min(tokens) <= max(tokens) < self.shape.vocabulary:
            raise UsageError(
                "an id is not in the model's vocabulary",
                expected=f"at least one of 0 to {self.shape.vocabulary - 1}",
                got=str([token for token in tokens if not 0 <= token < self.shape.vocabulary][:3]),
            )
