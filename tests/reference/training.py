"""Training by hand: GPT-2's network written out on plain tensors in float64, clipping, and AdamW, a whole batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

Weights = dict[str, torch.Tensor]


def normalised(hidden: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    """Layer normalisation by its formula."""
    away = hidden - hidden.mean(-1, keepdim=True)
    scaled = away / (away.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(hidden: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    """A matrix and a bias."""
    return hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attended(hidden: torch.Tensor, weights: Weights, name: str, heads: int) -> torch.Tensor:
    """Causal attention, a head at a time."""
    query, key, value = linear(hidden, weights, f"{name}.query_key_value").chunk(3, -1)
    size, future = query.shape[-1] // heads, torch.ones(hidden.shape[1], hidden.shape[1]).triu(1).bool()
    parts = []
    for q, k, v in zip(query.split(size, -1), key.split(size, -1), value.split(size, -1), strict=True):
        scores = (q @ k.mT / math.sqrt(size)).masked_fill(future, -math.inf).exp()
        parts.append(scores / scores.sum(-1, keepdim=True) @ v)
    return linear(torch.cat(parts, -1), weights, f"{name}.output")


def mean_loss(weights: Weights, ids: torch.Tensor, targets: torch.Tensor, *, layers: int, heads: int) -> torch.Tensor:
    """Mean of -log p(target), from all logits at once."""
    hidden = weights["tokens.weight"][ids] + weights["positions.weight"][: ids.shape[1]]
    for name in (f"blocks.{layer}" for layer in range(layers)):
        normal = normalised(hidden, weights, f"{name}.attention_norm")
        hidden = hidden + attended(normal, weights, f"{name}.attention", heads)
        inner = linear(normalised(hidden, weights, f"{name}.feed_norm"), weights, f"{name}.feed.inner")
        gelu = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        hidden = hidden + linear(gelu, weights, f"{name}.feed.outer")
    scores = (normalised(hidden, weights, "norm") @ weights["tokens.weight"].T).exp()
    chosen = (scores / scores.sum(-1, keepdim=True)).gather(-1, targets[..., None])
    return -chosen.log().mean()


def losses(
    weights: Weights, batches: list[tuple[torch.Tensor, torch.Tensor]], rates: list[float], *, layers: int, heads: int
) -> Iterator[float]:
    """The loss of each step of training with clipping at 1, betas 0.9 and 0.95, and a decay of 0.1 on matrices."""
    now = {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}
    first, second = ({name: torch.zeros_like(weight) for name, weight in now.items()} for _ in range(2))
    for step, ((ids, targets), rate) in enumerate(zip(batches, rates, strict=True), start=1):
        loss = mean_loss(now, ids, targets, layers=layers, heads=heads)
        found = dict(zip(now, torch.autograd.grad(loss, list(now.values())), strict=True))
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in found.values()))
        for name, gradient in found.items():
            change = gradient * min(1.0, 1.0 / norm)
            first[name] = 0.9 * first[name] + 0.1 * change
            second[name] = 0.95 * second[name] + 0.05 * change**2
            mean, spread = first[name] / (1 - 0.9**step), (second[name] / (1 - 0.95**step)).sqrt()
            decayed = now[name].detach() * (1 - rate * (0.1 if gradient.ndim == 2 else 0))
            now[name] = (decayed - rate * mean / (spread + 1e-8)).requires_grad_()
        yield loss.item()
