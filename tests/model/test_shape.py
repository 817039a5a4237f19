from __future__ import annotations

import dataclasses
from functools import partial
from unittest import mock

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from selftaught.errors import UsageError
from selftaught.model import cost, kernels, transformer
from selftaught.model.loss import loss_sum
from selftaught.model.shape import NAMED_SHAPES, ModelShape
from selftaught.model.transformer import Transformer
from tests.reference.networks import network


@pytest.mark.parametrize(
    "change",
    [{"layers": 0}, {"heads": 0}, {"channels": 0}, {"context": 0}, {"vocabulary": -1}, {"heads": 3}, {"dropout": 1.0}],
)
def test_refuses_what_cannot_be_built(change):
    numbers = {"layers": 2, "heads": 2, "channels": 16, "context": 8, "vocabulary": 50}
    with pytest.raises(UsageError):
        ModelShape(**(numbers | change))


def test_the_named_sizes_have_the_published_numbers_of_parameters():
    published = {"gpt1": 116.5, "gpt2-small": 124.4, "gpt2-medium": 354.8, "gpt2-large": 774.0, "gpt2-xl": 1557.6}
    counted = {name: round(cost.parameters(NAMED_SHAPES[name]) / 1e6, 1) for name in published}
    assert counted == published  # millions, as the released files have them; GPT-1's with its 512 positions


@pytest.mark.parametrize(
    "options", [{}, {"norm": "after"}, {"tied": False, "inner": 40}, {"norm": "after", "tied": False}]
)
def test_formula_and_network_agree_on_parameters(options):
    shape = ModelShape(layers=3, heads=2, channels=16, context=24, vocabulary=50, **options)
    assert sum(parameter.numel() for parameter in Transformer(shape).parameters()) == cost.parameters(shape)


@pytest.mark.parametrize("options", [{}, {"tied": False, "inner": 40}])
def test_formula_and_profiler_agree_on_operations(options):
    model = network(layers=3, vocabulary=64, **options)
    ids = torch.zeros(2, 32, dtype=torch.long)
    attention = 6 * 3 * 16 * 32 * ids.numel()  # looking back only; the profiler does not know the fused kernel
    with FlopCounterMode(display=False) as counter:
        loss_sum(model, ids, ids).backward()
    counted = counter.get_total_flops()
    expected = cost.training_flops_per_token(model.shape, 32) * ids.numel()
    assert counted == expected - attention


def kept_bytes(layers: int, channels: int) -> int:
    """Bytes of all tensors, each once, that autograd keeps for the way back in bfloat16, without the weights themselves."""
    model = network(layers=layers, channels=channels, context=32).train()
    weights, kept = {weight.data_ptr() for weight in model.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # Holding the tensor keeps its address from being given to another.
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros(4, 32, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION),
        mock.patch.object(transformer, "causal_attention", partial(scaled_dot_product_attention, is_causal=True)),
        mock.patch.object(kernels, "library", return_value=None),
    ):
        loss_sum(model, ids, ids)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("channels", [64, 128])
def test_formula_and_autograd_agree_on_activations(channels):
    a_layer = kept_bytes(3, channels) - kept_bytes(2, channels)
    shape = ModelShape(layers=1, heads=2, channels=channels)
    # In bfloat16, which autocast makes once for all tokens.
    weights = cost.training_bytes(shape, rows=0) - 16 * cost.parameters(shape)
    # Beside the formula: means and deviations of the norms, sums of the attention's rows.
    assert (a_layer - weights) / (4 * 32) == pytest.approx(cost.activation_bytes_per_token(shape), rel=0.02)


def test_memory_and_traffic_of_many_processes():
    shape = NAMED_SHAPES["gpt2-xl"]
    weights = cost.parameters(shape)
    alone = cost.training_bytes(shape, rows=0)
    halves = 48 * 12 * 1600 * 1600 * 2
    assert alone == 16 * weights + halves
    shared = cost.training_bytes(shape, rows=0, shares=64)
    assert shared == 16 * weights // 64 + halves + 8 * 50257 * 1600
    assert cost.training_bytes(shape, rows=0, shares=64, micro_batches=2) == shared + 4 * weights
    assert cost.training_bytes(shape, rows=0, micro_batches=2) == alone
    assert cost.traffic_bytes(shape, processes=1) == 0
    assert cost.traffic_bytes(shape, processes=4) == 6 * weights
    assert cost.traffic_bytes(shape, processes=4, gathers=2) == 9 * weights


def test_shapes_compare_by_value():
    shape = NAMED_SHAPES["gpt2-small"]
    assert dataclasses.replace(shape) == shape
    assert shape != NAMED_SHAPES["gpt2-medium"]
