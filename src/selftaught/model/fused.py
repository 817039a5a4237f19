"""A block and the loss by the kernels of `kernels.c`, forward and backward: for training on processors that multiply bfloat16.

What they compute is written in transformer.py, which also does it wherever `kernels.library` finds none, or for what they
cannot do: dropout, caches, exact GELU, normalisation after a block, float32.

Products take bfloat16 numbers, rounded from float32 weights as these are packed for the product; hidden states between blocks,
statistics and gradients of weights are float32. Kept for the way back are two hidden states, queries, keys, values and what
they give, and the inner layer before its GELU: 24 bytes a channel and token.

Shapes: N tokens of all rows, C channels, V vocabulary, R rows, H heads, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from selftaught.model import kernels

LOGIT_BYTES = 1 << 27
"""Of logits that exist at a time: less means to pack the head's weights more often."""
_PANEL = 64
"""Rows of logits begin at multiples of so many."""


def in_use(hidden: torch.Tensor) -> bool:
    """Whether products of these float32 states run in bfloat16 here and there are kernels for them."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype is torch.float32
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
        and kernels.library() is not None
    )


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """What a block is computed with beside its weights."""

    heads: int
    scale: float
    """Of attention's scores."""
    epsilon: float
    firsts: torch.Tensor | None
    """Of R, T: the first place of its row that each token sees, as int32; None: all see from the beginning."""


def block(hidden_RTC: torch.Tensor, options: BlockOptions, modules: tuple[nn.Module, ...]) -> torch.Tensor:
    """The states after a block of GPT-2.

    Its modules: norm, queries keys and values, output; norm, inner, outer.
    """
    weights = [weight for module in modules for weight in (module.weight, module.bias)]
    found: torch.Tensor = _Block.apply(hidden_RTC.contiguous(), options, *weights)  # type: ignore[no-untyped-call]
    return found


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_RTC: torch.Tensor, options: BlockOptions, *weights: torch.Tensor) -> torch.Tensor:
        norm1, bias1, joined_weight, joined_bias, output, output_bias, norm2, bias2, inner, inner_bias, outer, last = (
            weights
        )
        rows, length, channels = hidden_RTC.shape
        hidden = hidden_RTC.view(-1, channels)
        halves = hidden.new_empty(0, dtype=torch.bfloat16)
        normal, statistics1 = kernels.normalise(hidden, norm1, bias1, options.epsilon)
        joined = halves.new_empty(len(hidden), 3 * channels)
        kernels.product(normal, joined_weight, joined, kernels.HALVES, along=True, bias=joined_bias)
        mixed, log_sum = torch.empty_like(normal), hidden.new_empty(rows, options.heads, length)
        kernels.attention(joined, options.firsts, mixed, log_sum, options.scale)
        middle = torch.empty_like(hidden)
        kernels.product(mixed, output, middle, kernels.ADDED, along=True, bias=output_bias, base=hidden)
        normal, statistics2 = kernels.normalise(middle, norm2, bias2, options.epsilon)
        before = halves.new_empty(len(hidden), len(inner))
        active = torch.empty_like(before)
        kernels.product(normal, inner, before, kernels.ACTIVATED, along=True, bias=inner_bias, second=active)
        result = torch.empty_like(hidden_RTC)
        kernels.product(active, outer, result.view_as(hidden), kernels.ADDED, along=True, bias=last, base=middle)
        ctx.save_for_backward(hidden, statistics1, joined, mixed, log_sum, middle, statistics2, before, *weights)
        ctx.options = options
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *changes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, statistics1, joined, mixed, log_sum, middle, statistics2, before, *weights = ctx.saved_tensors
        norm1, bias1, joined_weight, _, output, _, norm2, bias2, inner, _, outer, _ = weights
        options: BlockOptions = ctx.options
        change = changes[0].reshape(hidden.shape)
        rounded = change.to(torch.bfloat16)
        active, before_change = torch.empty_like(before), torch.empty_like(before)
        kernels.product(rounded, outer, before_change, kernels.ACTIVATED_BACK, inner=before, second=active)
        of_outer = _weight_change(rounded, active)
        del active
        normal, _ = kernels.normalise(middle, norm2, bias2, options.epsilon)
        of_inner = _weight_change(before_change, normal)
        kernels.product(before_change, inner, normal, kernels.HALVES)
        change, *of_norm2 = kernels.normalise_back(normal, middle, norm2, statistics2, change, rounded)
        of_output = _weight_change(rounded, mixed)
        kernels.product(rounded, output, normal, kernels.HALVES)
        joined_change = kernels.attention_back(joined, options.firsts, mixed, log_sum, options.scale, normal)
        normal, _ = kernels.normalise(hidden, norm1, bias1, options.epsilon)
        of_joined = _weight_change(joined_change, normal)
        kernels.product(joined_change, joined_weight, normal, kernels.HALVES)
        change, *of_norm1 = kernels.normalise_back(normal, hidden, norm1, statistics1, change)
        gradients = (*of_norm1, *of_joined, *of_output, *of_norm2, *of_inner, *of_outer)
        return change.view_as(changes[0]), None, *gradients


