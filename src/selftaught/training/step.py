"""One training step: micro-batches weighted by token, gradient norm, clipping."""

from __future__ import annotations

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
    """Add up the gradients of all micro-batches, each token with the same weight, and step once.

    A loss or gradient that is not finite changes nothing in the weights: the caller sees it in the result.
    """
    total = 0.0
    for ids_BT, targets_BT in micro_batches:
        with torch.autocast(
            machine.device.partition(":")[0], machine.dtype, enabled=machine.dtype is not torch.float32
        ):
            loss = loss_sum(model, ids_BT.to(machine.device), targets_BT.to(machine.device)) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip))
    if torch.isfinite(torch.tensor([total, norm])).all():
        optimizer.step(rate)
    return StepResult(loss=total, gradient_norm=norm)


@torch.inference_mode()
def mean_loss(model: Transformer, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], machine: Machine) -> float:
    """Mean loss over batches in nats per token, without dropout, in the precision of training."""
    total, count = 0.0, 0
    model.eval()
    for ids_BT, targets_BT in batches:
        with torch.autocast(
            machine.device.partition(":")[0], machine.dtype, enabled=machine.dtype is not torch.float32
        ):
            total += float(loss_sum(model, ids_BT.to(machine.device), targets_BT.to(machine.device)))
        count += targets_BT.numel()
    model.train()
    return total / max(1, count)
