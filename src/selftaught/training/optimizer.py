"""Optimizers: AdamW, or Muon for the matrices of the blocks with AdamW for the rest. Their state is tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from selftaught.errors import DamagedFileError
from selftaught.training.plan import TrainingPlan


class Optimizer:
    """torch's optimizers over the parameters of a network, as one, with a state that can be saved by name."""

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        named = dict(model.named_parameters())
        by_muon = {
            name for name in named if plan.optimizer == "muon" and name.startswith("blocks.") and named[name].ndim == 2
        }
        decayed = {name for name, weight in named.items() if weight.ndim == 2} - by_muon
        groups = [
            {"params": [named[name] for name in named if name in decayed], "weight_decay": plan.weight_decay},
            {"params": [named[name] for name in named if name not in decayed | by_muon], "weight_decay": 0.0},
        ]
        self._named = named
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=plan.peak_rate, betas=(plan.beta1, plan.beta2), fused=True)
        ]
        if by_muon:
            matrices = [named[name] for name in named if name in by_muon]
            self._parts.append(
                torch.optim.Muon(
                    matrices, lr=plan.peak_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )

    def step(self, rate: float) -> None:
        """Change the weights by their gradients, and forget the gradients."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """The state as tensors, named `weight:entry`."""
        return {
            f"{name}:{entry}": value
            for part in self._parts
            for name, weight in self._named.items()
            if weight in part.state
            for entry, value in part.state[weight].items()
            if isinstance(value, torch.Tensor)
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up a saved state. Raises DamagedFileError if it is of another network or optimizer."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in state.items():
            name, _, entry = key.rpartition(":")
            found.setdefault(name, {})[entry] = value
        if set(found) != set(self._named):
            raise DamagedFileError(
                "the optimizer's state does not fit the network", got=f"{len(found)} of {len(self._named)} weights"
            )
        for part in self._parts:
            for group in part.param_groups:
                for weight in group["params"]:
                    name = next(name for name, own in self._named.items() if own is weight)
                    part.state[weight].update(found[name])
