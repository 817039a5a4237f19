"""Token by token: prefill a cache with the prompt, then decode one token at a time. Knows ids only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from selftaught.errors import UsageError
from selftaught.inference.sampling import SamplingSettings, choose
from selftaught.model.cache import Cache, remembered_as
from selftaught.model.transformer import Transformer


@dataclass(frozen=True)
class Drawn:
    """One new token and the probability the model gave it, before temperature and truncation."""

    token: int
    probability: float


def draw(
    model: Transformer,
    prompt: Sequence[int],
    rules: SamplingSettings,
    generator: torch.Generator,
    vocabulary: int | None = None,
) -> Iterator[Drawn]:
    """Continue a prompt of at least one token without end, drawing among the first `vocabulary` ids (default: all).

    A prompt longer than the context keeps its last tokens. When the context is full the window slides: the last half of it
    is read again and generation goes on from there, so that text of any length can be written, each token seeing at least
    half a context. Raises UsageError for an empty prompt and for unknown ids.
    """
    _check(model, prompt)
    room = model.shape.context
    seen = list(prompt)[-room:]
    device = model.tokens.weight.device
    while True:
        cache = Cache(model.shape, batch=1, length=room, device=device, dtype=remembered_as(device))
        logits_V = _advance(model, window(seen, room), cache)[:vocabulary]
        while True:
            token = choose(logits_V, rules, generator)
            yield Drawn(token, float(logits_V.softmax(-1)[token]))
            seen.append(token)
            if cache.filled == room:
                break
            logits_V = _advance(model, [token], cache)[:vocabulary]


def window(seen: list[int], room: int) -> list[int]:
    """What is read again before the next token: all, or of more than fits the last half of what fits."""
    return seen if len(seen) <= room else seen[-max(1, room // 2) :]


def _check(model: Transformer, prompt: Sequence[int]) -> None:
    if not prompt:
        raise UsageError("an empty prompt has no next token", hint="Begin with <|endoftext|>.")
    if not 0 <= min(prompt) <= max(prompt) < model.shape.vocabulary:
        raise UsageError("an id is not in the model's vocabulary", expected=f"0 to {model.shape.vocabulary - 1}")


@torch.inference_mode()
def _advance(model: Transformer, tokens: Sequence[int], cache: Cache) -> torch.Tensor:
    """Logits after the given new tokens, on the CPU, where tokens are drawn whatever the device."""
    ids_BT = torch.tensor([tokens], device=model.tokens.weight.device)
    return model.logits(model(ids_BT, cache)[0, -1]).cpu()
