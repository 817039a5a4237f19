"""Optimizers: AdamW, or Muon for the matrices of the blocks with AdamW for the rest. Their state is tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from selftaught.errors import DamagedFileError
from selftaught.training.adamw import AdamW, gradient_norm, scale_gradients
from selftaught.training.muon import Muon
from selftaught.training.parallel import share_like
from selftaught.training.plan import TrainingPlan


class Optimizer:
    """One or two of torch's optimizers over a network's parameters, as one, with a state that can be saved by name.

    `dtype` is the format that products are computed in, Muon's too.
    """

    def __init__(self, model: nn.Module, plan: TrainingPlan, dtype: torch.dtype = torch.float32) -> None:
        self._named = dict(model.named_parameters())
        self._kernels_wanted = dtype is torch.bfloat16  # else all of a step is PyTorch's
        matrices = [name for name, weight in self._named.items() if weight.ndim == 2]
        by_muon = [name for name in matrices if plan.optimizer == "muon" and name.startswith("blocks.")]
        embeddings = [name for name in matrices if not name.startswith("blocks.")]
        by_adam = set(matrices) - set(by_muon) - set(embeddings)
        groups = [
            {"params": self._weights(set(embeddings)), "weight_decay": plan.weight_decay, "share": plan.embedding_rate},
            {"params": self._weights(by_adam), "weight_decay": plan.weight_decay},
            {
                "params": self._weights(set(self._named) - set(matrices)),
                "weight_decay": 0.0,
                "share": plan.gain_rate,
            },
        ]
        self._parts: list[torch.optim.Optimizer] = [
            AdamW(
                [group for group in groups if group["params"]],
                rate=plan.peak_rate,
                betas=(plan.beta1, plan.beta2),
                wanted=self._kernels_wanted,
            )
        ]
        if by_muon:
            # Queries, keys and values are three matrices that lie in one.
            triple = {name for name in by_muon if "query_key_value" in name}
            split = [
                {"params": self._weights(triple), "parts": 3},
                {"params": self._weights(set(by_muon) - triple), "parts": 1},
            ]
            self._parts.append(Muon(split, weight_decay=plan.weight_decay, momentum=plan.momentum, dtype=dtype))

    def _weights(self, names: set[str]) -> list[nn.Parameter]:
        return [weight for name, weight in self._named.items() if name in names]

    def gradient_norm(self) -> float:
        """The length of all gradients as one vector."""
        return gradient_norm(self._named.values(), wanted=self._kernels_wanted)

    def step(self, rate: float, scale: float = 1.0) -> None:
        """Change the weights by their gradients times `scale`, and forget the gradients."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            if isinstance(part, AdamW):
                part.step(scale)
            else:
                scale_gradients((weight for group in part.param_groups for weight in group["params"]), scale)
                part.step()
        self.forget()

    def forget(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """The state as tensors, named `weight:entry`; empty before the first step."""
        return {
            f"{name}:{entry}": value
            for part in self._parts
            for name, weight in self._named.items()
            if weight in part.state
            for entry, value in part.state[weight].items()
        }

    def begin(self) -> None:
        """Fill the state with what it is before the first step: zeros, which a checkpoint can then be read into."""
        for part in self._parts:
            for weight in (weight for group in part.param_groups for weight in group["params"]):
                if isinstance(part, Muon):
                    part.state[weight]["momentum"] = torch.zeros_like(weight)
                else:
                    means = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                    part.state[weight].update(step=torch.zeros(()), **means)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up a saved state, whole tensors. Raises DamagedFileError if it is of another network."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in state.items():
            name, _, entry = key.rpartition(":")
            found.setdefault(name, {})[entry] = value
        if found and set(found) != set(self._named):
            raise DamagedFileError(
                "the optimizer's state does not fit the network",
                expected=f"{len(self._named)} weights",
                got=f"{len(found)}, {len(set(found) & set(self._named))} of them the network's",
            )
        names = {weight: name for name, weight in self._named.items()}
        for part in self._parts:
            for weight in (weight for group in part.param_groups for weight in group["params"]):
                entries = found.get(names[weight], {})
                # AdamW's count of steps is a number and stays on the processor.
                part.state[weight].update({entry: share_like(value, weight) for entry, value in entries.items()})
