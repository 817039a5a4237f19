"""AdamW (Loshchilov and Hutter 2019), and the clipping of gradients, in one pass over memory where there are kernels for it.

On a processor both only wait for memory: each number that is read or written once less is time. Elsewhere, and for what the
kernels cannot do, it is torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from selftaught.model import kernels
from selftaught.training.parallel import is_shared, whole


class AdamW(torch.optim.AdamW):
    """torch's, whose step takes the gradients times a number, by kernels where they are `wanted` and there."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, rate: float, betas: tuple[float, float], wanted: bool = True
    ) -> None:
        super().__init__(groups, lr=rate, betas=betas, fused=True)
        self._wanted = wanted

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:  # type: ignore[override]  # torch's may call the network again
        """Change the weights by their gradients times `scale`."""
        chosen = [
            (weight, group) for group in self.param_groups for weight in group["params"] if weight.grad is not None
        ]
        if not self._wanted or not _plain([tensor for weight, _ in chosen for tensor in (weight, weight.grad)]):
            scale_gradients((weight for weight, _ in chosen), scale)
            super().step()
            return
        ready = []
        for weight, group in chosen:
            state = self.state[weight]
            if not state:
                means = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                state.update(step=torch.zeros(()), **means)
            state["step"] += 1
            ready.append(
                kernels.AdamWeight(
                    weight=weight,
                    gradient=weight.grad,
                    mean=state["exp_avg"],
                    square=state["exp_avg_sq"],
                    rate=group["lr"],
                    decay=group["weight_decay"],
                    step=int(state["step"]),
                )
            )
        kernels.adamw(ready, betas=self.defaults["betas"], epsilon=self.defaults["eps"], scale=scale)


def scale_gradients(weights: Iterable[torch.Tensor], scale: float) -> None:
    """Multiply all gradients, in place."""
    if scale != 1.0:
        for weight in weights:
            if weight.grad is not None:
                weight.grad.mul_(scale)


def gradient_norm(weights: Iterable[torch.Tensor], *, wanted: bool = True) -> float:
    """The length of all gradients as one vector, over all processes' shares; by a kernel where it is `wanted` and there."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if wanted and _plain(gradients):
        return kernels.norm(gradients)
    return float(whole(torch.nn.utils.get_total_norm(gradients)))


def clipping(norm: float, most: float) -> float:
    """What gradients of this length are multiplied with, so that it is `most` at most."""
    return min(1.0, most / (norm + 1e-6)) if math.isfinite(norm) else 1.0


def _plain(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether kernels can work on them."""
    return kernels.library() is not None and all(
        tensor.dtype is torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and not is_shared(tensor)
        for tensor in tensors
    )
