"""The distribution of the next token, one candidate at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch

CLEARLY = 1e-4


def distribution(logits: Sequence[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """Probability of each token after temperature, then top-k, then top-p."""
    weights = [math.exp((one - max(logits)) / temperature) for one in logits]
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[: top_k or len(logits)]
    total = sum(weights[token] for token in order)
    kept: list[int] = []
    reached = 0.0
    for token in order:
        if reached / total < top_p:
            kept.append(token)
            reached += weights[token]
    mass = sum(weights[token] for token in kept)
    return [weights[token] / mass if token in kept else 0.0 for token in range(len(logits))]


def is_clear(logits: Sequence[float], temperature: float, top_k: int, numbers: torch.Generator) -> bool:
    """Whether other rounding would draw the same token with the generator's next number, which is not taken."""
    k = (top_k or len(logits)) if temperature else 1
    ordered = sorted(logits, reverse=True)
    if k < len(logits) and ordered[k - 1] - ordered[k] < CLEARLY:
        return False
    if not temperature:
        return True
    place = float(torch.rand((), generator=numbers.clone_state(), dtype=torch.float64))
    return all(abs(place - border) > CLEARLY for border in accumulate(distribution(logits, temperature, top_k, 1.0)))


def penalised(  # noqa: PLR0917
    logits: Sequence[float],
    prompt: Sequence[int],
    drawn: Sequence[int],
    repetition_penalty: float,
    frequency_penalty: float,
    presence_penalty: float,
) -> list[float]:
    """Logits after penalties, one token at a time: CTRL's (section 4.1), then OpenAI's."""
    found = []
    for token, logit in enumerate(logits):
        if token in prompt or token in drawn:
            changed = logit / repetition_penalty if logit > 0 else logit * repetition_penalty
        else:
            changed = logit
        found.append(changed - frequency_penalty * drawn.count(token) - presence_penalty * (token in drawn))
    return found
