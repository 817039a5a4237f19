"""One training step: micro-batches weighted by token, gradient norm, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from selftaught.compute import Machine
from selftaught.model.transformer import Transformer, loss_sum
from selftaught.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step measured."""

    loss: float
    """Mean over its tokens, nats."""
    gradient_norm: float
    """Before clipping."""

    @property
    def finite(self) -> bool:
        """Whether both are numbers; if not, the step changed no weight."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def train_step(
    model: Transformer,
    optimizer: Optimizer,
    micro_batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    tokens: int,
    rate: float,
    clip: float,
    machine: Machine,
) -> StepResult:
    """Add up the gradients of all micro-batches (ids_BT, targets_BT), each of the `tokens` with the same weight, and step once.

    A loss or gradient that is not finite changes nothing in the weights: the caller sees it in the result.
    """
    total = torch.zeros((), device=machine.device)
    for ids_BT, targets_BT in micro_batches:
        loss = _loss_sum(model, ids_BT, targets_BT, machine) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    result = StepResult(loss=float(total), gradient_norm=float(norm))
    if result.finite:
        optimizer.step(rate)
    else:
        optimizer.forget()
    return result


@torch.inference_mode()
def mean_loss(model: Transformer, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], machine: Machine) -> float:
    """Mean loss over batches in nats per token, without dropout, in the precision of training."""
    total, count = 0.0, 0
    model.eval()
    for ids_BT, targets_BT in batches:
        total += float(_loss_sum(model, ids_BT, targets_BT, machine))
        count += targets_BT.numel()
    model.train()
    return total / max(1, count)


def _loss_sum(model: Transformer, ids_BT: torch.Tensor, targets_BT: torch.Tensor, machine: Machine) -> torch.Tensor:
    kind = machine.device.partition(":")[0]
    with torch.autocast(kind, machine.dtype, enabled=machine.dtype is not torch.float32):
        return loss_sum(model, ids_BT.to(machine.device), targets_BT.to(machine.device))
