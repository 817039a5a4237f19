from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from selftaught.model.attention import causal_attention


def results(attend, dtype, length, size=8):
    """What attention gives, and the gradients of queries, keys and values."""
    parts = torch.randn(3, 2, 3, length, size, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    mixed = attend(*parts)
    mixed.backward(torch.randn(mixed.shape, generator=torch.Generator().manual_seed(2)).to(dtype))
    return mixed.detach(), parts.grad


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
def test_agrees_with_torchs_in_float32(length):
    ours = results(causal_attention, torch.float32, length)
    theirs = results(
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), torch.float32, length
    )
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_is_no_less_exact_than_torchs_in_bfloat16():
    def torchs(query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)

    exact = results(torchs, torch.float64, 200)
    ours, theirs = (results(attend, torch.bfloat16, 200) for attend in (causal_attention, torchs))
    for own, other, true in zip(ours, theirs, exact, strict=True):
        assert (own - true).norm() < 2 * (other - true).norm() + 1e-6
