from __future__ import annotations

import copy

import pytest
import torch

from selftaught.checkpoint import huggingface
from selftaught.compute import Machine
from selftaught.tokenizer import files
from selftaught.tokenizer.tokenizer import Tokenizer
from selftaught.training.optimizer import Optimizer
from selftaught.training.step import mean_loss, train_step
from tests.reference import training
from tests.reference.networks import network
from tests.training.conftest import plan

MACHINE = Machine(device="cpu", precision="float32", threads=1)
IDS = torch.randint(50, (6, 17), generator=torch.Generator().manual_seed(4))


def batches(*sizes):
    return [(part[:, :-1], part[:, 1:]) for part in torch.split(IDS, list(sizes))]


def trained(*sizes, steps=3, clip=1.0, optimizer="adamw"):
    """Losses, gradient norms and the network after some steps on micro-batches of these sizes."""
    model = network()
    stepper, results = Optimizer(model, plan(optimizer=optimizer)), []
    for _ in range(steps):
        result = train_step(model, stepper, batches(*sizes), tokens=6 * 16, rate=0.01, clip=clip, machine=MACHINE)
        results.append((result.loss, result.gradient_norm))
    return results, model


@pytest.mark.parametrize("sizes", [(3, 3), (1, 5), (2, 2, 2), (4, 2), (1, 1, 1, 1, 1, 1)])
def test_micro_batches_of_any_sizes_weigh_each_token_the_same(sizes):
    whole, one = trained(6)
    split, other = trained(*sizes)
    torch.testing.assert_close(torch.tensor(split), torch.tensor(whole), rtol=1e-5, atol=1e-5)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        # The bias of the keys changes no loss: its gradient is rounding alone, which AdamW makes as large as any other.
        if not name.endswith("query_key_value.bias"):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-3, msg=name)


def test_clipping_bounds_the_gradient_but_reports_the_whole_of_it():
    results, _ = trained(6, steps=1, clip=0.01)
    assert results[0][1] == trained(6, steps=1)[0][0][1] > 0.01


def test_a_loss_that_is_no_number_changes_nothing():
    model = network()
    with torch.no_grad():
        model.tokens.weight[IDS[0, 0]] = float("nan")
    before = copy.deepcopy(model.state_dict())
    result = train_step(model, Optimizer(model, plan()), batches(6), tokens=96, rate=0.01, clip=1.0, machine=MACHINE)
    assert not result.finite
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, before[name], equal_nan=True, rtol=0, atol=0)
    assert all(weight.grad is None for weight in model.parameters())


def test_mean_loss_is_without_dropout_and_does_not_depend_on_batches():
    model = network(dropout=0.5).train()
    assert mean_loss(model, batches(6), MACHINE) == pytest.approx(mean_loss(model, batches(1, 2, 3), MACHINE), abs=1e-5)
    assert model.training


def test_fifty_steps_in_float32_are_those_done_by_hand():
    draw, rates = torch.Generator().manual_seed(9), [2e-3 * min(1, (step + 1) / 10) for step in range(50)]
    drawn = [torch.randint(7, (4, 17), generator=draw) for _ in range(50)]
    whole = [(ids[:, :-1], ids[:, 1:]) for ids in drawn]
    model = network()
    expected = list(training.losses(dict(model.named_parameters()), whole, rates, layers=2, heads=2))
    optimizer, found = Optimizer(model, plan(optimizer="adamw")), []
    for (ids, targets), rate in zip(whole, rates, strict=True):
        parts = zip(ids.split([1, 3]), targets.split([1, 3]), strict=True)
        found.append(train_step(model, optimizer, parts, tokens=64, rate=rate, clip=1.0, machine=MACHINE).loss)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[-1] < found[0] - 0.5


def test_learns_as_transformers_does_under_adamw(tmp_path):
    """The same weights, batches, rate and decay give the same losses over twenty steps."""
    transformers = pytest.importorskip("transformers")
    tokenizer = Tokenizer(files.from_merges([(b"t", b"h")]))
    model = network(vocabulary=tokenizer.vocabulary_size)
    huggingface.save(model, tokenizer, tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).train()
    groups = [
        {"params": [weight for weight in theirs.parameters() if weight.ndim == 2], "weight_decay": 0.1},
        {"params": [weight for weight in theirs.parameters() if weight.ndim == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    ours = Optimizer(model, plan(optimizer="adamw"))
    losses = []
    for step in range(20):
        losses.append(
            train_step(model, ours, batches(2, 4), tokens=96, rate=step / 2e3, clip=1.0, machine=MACHINE).loss
        )
        for group in adamw.param_groups:
            group["lr"] = step / 2e3
        loss = theirs(IDS[:, :-1], labels=IDS[:, 1:].contiguous(), shift_labels=IDS[:, 1:].contiguous()).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        assert losses[-1] == pytest.approx(loss.item(), abs=1e-4)
    assert losses[-1] < losses[0] - 1
