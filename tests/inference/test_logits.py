from __future__ import annotations

import math

import pytest
import torch

from selftaught import compute
from selftaught.inference import compiled, logits

INFINITE, NONE = float("inf"), float("nan")


@pytest.fixture(params=["compiled", "plain"])
def way(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(logits, "_found", lambda: None)
    elif compiled.library() is None:
        pytest.skip("needs a C compiler")
    return request.param


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [2, 15, 16, 17, 63, 64, 65, 1023, 1024, 1500, 4000])
def test_totals_and_largest_are_those_of_pytorch(size):
    numbers = 3 * torch.randn(size + 1, generator=compute.generator("logits", size))
    for logits_V in (numbers[:size], numbers[1:], numbers[:size] - 1000, numbers[:size] * 50):
        expected = float(logits_V.double().logsumexp(-1))
        assert logits.log_total(logits_V) == pytest.approx(expected, rel=1e-6, abs=2e-6)
        for k in {1, 2, size // 2, min(size, logits.MOST), min(size, logits.MOST + 1)}:
            values_K, ids_K = logits.largest(logits_V, k)
            assert ids_K.tolist() == sorted(logits_V.topk(k).indices.tolist())
            assert torch.equal(values_K, logits_V[ids_K])


@pytest.mark.usefixtures("way")
def test_of_equal_logits_any_are_taken():
    logits_V = torch.randn(500, generator=compute.generator("logits")).mul(4).round()
    assert logits.largest(logits_V, 1)[1].tolist() == [int(logits_V.argmax())]
    for k in (2, 7, 40, 500):
        values_K, ids_K = logits.largest(logits_V, k)
        assert torch.equal(values_K, logits_V[ids_K])
        assert ids_K.tolist() == sorted(set(ids_K.tolist()))
        assert torch.equal(values_K.sort().values, logits_V.topk(k).values.sort().values)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("place", [0, 15, 16, 100, 999])
def test_one_of_many_that_is_no_number_leaves_no_total(place):
    logits_V = torch.zeros(1000)
    logits_V[place] = NONE
    assert math.isnan(logits.log_total(logits_V))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("found", "total", "best"),
    [
        ([INFINITE, 1.0], INFINITE, [0]),
        ([-INFINITE, -INFINITE], -INFINITE, [0]),
        ([-INFINITE, 2.0, 1.0], 2.3132617, [1]),
        ([1.0, 2.0, NONE, 5.0], NONE, [2]),
    ],
)
def test_infinite_logits_and_those_that_are_no_numbers(found, total, best):
    logits_V = torch.tensor(found)
    assert logits.log_total(logits_V) == pytest.approx(total, nan_ok=True)
    assert logits.largest(logits_V, 1)[1].tolist() == best
    assert len(logits.largest(logits_V, len(found))[1]) == len(found)


@pytest.mark.usefixtures("way")
def test_other_formats_and_columns_are_read_too():
    logits_VR = torch.randn(300, 2, generator=compute.generator("logits"))
    for logits_V in (logits_VR[:, 0], logits_VR[:, 1].double(), logits_VR[:, 0].bfloat16()):
        expected = float(logits_V.double().logsumexp(-1))
        assert logits.log_total(logits_V) == pytest.approx(expected, rel=1e-2)
        assert logits.largest(logits_V, 3)[0].amin() == logits_V.topk(3).values.amin()
