"""Log-probabilities one token at a time: each from a pass of its own over all tokens before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selftaught.model.transformer import Transformer


@torch.inference_mode()
def score(model: Transformer, context: Sequence[int], continuation: Sequence[int]) -> list[tuple[float, bool]]:
    """Log-probability, and whether it was the first choice, of each token of a continuation."""
    ids = [*context, *continuation]
    start = max(0, len(ids) - 1 - model.shape.context)
    found = []
    for place in range(len(context), len(ids)):
        logits = model.logits(model(torch.tensor([ids[start:place]])))[0, -1]
        found.append((float(torch.log_softmax(logits, dim=0)[ids[place]]), int(logits.argmax()) == ids[place]))
    return found
