"""Generation without a cache: every token from a pass over the whole window."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selftaught.model.transformer import Transformer


@torch.inference_mode()
def greedy(model: Transformer, prompt: Sequence[int], count: int) -> list[int]:
    """The most likely tokens; a window that outgrows the context keeps its last half and grows again."""
    window, drawn = list(prompt)[-model.shape.context :], []
    for _ in range(count):
        if len(window) > model.shape.context:
            window = window[-(model.shape.context // 2) :]
        drawn.append(int(model.logits(model(torch.tensor([window])))[0, -1].argmax()))
        window.append(drawn[-1])
    return drawn
