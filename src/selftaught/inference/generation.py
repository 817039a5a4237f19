"""Token by token: prefill a cache with the prompt, then decode one token at a time. Knows ids only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from selftaught.inference.sampling import SamplingSettings, choose
from selftaught.model.cache import Cache
from selftaught.model.transformer import Transformer


@dataclass(frozen=True)
class Drawn:
    """One new token and the probability the model gave it, before temperature and truncation."""

    token: int
    probability: float


def draw(
    model: Transformer, prompt: Sequence[int], rules: SamplingSettings, generator: torch.Generator
) -> Iterator[Drawn]:
    """Continue a prompt of at least one token without end.

    When the context is full the window slides: the last half of it is read again and generation goes on from there, so
    that text of any length can be written, each token seeing at least half a context.
    """
    seen = list(prompt)
    device = model.tokens.weight.device
    while True:
        window = seen[-model.shape.context :] if len(seen) < model.shape.context else seen[-(model.shape.context // 2 or 1) :]
        cache = Cache(model.shape, batch=1, length=model.shape.context, device=device)
        logits_V = _advance(model, window, cache)
        while True:
            token = choose(logits_V, rules, generator)
            yield Drawn(token, float(logits_V.softmax(-1)[token]))
            seen.append(token)
            if cache.filled == model.shape.context:
                break
            logits_V = _advance(model, [token], cache)


@torch.inference_mode()
def _advance(model: Transformer, tokens: Sequence[int], cache: Cache) -> torch.Tensor:
    """Logits after the given new tokens, on the CPU, where tokens are drawn whatever the device."""
    ids_BT = torch.tensor([tokens], device=model.tokens.weight.device)
    return model.logits(model(ids_BT, cache)[0, -1]).cpu()
