"""Steps of generation on a GPU as CUDA graphs: hundreds of kernels of a few microseconds each, started by one call.

A graph does what was done while it was captured, with the same memory. So there is one for each cache, number of rows and reach,
both rounded up, and what is new in each step is copied to where the graph reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from selftaught import console
from selftaught.inference.decoding import Decoder
from selftaught.inference.ragged import RaggedCache
from selftaught.inference.recasting import WeightFormat
from selftaught.model.transformer import Transformer

LEAST_REACH = 128
"""Positions that a step looks at, at least; doubled whenever a text is longer."""
Step = Callable[[torch.Tensor], torch.Tensor]
"""From what is given to each row, given_3R, to logits_RV."""


class Captured:
    """A step that was captured while it was done once; what it returns is written over by the next call."""

    def __init__(self, step: Step, given_3R: torch.Tensor, pool: Any) -> None:
        self._given_3R = given_3R.clone()
        # Libraries choose kernels and take memory when they are first called, which cannot be captured.
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step(self._given_3R)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._logits_RV = step(self._given_3R)

    def __call__(self, given_3R: torch.Tensor) -> torch.Tensor:
        """Logits_RV of other rows, places and tokens; not more places than the reach that was captured."""
        self._given_3R.copy_(given_3R)
        self._graph.replay()
        return self._logits_RV


class CapturingDecoder(Decoder):
    """Reads the next token of each text with a graph, captured when it is first needed; prompts as the plain one does."""

    def __init__(self, model: Transformer, weights: WeightFormat = "float32") -> None:
        super().__init__(model, weights)
        self._captured: WeakKeyDictionary[RaggedCache, dict[tuple[int, int], Captured]] = WeakKeyDictionary()
        self._pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None
        self._able = True

    def _next(self, cache: RaggedCache, given_3R: torch.Tensor, reach: int) -> torch.Tensor:
        """As the plain decoder's. Rows are made a power of two by the first one again, which writes what it writes anyway."""
        if not self._able:
            return super()._next(cache, given_3R, reach)
        count = given_3R.shape[1]
        rows, rounded = _power(count), min(max(_power(reach), LEAST_REACH), cache.length)
        padded_3R = given_3R[:, [*range(count), *[0] * (rows - count)]]
        captured = self._capture(cache, padded_3R, rounded)
        return super()._next(cache, given_3R, reach) if captured is None else captured(padded_3R)[:count]

    def _capture(self, cache: RaggedCache, given_3R: torch.Tensor, reach: int) -> Captured | None:
        """The graph of a size, or None where none can be captured, which is said once."""
        graphs = self._captured.setdefault(cache, {})
        size = given_3R.shape[1], reach
        if size not in graphs:
            try:
                graphs[size] = Captured(
                    lambda given: super(CapturingDecoder, self)._next(cache, given, reach), given_3R, self._pool
                )
            except RuntimeError as error:
                self._able = False
                console.warn(f"steps are not captured as CUDA graphs, and so are slower: {error}")
                return None
        return graphs[size]


def _power(least: int) -> int:
    """The smallest power of two from `least` on."""
    return 1 << (least - 1).bit_length()
