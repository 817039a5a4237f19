from __future__ import annotations

import pytest
import torch

from selftaught import compute
from selftaught.model.loss import LOSS_CHUNK, loss_sum
from selftaught.model.transformer import Transformer
from tests.reference.networks import network

IDS = torch.randint(50, (3, 32), generator=compute.generator("ids"))
TARGETS = torch.randint(50, (3, 32), generator=compute.generator("targets"))


def cross_entropy(model: Transformer) -> torch.Tensor:
    logits = model.logits(model(IDS)).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, TARGETS.flatten(), reduction="sum")


def gradients(model: Transformer, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (loss / 7).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("norm", ["before", "after"])
def test_the_chunked_loss_and_its_gradients_are_cross_entropys(norm, monkeypatch):
    monkeypatch.setitem(LOSS_CHUNK, "cpu", 10)
    model = network(norm=norm)
    ours, plain = loss_sum(model, IDS, TARGETS), cross_entropy(model)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(model, ours), gradients(model, plain), rtol=1e-4, atol=1e-4)


def test_the_loss_in_half_precision_stays_float32_outside_the_products():
    model = network()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_sum(model, IDS, TARGETS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(model), rtol=0.02, atol=0)
    assert {gradient.dtype for gradient in gradients(model, loss).values()} == {torch.float32}


@torch.no_grad()
def test_the_loss_needs_no_gradients():
    torch.testing.assert_close(loss_sum(network(), IDS, TARGETS), cross_entropy(network()), rtol=1e-6, atol=0)
