from __future__ import annotations

import pytest
import torch

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.model.cache import Cache
from selftaught.model.initial import initialise, resized
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Attention, Transformer, document_mask
from tests.reference.attention import attention
from tests.reference.networks import network

IDS = torch.randint(50, (3, 32), generator=compute.generator("ids"))


@torch.no_grad()
def test_attention_is_the_papers():
    ours = next(module for module in network().modules() if isinstance(module, Attention))
    states = torch.randn(2, 7, 16, generator=compute.generator("states"))
    q, k, v = ours.query_key_value(states).view(2, 7, 3, 2, 8).permute(2, 0, 3, 1, 4)
    expected = ours.output(attention(q, k, v).transpose(1, 2).reshape(2, 7, 16))
    torch.testing.assert_close(ours(states, None, 0, None), expected)


@pytest.mark.parametrize("norm", ["before", "after"])
@torch.no_grad()
def test_no_token_sees_a_later_one(norm):
    model, changed = network(norm=norm), IDS.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 50
    before, after = model(IDS), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.isclose(before[:, 20:], after[:, 20:]).all(dim=-1).any()


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("cuts", [[1] * 32, [20, 12], [1, 5, 1, 25], [32]])
@torch.no_grad()
def test_the_cache_changes_nothing(norm, cuts):
    model = network(norm=norm)
    cache = Cache(model.shape, batch=3, length=32)
    parts = [model(ids, cache) for ids in IDS.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(IDS), atol=2e-5, rtol=0)
    assert cache.filled == 32


def test_too_many_tokens_are_refused():
    model = network()
    with pytest.raises(UsageError, match="32"):
        model(torch.zeros(1, 33, dtype=torch.long))
    cache = Cache(model.shape, batch=1, length=32)
    model(torch.zeros(1, 32, dtype=torch.long), cache)
    with pytest.raises(UsageError, match="33"):
        model(torch.zeros(1, 1, dtype=torch.long), cache)


def test_dropout_acts_in_training_alone():
    model = network(dropout=0.5)
    assert torch.equal(model(IDS), model(IDS))
    model.train()
    assert not torch.equal(model(IDS), model(IDS))


def test_first_weights_follow_the_paper():
    shape = ModelShape(layers=8, heads=2, channels=128, context=64, vocabulary=500)
    model = Transformer(shape)
    initialise(model, compute.generator(3))
    spread = {name: float(value.std()) for name, value in model.state_dict().items() if value.dim() == 2}
    assert spread["tokens.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["blocks.5.feed.inner.weight"] == pytest.approx(0.02, rel=0.05)
    residual = 0.02 / 16**0.5  # sixteen residual layers
    assert spread["blocks.5.attention.output.weight"] == pytest.approx(residual, rel=0.05)
    assert spread["blocks.0.feed.outer.weight"] == pytest.approx(residual, rel=0.05)
    again = Transformer(shape)
    initialise(again, compute.generator(3))
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))


def test_gpt1_scales_no_residual_weights():
    model = Transformer(ModelShape(layers=8, heads=2, channels=128, context=64, vocabulary=50, norm="after"))
    initialise(model, compute.generator(3))
    assert float(model.state_dict()["blocks.0.feed.outer.weight"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_document_mask_is_as_good_as_each_document_alone(precision):
    """Slow twin: the documents of a row one after another, each at its places."""
    model, end = network(), 7
    ids_BT = torch.randint(8, 50, (3, 32), generator=torch.Generator().manual_seed(1))
    for row, places in enumerate(((0, 5, 6, 20), (9,), ())):
        ids_BT[row, list(places)] = end
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        found = model(ids_BT, mask=document_mask(ids_BT, end))
        for row, ids in enumerate(ids_BT):
            starts = sorted({0, *(ids == end).nonzero().flatten().tolist()})
            for start, stop in zip(starts, [*starts[1:], 32], strict=True):
                alone = model(ids[None, start:stop], places_BT=torch.arange(start, stop)[None])
                tolerance = 1e-5 if precision is torch.float32 else 0.1
                torch.testing.assert_close(found[row, start:stop], alone[0], rtol=0, atol=tolerance)
    assert not torch.allclose(found[0], model(ids_BT)[0], atol=1e-2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [37, 50, 64])
@torch.no_grad()
def test_another_number_of_ids_keeps_what_there_was(tied, size):
    model = network(tied=tied)
    other = resized(model, size, compute.generator("rows"))
    ids, kept = IDS % min(size, 50), min(size, 50)
    assert other.shape.vocabulary == size
    torch.testing.assert_close(
        other.logits(other(ids))[..., :kept], model.logits(model(ids))[..., :kept], atol=1e-5, rtol=0
    )
    other.tokens.weight.zero_()
    assert model.tokens.weight.any()
    if size > 50:
        rows = resized(network(channels=64, tied=tied), 5000, compute.generator("rows")).head_weight[50:]
        assert float(rows.std()) == pytest.approx(0.02, rel=0.02)
