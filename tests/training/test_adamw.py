from __future__ import annotations

import pytest
import torch

from selftaught.model import kernels
from selftaught.training import adamw
from selftaught.training.adamw import AdamW, clipping, gradient_norm
from selftaught.training.optimizer import Optimizer
from tests.reference.networks import network
from tests.training.conftest import plan

SIZES = [(1,), (15,), (16,), (7, 33), (130, 1009)]
"""The last is more than a thread takes at a time."""


@pytest.fixture
def there():
    if kernels.library() is None:
        pytest.skip("needs a processor that multiplies bfloat16, and a C compiler")


def weights(seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(size, generator=draw)) for size in SIZES]


def groups(given):
    return [{"params": given[:2], "weight_decay": 0.0, "lr": 3e-3}, {"params": given[2:], "weight_decay": 0.3}]


def stepped(kind, *, scale=0.5, steps=4, make=weights):
    """Weights and state after a few steps on random gradients, which `scale` makes smaller."""
    given, draw = make(), torch.Generator().manual_seed(2)
    optimizer = kind(groups(given))
    for _ in range(steps):
        for weight in given:
            # Gradients of all sizes, some of them zero, as those of an embedding are.
            size = 10.0 ** torch.randint(-9, 3, weight.shape, generator=draw)
            weight.grad = torch.randn(weight.shape, generator=draw) * size * (size > 1e-8)
        if isinstance(optimizer, AdamW):
            optimizer.step(scale)
        else:
            for weight in given:
                weight.grad *= scale
            optimizer.step()
    return given, [optimizer.state[weight] for weight in given]


def ours(found):
    return AdamW(found, rate=1e-3, betas=(0.9, 0.95))


def torchs(found):
    return torch.optim.AdamW(found, lr=1e-3, betas=(0.9, 0.95))


@pytest.mark.parametrize("kernels_there", [True, False])
def test_it_is_torchs_adamw_with_smaller_gradients(kernels_there, monkeypatch):
    if not kernels_there:
        monkeypatch.setattr(kernels, "library", lambda: None)
    (found, states), (expected, theirs) = stepped(ours), stepped(torchs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    for state, other in zip(states, theirs, strict=True):
        for name, value in other.items():
            torch.testing.assert_close(state[name], value, rtol=2e-6, atol=0, msg=name)


def test_kernels_are_used_where_they_are_there(there, monkeypatch):
    called, run = [], kernels.adamw
    monkeypatch.setattr(kernels, "adamw", lambda *given, **numbers: called.append(0) or run(*given, **numbers))
    stepped(ours, steps=2)
    assert len(called) == 2
    turned = lambda: [torch.nn.Parameter(weight.detach().mT if weight.ndim == 2 else weight) for weight in weights()]  # noqa: E731
    stepped(ours, make=turned)
    stepped(lambda found: AdamW(found, rate=1e-3, betas=(0.9, 0.95), wanted=False))
    assert len(called) == 2


@pytest.mark.parametrize("kernels_there", [True, False])
def test_the_norm_is_that_of_all_gradients(kernels_there, monkeypatch):
    if not kernels_there:
        monkeypatch.setattr(kernels, "library", lambda: None)
    given = weights()
    assert gradient_norm(given) == 0.0
    for weight in given[1:]:
        weight.grad = weight.detach() * 3
    exact = torch.cat([weight.grad.double().flatten() for weight in given[1:]]).norm()
    assert gradient_norm(given) == pytest.approx(float(exact), rel=1e-6)
    given[-1].grad[0, 5] = float("nan")
    assert gradient_norm(given) != gradient_norm(given)  # no number


def test_neither_threads_nor_repetition_change_a_bit(there):
    def results():
        given, states = stepped(ours)
        return [*given, *(state[name] for state in states for name in state)], gradient_norm(given)

    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            found.append(results())
    finally:
        torch.set_num_threads(threads)
    for tensors, norm in found[1:]:
        assert norm == found[0][1]
        assert all(torch.equal(one, other) for one, other in zip(tensors, found[0][0], strict=True))


def test_clipping_bounds_the_norm():
    assert clipping(0.5, 1.0) == 1.0
    assert clipping(4.0, 1.0) == pytest.approx(0.25, rel=1e-6)
    assert clipping(float("inf"), 1.0) == 1.0


def test_the_state_of_one_continues_in_the_other(there, monkeypatch):
    """A run goes on where there are no kernels, and back, with the same state."""

    def step(optimizer, model, seed):
        draw = torch.Generator().manual_seed(seed)
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=draw)
        optimizer.step(0.01, 0.5)

    first, second = network(), network()
    one = Optimizer(first, plan(optimizer="adamw"), torch.bfloat16)
    step(one, first, 1)
    second.load_state_dict(first.state_dict())
    two = Optimizer(second, plan(optimizer="adamw"), torch.bfloat16)
    two.restore({name: value.clone() for name, value in one.state().items()})
    step(one, first, 2)
    monkeypatch.setattr(adamw.kernels, "library", lambda: None)
    step(two, second, 2)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
