"""The first weights of a network (GPT-2 paper, section 2.3; GPT-1 paper, section 4.1)."""

from __future__ import annotations

import math

import torch
from torch import nn

from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Block, Transformer

WEIGHT_DEVIATION = 0.02
"""GPT-1 paper, section 4.1: N(0, 0.02)."""
POSITION_DEVIATION = 0.01
"""OpenAI's GPT-2 code draws positions so; GPT-1's draws them like all weights."""


def fresh(shape: ModelShape, generator: torch.Generator) -> Transformer:
    """Return a new network on the generator's device with its first weights; equal generators, equal weights."""
    with torch.device("meta"):
        model = Transformer(shape)
    model.to_empty(device=generator.device)
    initialise(model, generator)
    return model


@torch.no_grad()
def initialise(model: Transformer, generator: torch.Generator) -> None:
    """Draw every weight of a network anew.

    Weights are N(0, 0.02), biases 0, normalisations 1 and 0. In GPT-2 the two projections of each layer that add to the
    residual stream are scaled by 1/sqrt(N), N the number of residual layers (two for each of ours).
    """
    gpt2 = model.shape.norm == "before"
    model.tokens.weight.normal_(0, WEIGHT_DEVIATION, generator=generator)
    model.positions.weight.normal_(0, POSITION_DEVIATION if gpt2 else WEIGHT_DEVIATION, generator=generator)
    residual = WEIGHT_DEVIATION / math.sqrt(2 * model.shape.layers) if gpt2 else WEIGHT_DEVIATION
    for block in (module for module in model.modules() if isinstance(module, Block)):
        _draw(block.attention.joined, WEIGHT_DEVIATION, generator)
        _draw(block.attention.out, residual, generator)
        _draw(block.feed_forward.wide, WEIGHT_DEVIATION, generator)
        _draw(block.feed_forward.narrow, residual, generator)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1)
            module.bias.zero_()


def _draw(layer: nn.Linear, deviation: float, generator: torch.Generator) -> None:
    layer.weight.normal_(0, deviation, generator=generator)
    layer.bias.zero_()
