"""The kernels of `kernels.c`: what a training step computes, for processors that multiply bfloat16 but have no matrix unit.

Tensors are contiguous and lie on the processor. Shapes: N tokens of all rows, C channels, H heads, R rows, T positions.
Results are the same to the last bit whatever the number of threads.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from selftaught import compilation, console

SOURCE = Path(__file__).with_name("kernels.c")
FLOATS, HALVES, ADDED, ACTIVATED, ACTIVATED_BACK = range(5)
"""Kinds of results of a product, as in kernels.c."""
_LANES = 16
"""As in kernels.c: channels and head sizes are multiples."""


def _pointers(*names: str) -> Sequence[tuple[str, type]]:
    return [(name, ctypes.c_void_p) for name in names]


def _sizes(*names: str) -> Sequence[tuple[str, type]]:
    return [(name, ctypes.c_int64) for name in names]


class _Product(ctypes.Structure):
    _fields_ = (
        *_pointers("left", "right", "bias", "base", "result", "second", "inner", "sums"),
        *_sizes("rows", "columns", "depth", "left_stride", "right_stride", "result_stride"),
        *((name, ctypes.c_int32) for name in ("turned", "along", "right_is_float", "kind", "threads")),
    )


class _Attention(ctypes.Structure):
    _fields_ = (
        *_pointers("joined", "firsts", "mixed", "log_sum", "change", "joined_change"),
        *_sizes("rows", "length", "heads", "size"),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int32),
    )


class _Norm(ctypes.Structure):
    _fields_ = (
        *_pointers("hidden", "weight", "bias", "normal", "mean", "deviation", "change", "base", "hidden_change"),
        *_pointers("rounded", "weight_change", "bias_change"),
        *_sizes("rows", "channels"),
        ("epsilon", ctypes.c_float),
        ("threads", ctypes.c_int32),
    )


class _Adam(ctypes.Structure):
    _fields_ = (
        *_pointers("weight", "gradient", "mean", "square"),
        ("count", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("kept", "rate", "inverse_square_bias")),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where PyTorch's own are better, or where they cannot be compiled."""
    able = torch.cpu.get_capabilities()
    if not able.get("avx512_bf16") or able.get("amx_bf16"):
        return None
    found = compilation.library(SOURCE)
    if found is None:
        console.warn("no C compiler with OpenMP works here (cc, or what CC says), so PyTorch's slower kernels are used")
    else:
        found.cross_entropy.restype = found.add_rows.restype = found.adamw.restype = None
        found.squares.restype = ctypes.c_double
    return found


def fits(channels: int, heads: int) -> bool:
    """Whether rows of so many channels and heads can be computed here."""
    return channels % (heads * _LANES) == 0


def product(
    left: torch.Tensor,
    right: torch.Tensor,
    result: torch.Tensor,
    kind: int = FLOATS,
    *,
    turned: bool = False,
    along: bool = False,
    bias: torch.Tensor | None = None,
    base: torch.Tensor | None = None,
    second: torch.Tensor | None = None,
    inner: torch.Tensor | None = None,
    sums: torch.Tensor | None = None,
) -> None:
    """`result` = `left` @ `right`, with left.T where it is `turned` and right.T where it lies `along` the inner dimension.

    `left` is bfloat16, `right` too or float32, and then rounded. The result is + bias, in float32 (FLOATS) or bfloat16
    (HALVES); added to `base` (ADDED); with its GELU in `second` (ACTIVATED); or times GELU's slope at `inner`, whose GELU comes
    in `second` (ACTIVATED_BACK). `sums` gets the sums over the rows of a turned left.
    """
    rows, depth = (left.shape[1], left.shape[0]) if turned else (left.shape[0], left.shape[1])
    asked = _Product(
        *(_place(tensor) for tensor in (left, right, bias, base, result, second, inner, sums)),
        *(rows, right.shape[0] if along else right.shape[1], depth),
        *(tensor.stride(0) for tensor in (left, right, result)),
        *(turned, along, right.dtype is torch.float32, kind, torch.get_num_threads()),
    )
    _call("product", asked)


def attention(
    joined_N3C: torch.Tensor,
    firsts_RT: torch.Tensor | None,
    mixed_NC: torch.Tensor,
    log_sum_RHT: torch.Tensor,
    scale: float,
) -> None:
    """Fill `mixed_NC` from queries, keys and values, and what the way back needs; a token sees from its first place on."""
    _attend(joined_N3C, firsts_RT, mixed_NC, log_sum_RHT, scale, None, None)


def attention_back(  # noqa: PLR0917  # those of the way forward, and the change
    joined_N3C: torch.Tensor,
    firsts_RT: torch.Tensor | None,
    mixed_NC: torch.Tensor,
    log_sum_RHT: torch.Tensor,
    scale: float,
    change_NC: torch.Tensor,
) -> torch.Tensor:
    """The change of queries, keys and values."""
    joined_change = torch.empty_like(joined_N3C)
    _attend(joined_N3C, firsts_RT, mixed_NC, log_sum_RHT, scale, change_NC, joined_change)
    return joined_change


