"""One line of texts is read as rows of a padded batch are: the same states, whatever else stands in the line."""

from __future__ import annotations

import platform
import random

import pytest
import torch

from selftaught import compilation
from selftaught.inference import likelihood, reading, trees
from tests.reference.networks import KINDS, network


def some_pairs(longest=150, count=30, seed=3):
    """Texts of many lengths, of which some begin alike: trunks, branches and both shorter and longer than a block of keys."""
    source = random.Random(seed)

    def ids(most):
        return [source.randrange(50) for _ in range(source.randrange(1, most))]

    begins = [ids(longest) for _ in range(count // 3)]
    return [([*source.choice(begins), *ids(longest // 8)], ids(longest // 4)) for _ in range(count)]


def by_pair(reader, pairs):
    return [one.log_probs for one in likelihood.score(reader, pairs)]


def check(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=tolerance)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("missing", ["", "compiler", "onednn", "room for packed weights"])
def test_a_line_is_read_as_rows_are(monkeypatch, name, missing):
    model, pairs = network(context=256, **KINDS[name]), some_pairs()
    if missing == "compiler":
        monkeypatch.setattr(compilation, "library", lambda _: None)
    elif missing == "onednn":
        monkeypatch.setattr(reading, "_has_onednn", lambda _: False)
    elif missing:
        monkeypatch.setattr(reading, "PACKED_PARAMETERS", 0)
    reader = reading.reader(model)
    assert type(reader) is reading.LineReader
    assert any(tree.branch_tokens for tree in trees.trees(pairs))
    check(by_pair(reader, pairs), by_pair(reading.RowReader(model, "float32"), pairs), 1e-4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("compiler", ["cc", ""])
def test_bfloat16_rounds_products_and_no_logits(monkeypatch, name, compiler):
    model, pairs = network(context=256, **KINDS[name]), some_pairs()
    if not compiler:
        monkeypatch.setattr(compilation, "library", lambda _: None)
    exact = torch.tensor([value for one in by_pair(reading.reader(model), pairs) for value in one])
    half = torch.tensor([value for one in by_pair(reading.reader(model, "bfloat16"), pairs) for value in one])
    rows = torch.tensor([value for one in by_pair(reading.RowReader(model, "bfloat16"), pairs) for value in one])
    assert 1e-4 < (half - exact).abs().mean() < 1.5 * (rows - exact).abs().mean() + 1e-3
    states = torch.randn(3, model.shape.channels)
    for one in (reading.reader(model, "bfloat16"), reading.RowReader(model, "bfloat16")):
        assert torch.allclose(one.logits(states), model.logits(states), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 5), (3, 64), (2, 80), (1, 130)])
@pytest.mark.parametrize("compiler", ["cc", "cc -mno-avx512f"])
def test_compiled_attention_is_pytorchs(monkeypatch, tmp_path, dtype, shape, compiler):
    if compiler != "cc":
        if platform.machine() != "x86_64":
            pytest.skip("switches x86 instructions off")
        # Kept in this folder, so that it is compiled once for all sizes.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "narrow"))
        monkeypatch.setenv("CC", compiler)
        monkeypatch.setattr(compilation, "library", compilation.library.__wrapped__)
    if compilation.library(reading.SOURCE) is None:
        pytest.skip("needs a C compiler")
    heads, size = shape
    shapes = ([1], [200, 1, 70, 64], [64, 64], [63, 3, 3], [30], [2, 130])
    batch = [
        trees.Tree(trunk=[0] * trunk, branches=[[0] * one for one in rest], members=list(range(len(rest))))
        for trunk, *rest in shapes
    ]
    line = trees.line(batch)
    parts = torch.randn(len(line.ids), 3, heads, size, generator=torch.Generator().manual_seed(size)).to(dtype)
    found = reading.attention(parts, line, 0.3).float()
    monkeypatch.setattr(compilation, "library", lambda _: None)
    expected = reading.attention(parts.float(), line, 0.3)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 if dtype is torch.float32 else 2e-2)


def test_neither_company_nor_threads_change_a_bit_of_attention():
    if compilation.library(reading.SOURCE) is None:
        pytest.skip("needs a C compiler")
    tree = trees.Tree(trunk=[0] * 90, branches=[[0] * 40, [0] * 7], members=[0, 1])
    alone = trees.line([tree])
    parts = torch.randn(len(alone.ids), 3, 2, 16)
    expected = reading.attention(parts, alone, 0.25)
    others = [trees.Tree(trunk=[0] * length, branches=[[]], members=[0]) for length in (3, 150)]
    line = trees.line([others[0], tree, others[1]])
    crowd = torch.cat([torch.randn(3, 3, 2, 16), parts, torch.randn(150, 3, 2, 16)])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(reading.attention(crowd, line, 0.25)[3 : 3 + len(parts)], expected)
    finally:
        torch.set_num_threads(threads)
