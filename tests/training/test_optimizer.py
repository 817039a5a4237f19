from __future__ import annotations

import numpy as np
import pytest
import torch

from selftaught.errors import DamagedFileError
from selftaught.training.muon import orthogonal
from selftaught.training.optimizer import Optimizer
from tests.reference.adamw import adamw
from tests.reference.muon import iterated, muon
from tests.reference.networks import network
from tests.training.conftest import plan

RATES, MOMENTUM = [0.01, 0.02, 0.005], 0.9
EMBEDDING_RATE, GAIN_RATE = 2.0, 0.5


def stepped(optimizer_name):
    """A network before and after three steps on random gradients, in float64 arrays by name."""
    model, draw = network(), torch.Generator().manual_seed(1)
    shares = {"embedding_rate": EMBEDDING_RATE, "gain_rate": GAIN_RATE}
    optimizer = Optimizer(model, plan(optimizer=optimizer_name, weight_decay=0.3, momentum=MOMENTUM, **shares))
    before = {name: weight.detach().double().numpy().copy() for name, weight in model.named_parameters()}
    gradients = {name: [] for name in before}
    for rate in RATES:
        for name, weight in model.named_parameters():
            weight.grad = torch.randn(weight.shape, generator=draw)
            gradients[name].append(weight.grad.double().numpy().copy())
        optimizer.step(rate)
    assert all(weight.grad is None for weight in model.parameters())
    return before, gradients, {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}


def by_adamw(name, before, gradients):
    decay, share = (0.3, 1.0) if before.ndim == 2 else (0.0, GAIN_RATE)
    if name in ("tokens.weight", "positions.weight"):
        share = EMBEDDING_RATE
    return adamw(before, gradients, [share * rate for rate in RATES], beta1=0.9, beta2=0.95, weight_decay=decay)


def test_adamw_is_the_papers_and_spares_biases_and_gains_from_decay():
    before, gradients, after = stepped("adamw")
    for name, found in after.items():
        np.testing.assert_allclose(found, by_adamw(name, before[name], gradients[name]), atol=2e-6, err_msg=name)


def test_muon_takes_the_matrices_of_the_blocks_and_splits_queries_keys_and_values():
    before, gradients, after = stepped("muon")
    for name, found in after.items():
        if not (name.startswith("blocks.") and found.ndim == 2):
            expected = by_adamw(name, before[name], gradients[name])
        else:
            parts = 3 if "query_key_value" in name else 1
            pieces = zip(np.split(before[name], parts), *(np.split(one, parts) for one in gradients[name]), strict=True)
            expected = np.concatenate(
                [muon(first, list(rest), RATES, weight_decay=0.3, momentum=MOMENTUM) for first, *rest in pieces]
            )
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.1)])
def test_the_iteration_is_a_polynomial_of_the_singular_values(dtype, tolerance):
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(2))
    found = orthogonal(matrices, dtype)
    for one, matrix in zip(found, matrices, strict=True):
        np.testing.assert_allclose(one.numpy(), iterated(matrix.double().numpy()), atol=tolerance)
        assert 0.5 < torch.linalg.svdvals(one).min() < torch.linalg.svdvals(one).max() < 1.3


def test_the_state_by_name_continues_to_the_bit():
    def step(optimizer, model, seed):
        draw = torch.Generator().manual_seed(seed)
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=draw)
        optimizer.step(0.01)

    first, second = network(), network()
    one = Optimizer(first, plan())
    step(one, first, 1)
    second.load_state_dict(first.state_dict())
    two = Optimizer(second, plan())
    two.restore({name: value.clone() for name, value in one.state().items()})
    step(one, first, 2)
    step(two, second, 2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_refuses_the_state_of_another_network():
    one = Optimizer(network(), plan())
    with pytest.raises(DamagedFileError):
        one.restore({"blocks.7.feed.inner.weight:momentum": torch.zeros(1)})
