from __future__ import annotations

import pytest
import torch

from selftaught.model import fused, kernels
from selftaught.model.initial import initialise
from selftaught.model.loss import loss_sum
from selftaught.model.shape import ModelShape
from selftaught.model.transformer import Block, Transformer, document_mask

SHAPES = {
    "odd length, four heads": {"channels": 128, "heads": 4, "context": 101, "vocabulary": 77},
    "padded heads": {"channels": 144, "heads": 3, "context": 130, "vocabulary": 130, "inner": 80},
    "one narrow head": {"channels": 32, "heads": 1, "context": 33, "vocabulary": 50, "tied": False},
    "heads of two panels": {"channels": 192, "heads": 2, "context": 200, "vocabulary": 64, "scale_by_layer": True},
}
END = 7


@pytest.fixture(autouse=True)
def there():
    if kernels.library() is None:
        pytest.skip("needs a processor that multiplies bfloat16, and a C compiler")


def example(rows: int = 3, **shape) -> tuple[Transformer, torch.Tensor, torch.Tensor]:
    """A network with large weights, so that nothing is small by accident, ids of a few documents, and targets."""
    numbers = {"layers": 2, "context": 32, "vocabulary": 50} | shape
    model, drawn = Transformer(ModelShape(**numbers)).train(), torch.Generator().manual_seed(5)
    initialise(model, drawn, spread=0.1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn(weight.shape, generator=drawn), alpha=0.1)
    size = (rows, model.shape.context)
    ids, targets = (torch.randint(model.shape.vocabulary, size, generator=drawn) for _ in range(2))
    return model, torch.where(torch.rand(size, generator=drawn) < 0.05, END, ids), targets


def results(model: Transformer, ids: torch.Tensor, targets: torch.Tensor, *, documents=False, dtype=torch.bfloat16):
    """The loss and the gradient of every weight."""
    model.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
        loss = loss_sum(model, ids, targets, document_mask(ids, END) if documents else None)
    (loss / targets.numel()).backward()
    return {"loss": loss.detach()} | {name: weight.grad.clone() for name, weight in model.named_parameters()}


def errors(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([(found[name] - exact[name]).norm() / exact[name].norm() for name in exact])


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_loss_and_gradients_are_no_less_exact_than_pytorchs(name, documents, monkeypatch):
    given = example(**SHAPES[name])
    ours = results(*given, documents=documents)
    exact = results(*given, documents=documents, dtype=torch.float32)
    monkeypatch.setattr(kernels, "library", lambda: None)
    plain = results(*given, documents=documents)
    own, theirs = errors(ours, exact), errors(plain, exact)
    assert not torch.equal(own, theirs)  # another way was taken
    assert own.mean() < 1.2 * theirs.mean()
    assert own.max() < 1.5 * theirs.max() < 0.05


@pytest.mark.parametrize("documents", [False, True])
def test_neither_threads_nor_repetition_change_a_bit(documents):
    given = example(**SHAPES["padded heads"])
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            found.append(results(*given, documents=documents))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(other[name], one) for name, one in found[0].items())


