"""The learning rate and OpenAI's Adam, beside slow twins."""

from __future__ import annotations

import pytest
import torch

from selftaught.errors import UsageError
from selftaught.finetuning.optimizer import Optimizer, rate
from selftaught.finetuning.plan import FinetuningPlan, ablations, layer_curve
from tests.reference import finetuning


def test_the_rate_rises_over_the_warm_up_and_falls_in_a_line():
    plan = FinetuningPlan(peak_rate=1.0, warmup=0.1)
    found = [rate(plan, step, 20) for step in range(20)]
    expected = [(min(1.0, step / 20 / 0.1)) * (1 - step / 20) for step in range(20)]
    assert found == pytest.approx(expected)
    assert rate(FinetuningPlan(warmup=0.0, peak_rate=2.0), 0, 7) == 2.0


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.tensor([[0.7, -1.5], [2.0, 0.1]], dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.tensor([0.3], dtype=torch.float64))


@pytest.mark.parametrize("name", ["openai", "adamw"])
def test_steps_are_those_of_the_slow_twin(name):
    plan = FinetuningPlan(optimizer=name, weight_decay=0.1, beta2=0.99)
    model = Two()
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer = Optimizer(model, plan)
    draw = torch.Generator().manual_seed(1)
    gradients, rates = [], [0.1, 0.0, 0.05, 0.2]
    for speed in rates:
        drawn = [torch.randn(weight.shape, generator=draw, dtype=torch.float64) for weight in model.parameters()]
        for weight, gradient in zip(model.parameters(), drawn, strict=True):
            weight.grad = gradient.clone()
        gradients.append(drawn)
        optimizer.step(speed)
    for which, decay in ((0, 0.1), (1, 0.0)):
        for place in range(before[which].numel()):
            expected = finetuning.openai_adam(
                float(before[which].flatten()[place]),
                [float(one[which].flatten()[place]) for one in gradients],
                rates,
                beta1=0.9,
                beta2=0.99,
                decay=decay,
            )
            got = float(list(model.parameters())[which].flatten()[place].detach())
            if name == "openai":
                assert got == pytest.approx(expected, abs=1e-12)
            else:  # the same to first order: e and decay come in elsewhere
                assert got == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", ["openai", "adamw"])
def test_a_saved_state_goes_on_as_if_nothing_had_been(name):
    plan = FinetuningPlan(optimizer=name)
    one, other = Two(), Two()
    optimizers = [Optimizer(one, plan), Optimizer(other, plan)]
    for step in range(4):
        for model, optimizer in zip((one, other), optimizers, strict=True):
            for weight in model.parameters():
                weight.grad = torch.ones_like(weight) * (step - 1.5)
            optimizer.step(0.1)
        if step == 1:
            again = Optimizer(other, plan)
            again.restore({name: value.clone() for name, value in optimizers[1].state().items()})
            optimizers[1] = again
    assert torch.equal(one.matrix, other.matrix)
    assert torch.equal(one.bias, other.bias)


def test_plans_of_the_ablations():
    plans = ablations(FinetuningPlan(from_scratch=True, seeds=3))
    assert [plan.variant for plan in plans] == ["full", "no-auxiliary", "from-scratch", "lstm"]
    assert all(plan.seeds == 3 for plan in plans)
    assert [plan.language_weight for plan in plans] == [0.5, 0.0, 0.5, 0.5]
    assert [plan.variant for plan in layer_curve(FinetuningPlan(auxiliary=False), 1)] == [
        "layers-0-no-auxiliary",
        "layers-1-no-auxiliary",
    ]
    assert FinetuningPlan(auxiliary_weight=0.0).variant == "no-auxiliary"


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"peak_rate": 0.0},
        {"peak_rate": float("inf")},
        {"dropout": 1.0},
        {"warmup": -0.1},
        {"auxiliary_weight": -1.0},
        {"layers_transferred": -1},
    ],
)
def test_values_that_no_run_can_have_are_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes)).replace("_", "-")):
        FinetuningPlan(**changes)
    with pytest.raises(UsageError, match="--network lstm"):
        FinetuningPlan(network="lstm", layers_transferred=1)
