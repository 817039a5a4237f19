"""Networks made ready for generation: `prefill` reads a prompt into a cache, `step` one more token of each of several texts.

Weights are turned into their format once. Caches are values that are passed in. Shapes: R rows of a cache, T new tokens,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from selftaught.errors import UsageError
from selftaught.inference import recasting
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.recasting import WeightFormat
from selftaught.model.transformer import Transformer


class Decoder:
    """Reads tokens with PyTorch alone, on any device. The slow twin of the compiled one."""

    def __init__(self, model: Transformer, weights: WeightFormat = "float32") -> None:
        self.shape, self.weights = model.shape, weights
        self.device = model.tokens.weight.device
        self._model = model

    @cached_property
    def _network(self) -> Transformer:
        return recasting.recast(self._model, self.weights)

    @cached_property
    def _head(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return recasting.head(self._model, self.weights)

    def cache(self, rows: int = 1, length: int | None = None) -> RaggedCache:
        """An empty cache for some texts, each of up to `length` tokens (default: all that the network can see)."""
        dtype = torch.float32 if self.weights == "float32" else torch.bfloat16
        room = min(length or self.shape.context, self.shape.context)
        return RaggedCache(self.shape, rows=rows, length=room, device=self.device, dtype=dtype)

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
        places = torch.tensor([cache.lengths[row] for row in rows], device=self.device)
        seen = torch.arange(int(places.max()) + 1, device=self.device) <= places[:, None]
        hidden_RTC = self._network(
            torch.tensor(tokens, device=self.device)[:, None],
            cache.one_more(rows),
            places_BT=places[:, None],
            mask=seen[:, None, None],
        )
        for row, token in zip(rows, tokens, strict=True):
            cache.note(row, (token,))
        logits_RV: torch.Tensor = self._head(hidden_RTC[:, 0]).cpu()
        return logits_RV

    def _check(self, cache: RaggedCache, row: int, tokens: Sequence[int]) -> None:
        cache.require_room(row, len(tokens))
        if not tokens or not 0 <= min(tokens) <= max(tokens) < self.shape.vocabulary:
            raise UsageError(
                "an id is not in the model's vocabulary",
                expected=f"at least one of 0 to {self.shape.vocabulary - 1}",
                got=str([token for token in tokens if not 0 <= token < self.shape.vocabulary][:3]),
            )
