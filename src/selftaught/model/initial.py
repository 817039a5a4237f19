"""Initial weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from selftaught.model.transformer import Transformer

SPREAD = 0.02
"""GPT-1 paper, section 4.1."""


def initialise(model: Transformer, generator: torch.Generator, *, spread: float = SPREAD) -> None:
    """Normal weights of standard deviation `spread`, zero biases.

    In GPT-2 the matrices that write into the residual are smaller by the square root of their number, two a layer
    (section 2.3); positions have half the spread, as in the released code.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=spread, generator=generator)
    with torch.no_grad():
        if model.shape.norm == "before":
            model.positions.weight.mul_(0.5)
            for name, weight in model.named_parameters():
                if name.endswith(("attention.output.weight", "feed.outer.weight")):
                    weight.div_((2 * model.shape.layers) ** 0.5)


@contextmanager
def without_values() -> Iterator[None]:
    """Networks that are made in the block have shapes alone (meta tensors), and wait for the weights of a file."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """What would draw initial weights does nothing: of meta tensors torch asks its compiler for that, a second to import."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return None
        return func(*args, **(kwargs or {}))


def resized(model: Transformer, vocabulary: int, generator: torch.Generator) -> Transformer:
    """A copy with another number of ids: those that there were keep their rows, new ones are drawn as at the beginning."""
    with without_values():
        copy = Transformer(replace(model.shape, vocabulary=vocabulary))
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name in ("tokens.weight", "head.weight"):
        if name in state:
            rows = torch.empty(vocabulary, model.shape.channels, dtype=state[name].dtype)
            nn.init.normal_(rows, std=SPREAD, generator=generator)
            kept = min(vocabulary, model.shape.vocabulary)
            rows[:kept] = state[name][:kept]
            state[name] = rows
    copy.load_state_dict(state, assign=True)
    return copy.requires_grad_().train(model.training)