def _weight_change(change_NO: torch.Tensor, inputs_NI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of a matrix and its bias, in float32."""
    outputs = change_NO.shape[1]
    matrix, bias = torch.empty(outputs, inputs_NI.shape[1]), torch.empty(outputs)
    kernels.product(change_NO, inputs_NI, matrix, turned=True, sums=bias)
    return matrix, bias


class TiedGradient:
    """The gradient of a matrix that is both head and embedding, on its way from the one to the other.

    The embedding's share are a few rows, added to the head's in place instead of to zeros of the size of the matrix.
    """

    matrix: torch.Tensor | None = None


def embedded(ids_BT: torch.Tensor, weight_VC: torch.Tensor, tied: TiedGradient) -> torch.Tensor:
    """Rows of a matrix that is the head of the loss too, which has to be given the same `tied`."""
    found: torch.Tensor = _Embedding.apply(ids_BT.long().contiguous(), weight_VC, tied)  # type: ignore[no-untyped-call]
    return found


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids_BT: torch.Tensor, weight_VC: torch.Tensor, tied: TiedGradient) -> torch.Tensor:
        ctx.save_for_backward(ids_BT)
        ctx.tied = tied
        return nn.functional.embedding(ids_BT, weight_VC)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *changes: torch.Tensor) -> tuple[None, None, None]:
        # Autograd waits for this before it hands the head's gradient on, though nothing comes from here.
        (ids_BT,) = ctx.saved_tensors
        kernels.add_rows(ctx.tied.matrix, ids_BT, changes[0].contiguous())
        ctx.tied.matrix = None
        return None, None, None


def loss_sum(
    hidden_NC: torch.Tensor,
    norm: nn.Module,
    weight_VC: torch.Tensor,
    targets_N: torch.Tensor,
    tied: TiedGradient | None = None,
) -> torch.Tensor:
    """Sum of -log p(target) in float32, of states before the last normalisation, which may be none.

    Raises IndexError for a target that is not in the vocabulary: the kernels would read and write beside their memory.
    """
    least, most = (int(end) for end in torch.aminmax(targets_N))
    if least < 0 or most >= len(weight_VC):
        raise IndexError(f"target {least if least < 0 else most} is not in a vocabulary of {len(weight_VC)}")
    epsilon = norm.eps if isinstance(norm, nn.LayerNorm) else 0.0
    loss: torch.Tensor = _Loss.apply(hidden_NC, weight_VC, targets_N, epsilon, tied, *norm.parameters())  # type: ignore[no-untyped-call]
    return loss


class _Loss(torch.autograd.Function):
    """Gradients of normalised states and head are made while the logits of a chunk are there, so none are kept."""

    @staticmethod
    def forward(  # noqa: PLR0917  # autograd gives them by place
        ctx: Any,
        hidden_NC: torch.Tensor,
        weight_VC: torch.Tensor,
        targets_N: torch.Tensor,
        epsilon: float,
        tied: TiedGradient | None,
        *norm: torch.Tensor,
    ) -> torch.Tensor:
        if norm:
            normal, statistics = kernels.normalise(hidden_NC, norm[0], norm[1], epsilon)
        else:
            normal, statistics = hidden_NC.to(torch.bfloat16), hidden_NC.new_empty(0)
        vocabulary, wanted = len(weight_VC), any(ctx.needs_input_grad)
        width = -(-vocabulary // _PANEL) * _PANEL
        size = max(_PANEL, min(len(normal), LOGIT_BYTES // (2 * width)))
        logits, targets = normal.new_empty(size, width), targets_N.long().contiguous()
        normal_change = torch.empty_like(normal) if wanted else None
        weight_change = torch.empty_like(weight_VC) if wanted else None
        total = hidden_NC.new_zeros(())
        for start in range(0, len(normal), size):
            part = normal[start : start + size]
            scores = logits[: len(part)]
            kernels.product(part, weight_VC, scores, kernels.HALVES, along=True)
            total += kernels.cross_entropy(scores, targets[start : start + size], vocabulary, change=wanted).sum()
            if normal_change is not None and weight_change is not None:
                known = scores[:, :vocabulary]
                kernels.product(known, weight_VC, normal_change[start : start + size], kernels.HALVES)
                kind = kernels.ADDED if start else kernels.FLOATS
                kernels.product(known, part, weight_change, kind, turned=True, base=weight_change if start else None)
        ctx.save_for_backward(hidden_NC, statistics, normal_change, weight_change, *norm)
        ctx.tied = tied
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *changes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, statistics, normal_change, weight_change, *norm = ctx.saved_tensors
        of_norm: list[torch.Tensor] = []
        if norm:
            change, *of_norm = kernels.normalise_back(normal_change, hidden, norm[0], statistics)
        else:
            change = normal_change.float()
        for gradient in (change, weight_change, *of_norm):
            gradient.mul_(changes[0])
        if ctx.tied is not None:
            ctx.tied.matrix = weight_change
        return change, weight_change, None, None, None, *of_norm
