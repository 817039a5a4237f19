"""The optimizers of fine-tuning, and its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn

from selftaught.finetuning.plan import FinetuningPlan
from selftaught.training import optimizer as training_optimizer


def rate(plan: FinetuningPlan, step: int, steps: int) -> float:
    """Learning rate of a step (0 is the first) of so many, as OpenAI's code has it: x = step / steps; (1 - x), and in the warm-up
    that times x / warm-up.
    """  # noqa: D205  # the formula belongs to the sentence
    done = step / steps
    rising = done / plan.warmup if done < plan.warmup else 1.0
    return plan.peak_rate * rising * (1 - done)


class Optimizer(training_optimizer.Optimizer):
    """AdamW, or OpenAI's variant, over all weights; decay on those of more than one dimension. Its state is tensors by name."""

    def __init__(self, model: nn.Module, plan: FinetuningPlan) -> None:
        self._named = dict(model.named_parameters())
        matrices = {name for name, weight in self._named.items() if weight.ndim > 1}
        groups = [
            {"params": self._weights(matrices), "weight_decay": plan.weight_decay},
            {"params": self._weights(set(self._named) - matrices), "weight_decay": 0.0},
        ]
        betas = (plan.beta1, plan.beta2)
        self._parts: list[torch.optim.Optimizer] = [
            OpenAIAdam(groups, lr=plan.peak_rate, betas=betas)
            if plan.optimizer == "openai"
            else torch.optim.AdamW(groups, lr=plan.peak_rate, betas=betas, fused=True)
        ]


class OpenAIAdam(torch.optim.Optimizer):
    """Adam of OpenAI's fine-tuning code: p <- p - r (m / (sqrt(v) + e) + decay p), with r = rate sqrt(1 - b2^t) / (1 - b1^t).

    AdamW adds e after the correction of v, and decays by the rate itself.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change the weights by their gradients."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state.update(step=torch.tensor(0.0), mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
        assert weight.grad is not None  # noqa: S101  # asked by the caller
        keep_mean, keep_square = group["betas"]
        state["step"] += 1
        count = float(state["step"])
        state["mean"].lerp_(weight.grad, 1 - keep_mean)
        state["square"].mul_(keep_square).addcmul_(weight.grad, weight.grad, value=1 - keep_square)
        corrected = group["lr"] * (1 - keep_square**count) ** 0.5 / (1 - keep_mean**count)
        change = state["mean"] / (state["square"].sqrt() + group["eps"])
        weight.sub_(change.add_(weight, alpha=group["weight_decay"]), alpha=corrected)
