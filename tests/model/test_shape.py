from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selftaught.errors import UsageError
from selftaught.model import cost
from selftaught.model.shape import NAMED_SHAPES, ModelShape
from selftaught.model.transformer import Transformer, loss_sum
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


@pytest.mark.parametrize("norm", ["before", "after"])
def test_formula_and_network_agree_on_parameters(norm):
    shape = ModelShape(layers=3, heads=2, channels=16, context=24, vocabulary=50, norm=norm)
    assert sum(parameter.numel() for parameter in Transformer(shape).parameters()) == cost.parameters(shape)


def test_formula_and_profiler_agree_on_operations():
    model = network(layers=3, vocabulary=64)
    ids = torch.zeros(2, 32, dtype=torch.long)
    attention = 6 * 3 * 16 * 32 * ids.numel()  # looking back only; the profiler does not know the fused kernel
    with FlopCounterMode(display=False) as counter:
        loss_sum(model, ids, ids).backward()
    counted = counter.get_total_flops()
    expected = cost.training_flops_per_token(model.shape, 32) * ids.numel()
    assert counted == expected - attention


def test_shapes_compare_by_value():
    shape = NAMED_SHAPES["gpt2-small"]
    assert dataclasses.replace(shape) == shape
    assert shape != NAMED_SHAPES["gpt2-medium"]
