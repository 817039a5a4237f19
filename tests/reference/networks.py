"""Small networks for tests, with weights large enough that every part of them matters."""

from __future__ import annotations

from typing import Any

import torch

from selftaught import compute
from selftaught.model.initial import initialise
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Transformer

KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt1": {"norm": "after"},
    "one wide head": {"heads": 1, "channels": 96, "vocabulary": 200},
    "others": {
        "channels": 60,
        "heads": 5,
        "activation": "gelu",
        "tied": False,
        "scale_by_layer": True,
        "attention_float32": True,
        "inner": 100,
        "norm_epsilon": 1e-3,
    },
}
"""Changes of a shape that, taken together, use all that a shape can say."""


def network(*, seed: int = 1, **changes: Any) -> Transformer:
    """A network of two layers in evaluation mode, all its parameters random."""
    numbers = {"layers": 2, "heads": 2, "channels": 16, "context": 32, "vocabulary": 50, **changes}
    model = Transformer(ModelShape(**numbers))
    generator = compute.generator("test network", seed)
    initialise(model, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()
