"""A network with its weights turned once, not at each call, into the format that generation reads them in.

Generation reads every weight for every token, so its speed is that of reading them: half as many bytes, twice as fast. Only
matrices are turned; embeddings, normalisation, and the sums that blocks add to stay float32. int8 is weight-only: one scale
for each row of a matrix (each output channel), products with activations in bfloat16, in which the integers are exact.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from selftaught.model.transformer import Transformer

WeightFormat = Literal["float32", "bfloat16", "int8"]
LARGEST = 127
"""Of the integers used, so that they are symmetric."""


class HalfLinear(nn.Module):
    """`nn.Linear` whose matrix is bfloat16, and its inputs with it; outputs are float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False)
        self.bias = bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs of any format and leading shape to outputs in float32."""
        product = functional.linear(inputs.to(torch.bfloat16), self.weight).float()
        return product if self.bias is None else product + self.bias


class Int8Linear(nn.Module):
    """`nn.Linear` whose matrix is int8 with a scale for each output."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        integers, scale = quantised(weight)
        self.register_buffer("weight", integers)
        self.register_buffer("scale", scale)
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.bias = bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs of any format and leading shape to outputs in float32."""
        product = functional.linear(inputs.to(torch.bfloat16), self.weight.to(torch.bfloat16)).float() * self.scale
        return product if self.bias is None else product + self.bias


def quantised(weight_OI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 integers_OI and scale_O with integers * scale near the weights: the largest of each row is 127."""
    weight_OI = weight_OI.detach().float()
    scale_O = weight_OI.abs().amax(dim=1).clamp(min=1e-12) / LARGEST
    return (weight_OI / scale_O[:, None]).round_().to(torch.int8), scale_O


def recast(model: Transformer, weights: WeightFormat) -> Transformer:
    """The network with its blocks' matrices in another format; everything else is shared with `model`.

    The head is the caller's: see `head`. float32 returns the network itself.
    """
    if weights == "float32":
        return model
    kind = HalfLinear if weights == "bfloat16" else Int8Linear
    light = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for name, module in list(light.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            path, _, last = name.rpartition(".")
            setattr(light.blocks.get_submodule(path), last, kind(module.weight, module.bias))
    return light


def head(model: Transformer, weights: WeightFormat) -> Callable[[torch.Tensor], torch.Tensor]:
    """What turns hidden states of any leading shape into logits in float32, its matrix in a format."""
    if weights == "float32":
        return model.logits
    return (HalfLinear if weights == "bfloat16" else Int8Linear)(model.head_weight, None)