def test_a_row_does_not_depend_on_the_others():
    model, ids, _ = example(rows=4, **SHAPES["odd length, four heads"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole = model(ids)
        assert torch.equal(whole[2:3], model(ids[2:3]))
        assert torch.equal(whole[:, :50], model(ids[:, :50]))


def test_chunks_of_logits_add_up(monkeypatch):
    given = example(**SHAPES["odd length, four heads"])
    whole = results(*given)
    monkeypatch.setattr(fused, "LOGIT_BYTES", 100 * 2 * 128)
    parts = results(*given)
    assert not torch.equal(parts["tokens.weight"], whole["tokens.weight"])
    assert errors(parts, whole).max() < 1e-5


def test_an_embedding_of_its_own_or_tied_to_the_head_adds_up_over_micro_batches():
    for tied in (True, False):
        model, ids, targets = example(rows=4, tied=tied, **SHAPES["odd length, four heads"])
        whole = results(model, ids, targets)["tokens.weight"]
        model.zero_grad()
        for part in range(4):
            with torch.autocast("cpu", torch.bfloat16):
                (loss_sum(model, ids[part : part + 1], targets[part : part + 1]) / targets.numel()).backward()
        torch.testing.assert_close(model.tokens.weight.grad, whole, rtol=1e-4, atol=1e-5)


def test_rows_are_added_to_those_of_their_ids():
    drawn = torch.Generator().manual_seed(3)
    for vocabulary, channels, tokens in ((3, 16, 1), (11, 80, 200), (300, 192, 77)):
        matrix, rows = (torch.randn(size, channels, generator=drawn) for size in (vocabulary, tokens))
        ids = torch.randint(vocabulary, (tokens,), generator=drawn)
        exact = matrix.double().index_add(0, ids, rows.double())
        kernels.add_rows(matrix, ids, rows)
        torch.testing.assert_close(matrix.double(), exact, rtol=1e-5, atol=1e-5)


def test_what_is_no_number_is_seen():
    model, ids, targets = example(**SHAPES["one narrow head"])
    with torch.no_grad():
        model.blocks[0].attention_norm.weight[3] = float("nan")
    found = results(model, ids, targets)
    assert found["loss"].isnan()
    assert found["tokens.weight"].isnan().any()


@pytest.mark.parametrize("target", [-1, 50, 10**9])
def test_a_target_that_is_no_token_is_an_error_and_not_a_place_beside_the_logits(target, monkeypatch):
    model, ids, targets = example(**SHAPES["one narrow head"])
    targets[1, 2] = target
    with pytest.raises(IndexError, match=f"target {target} "):
        results(model, ids, targets)
    monkeypatch.setattr(kernels, "library", lambda: None)
    with pytest.raises(RuntimeError, match="out of bounds"):
        results(model, ids, targets)


def test_ids_may_be_of_32_bits():
    model, ids, targets = example(**SHAPES["odd length, four heads"])
    wide, narrow = (results(model, ids.to(dtype), targets.to(dtype)) for dtype in (torch.int64, torch.int32))
    assert all(torch.equal(wide[name], narrow[name]) for name in wide)


@pytest.mark.parametrize(
    "other", [{"norm": "after"}, {"activation": "gelu"}, {"attention_float32": True}, {"channels": 24, "heads": 2}]
)
def test_other_networks_are_left_to_pytorch(other, monkeypatch):
    monkeypatch.setattr(fused, "block", lambda *_: pytest.fail("not for this network"))
    results(*example(**({"channels": 64, "heads": 2} | other)))


def test_dropout_is_left_to_pytorch(monkeypatch):
    given = example(channels=64, heads=2, dropout=0.5)
    block = next(module for module in given[0].modules() if isinstance(module, Block))
    assert block.fusible
    assert not torch.equal(results(*given)["tokens.weight"], results(*given)["tokens.weight"])
    given[0].eval()
    assert torch.equal(results(*given)["tokens.weight"], results(*given)["tokens.weight"])


def test_a_product_takes_any_operands():
    drawn = torch.Generator().manual_seed(1)
    for rows, columns, depth in ((1, 1, 2), (7, 65, 30), (100, 130, 2050), (200, 64, 1024)):
        left = torch.randn(rows, depth, generator=drawn).bfloat16()
        right = torch.randn(depth, columns, generator=drawn)
        exact = left.float() @ right.bfloat16().float()
        for along in (False, True):
            for weight in (right, right.bfloat16()):
                operand = weight.T.contiguous() if along else weight
                for turned in (False, True):
                    found, sums = torch.empty(rows, columns), torch.empty(rows)
                    first = left.T.contiguous() if turned else left
                    kernels.product(first, operand, found, turned=turned, along=along, sums=sums if turned else None)
                    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-3)
                    if turned:
                        torch.testing.assert_close(sums, left.float().sum(1), rtol=1e-5, atol=1e-3)


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_pytorch_does_it_and_it_is_said_once(monkeypatch, capsys):
    monkeypatch.setenv("CC", "false")
    given = example(**SHAPES["one narrow head"])
    assert results(*given)["loss"].isfinite()
    results(*given)
    said = capsys.readouterr()
    assert (said.out + said.err).count("no C compiler") == 1
