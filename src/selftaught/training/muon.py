"""Muon: momentum whose matrices are made orthogonal before they change the weights (Jordan et al. 2024).

Matrices of one shape go through the iteration together, in the number format that is fast here; torch's own does them one
by one and always in bfloat16, which processors without it compute very slowly. Where several processes train, each iterates
over its part of the matrices, whole ones, whether weights are shared out or not (`matrices.with_whole_matrices`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from selftaught.training.matrices import with_whole_matrices
from selftaught.training.parallel import own_share

COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Of the Newton-Schulz iteration: they bring all singular values near 1 rather than exactly to it, in few rounds."""
SPREAD = 0.2
"""Root mean square of a change at rate 1 for a square matrix: about AdamW's, so that both take one rate (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """Muon over matrices; a group's `parts` says how many matrices lie on top of one another in each of its weights."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, weight_decay: float, momentum: float, dtype: torch.dtype
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "parts": 1})
        self._weight_decay, self._momentum, self._dtype = weight_decay, momentum, dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # torch's may call the network again, which nothing here needs
        """Change the weights by their gradients."""
        chosen = [
            (weight, group) for group in self.param_groups for weight in group["params"] if weight.grad is not None
        ]

        def work(numbers: list[int], changes: list[torch.Tensor]) -> list[torch.Tensor]:
            return orthogonalised(changes, [chosen[number][1]["parts"] for number in numbers], self._dtype)

        changes = [own_share(self._change(weight, weight.grad)) for weight, _ in chosen]
        found = with_whole_matrices(changes, [weight for weight, _ in chosen], work)
        for (weight, group), change in zip(chosen, found, strict=True):
            longer = max(weight.shape[0] // group["parts"], weight.shape[1])
            rate = group["lr"]
            own_share(weight).mul_(1 - rate * self._weight_decay).add_(change, alpha=-rate * SPREAD * math.sqrt(longer))

    def _change(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient ahead of its running mean, as Nesterov takes it."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        mean: torch.Tensor = state["momentum"].lerp_(gradient, 1 - self._momentum)
        return gradient.lerp(mean, self._momentum)


def orthogonalised(matrices: list[torch.Tensor], parts: list[int], dtype: torch.dtype) -> list[torch.Tensor]:
    """`orthogonal` of each matrix, or of each of the `parts` that lie in it on top of one another."""
    found = [torch.empty_like(matrix, memory_format=torch.contiguous_format) for matrix in matrices]
    by_shape: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for matrix, result, count in zip(matrices, found, parts, strict=True):
        for part, place in zip(matrix.chunk(count), result.chunk(count), strict=True):
            # Wide matrices iterate over the smaller product; a tall one is turned.
            pair = (part.mT, place.mT) if part.shape[0] > part.shape[1] else (part, place)
            by_shape.setdefault(pair[0].shape, []).append(pair)
    for pairs in by_shape.values():
        for (_, place), change in zip(pairs, orthogonal(torch.stack([part for part, _ in pairs]), dtype), strict=True):
            place.copy_(change)
    return found


def orthogonal(matrices_NRC: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Nearly the closest matrices with orthonormal rows (R at most C), by products in `dtype`; float32 comes back."""
    a, b, c = COEFFICIENTS
    length = matrices_NRC.norm(dim=(-2, -1), keepdim=True)
    found: torch.Tensor = (matrices_NRC / (length + 1e-7)).to(dtype)
    for _ in range(ITERATIONS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.float()