def _attend(  # noqa: PLR0917
    joined: torch.Tensor,
    firsts: torch.Tensor | None,
    mixed: torch.Tensor,
    log_sum: torch.Tensor,
    scale: float,
    change: torch.Tensor | None,
    joined_change: torch.Tensor | None,
) -> None:
    rows, heads, length = log_sum.shape
    tensors = (joined, firsts, mixed, log_sum, change, joined_change)
    size = mixed.shape[1] // heads
    asked = _Attention(*map(_place, tensors), rows, length, heads, size, scale, torch.get_num_threads())
    _call("attention", asked)


def normalise(
    hidden_NC: torch.Tensor, weight_C: torch.Tensor, bias_C: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Layer normalisation in bfloat16, and its statistics_2N for the way back."""
    normal = torch.empty_like(hidden_NC, dtype=torch.bfloat16)
    statistics = torch.empty(2, len(hidden_NC))
    tensors = (hidden_NC, weight_C, bias_C, normal, statistics[0], statistics[1])
    missing = (None,) * 6
    _call("normalise", _Norm(*map(_place, tensors), *missing, *hidden_NC.shape, epsilon, torch.get_num_threads()))
    return normal, statistics


def normalise_back(  # noqa: PLR0917  # those of the way forward, and the changes
    change_NC: torch.Tensor,
    hidden_NC: torch.Tensor,
    weight_C: torch.Tensor,
    statistics_2N: torch.Tensor,
    base_NC: torch.Tensor | None = None,
    rounded_NC: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The change of hidden, added to `base_NC`, and those of weight and bias; `rounded_NC` gets the first in bfloat16."""
    hidden_change, weight_change, bias_change = (torch.empty_like(one) for one in (hidden_NC, weight_C, weight_C))
    before = (hidden_NC, weight_C, None, None, statistics_2N[0], statistics_2N[1])
    after = (change_NC, base_NC, hidden_change, rounded_NC, weight_change, bias_change)
    _call("normalise_back", _Norm(*map(_place, before + after), *hidden_NC.shape, 0.0, torch.get_num_threads()))
    return hidden_change, weight_change, bias_change


def cross_entropy(logits_NV: torch.Tensor, targets_N: torch.Tensor, vocabulary: int, *, change: bool) -> torch.Tensor:
    """-log p(target) of each token; with `change` the bfloat16 logits become its derivative.

    Rows of logits have room for a multiple of 16 above the vocabulary, which becomes zero.
    """
    losses = torch.empty(len(logits_NV))
    sizes = (ctypes.c_int64(number) for number in (len(losses), vocabulary, logits_NV.stride(0)))
    places = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (logits_NV, targets_N, losses))
    _found().cross_entropy(*places, *sizes, ctypes.c_int32(change), ctypes.c_int32(torch.get_num_threads()))
    return losses


def add_rows(matrix_VC: torch.Tensor, ids: torch.Tensor, rows: torch.Tensor) -> None:
    """Add each of the rows to the one of the matrix that its id names; all float32."""
    places = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (matrix_VC, ids, rows))
    sizes = (ctypes.c_int64(number) for number in (ids.numel(), matrix_VC.shape[1]))
    _found().add_rows(*places, *sizes, ctypes.c_int32(torch.get_num_threads()))


@dataclass(frozen=True, kw_only=True)
class AdamWeight:
    """A weight, its gradient and running means, all float32, and what its step of AdamW is taken with."""

    weight: torch.Tensor
    gradient: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    rate: float
    decay: float
    step: int
    """From 1 on."""


def adamw(weights: Sequence[AdamWeight], *, betas: tuple[float, float], epsilon: float, scale: float = 1.0) -> None:
    """A step of AdamW with the gradients times `scale`: the formula of `torch.optim.AdamW`."""
    asked = (_Adam * len(weights))(
        *(
            _Adam(
                *(one.weight.data_ptr(), one.gradient.data_ptr(), one.mean.data_ptr(), one.square.data_ptr()),
                one.weight.numel(),
                *(1 - one.rate * one.decay, one.rate / (1 - betas[0] ** one.step), (1 - betas[1] ** one.step) ** -0.5),
            )
            for one in weights
        )
    )
    numbers = (*map(ctypes.c_double, betas), *map(ctypes.c_float, (epsilon, scale)))
    _found().adamw(asked, ctypes.c_int64(len(weights)), *numbers, ctypes.c_int32(torch.get_num_threads()))


def norm(tensors: Sequence[torch.Tensor]) -> float:
    """The length of float32 tensors as one vector."""
    asked = (_Adam * len(tensors))(*(_Adam(gradient=one.data_ptr(), count=one.numel()) for one in tensors))
    total: float = _found().squares(asked, ctypes.c_int64(len(tensors)), ctypes.c_int32(torch.get_num_threads()))
    if total < 0:
        raise MemoryError
    return math.sqrt(total)


def _place(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _found() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("there are no kernels here")
    return found


def _call(name: str, asked: ctypes.Structure) -> None:
    if getattr(_found(), name)(ctypes.byref(asked)):
        raise MemoryError
