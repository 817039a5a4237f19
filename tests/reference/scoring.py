"""Log-probabilities one token at a time: each from a pass of its own over all tokens before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from selftaught.model.transformer import Transformer


@torch.inference_mode()
def score(model: Transformer, context: Sequence[int], continuation: Sequence[int]) -> list[tuple[float, bool]]:
    """Log-probability, and whether it was the first choice, of each token of a continuation."""
    return [
        (float(torch.log_softmax(logits, dim=0)[token]), int(logits.argmax()) == token)
        for token, logits in _before_each(model, context, continuation)
    ]


@torch.inference_mode()
def leads(model: Transformer, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
    """How far the logit of each token is above all others or, negative, below the largest one."""
    found = []
    for token, logits in _before_each(model, context, continuation):
        others = logits.clone()
        others[token] = -torch.inf
        found.append(float(logits[token] - others.max()))
    return found


def _before_each(
    model: Transformer, context: Sequence[int], continuation: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each token of a continuation, and the logits by which it is drawn."""
    ids = [*context, *continuation]
    start = max(0, len(ids) - 1 - model.shape.context)
    for place in range(len(context), len(ids)):
        yield ids[place], model.logits(model(torch.tensor([ids[start:place]])))[0, -1]
