"""One training step: micro-batches weighted by token, gradient norm, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from selftaught.compute import Machine
from selftaught.model.transformer import Transformer
from selftaught.training.adamw import clipping
from selftaught.training.optimizer import Optimizer
from selftaught.training.parallel import Processes


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step measured."""

    loss: float
    """Mean over its tokens, nats."""
    gradient_norm: float
    """Before clipping."""
    limit: float = math.inf
    """The largest loss that was let through."""

    @property
    def finite(self) -> bool:
        """Whether both are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)

    @property
    def done(self) -> bool:
        """Whether the step changed the weights."""
        return self.finite and self.loss <= self.limit


def train_step(
    model: Transformer,
    optimizer: Optimizer,
    micro_batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    tokens: int,
    rate: float,
    clip: float,
    machine: Machine,
    processes: Processes | None = None,
    limit: float = math.inf,
) -> StepResult:
    """Add up the gradients of all micro-batches (ids_BT, targets_BT), each of the `tokens` with the same weight, and step once.

    Where several `processes` train, each gives its own micro-batches, as many as the others, and `tokens` are those of all. A
    loss above `limit`, or a loss or gradient that is not finite, changes nothing in the weights: the caller sees it in the
    result.
    """
    processes = processes or Processes(model, machine)
    total = processes.add_gradients(micro_batches, tokens)
    norm = optimizer.gradient_norm()
    result = StepResult(loss=float(total), gradient_norm=norm, limit=limit)
    if result.done:
        optimizer.step(rate, clipping(norm, clip))
    else:
        optimizer.forget()
    return result


@torch.no_grad()
def mean_loss(
    model: Transformer,
    batches: Sequence[tuple[torch.Tensor, torch.Tensor]],
    machine: Machine,
    processes: Processes | None = None,
) -> float:
    """Mean loss over batches in nats per token, without dropout, in the precision of training.

    Several processes deal the batches out among them.
    """
    processes = processes or Processes(model, machine)
    total = torch.zeros((), dtype=torch.float64)
    model.eval()
    for first in range(0, len(batches), machine.world_size):
        # All processes compute equally often, since each may need the others' weights; what is one too many does not count.
        number = first + machine.rank
        loss = processes.loss_sum(*batches[min(number, len(batches) - 1)])
        if number < len(batches):
            total += float(loss)
    model.train()
    return float(processes.sum(total)) / max(1, sum(targets_BT.numel() for _, targets_BT in batches))
