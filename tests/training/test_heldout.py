from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selftaught.compute import Machine
from selftaught.errors import InputError
from selftaught.model.loss import loss_sum
from selftaught.tokens.shards import open_shards
from selftaught.training.heldout import Heldout
from tests.reference.networks import network

MACHINE = Machine(device="cpu", precision="float32", threads=1)


class Numbers:
    """Held-out tokens 0, 1, 2... modulo 50."""

    def __init__(self, tokens, size=None):
        self.tokens, self.bytes, self.folder = tokens, 3 * tokens if size is None else size, "here"

    def slice(self, start, count):
        assert start + count <= self.tokens
        return np.arange(start, start + count, dtype=np.int64) % 50


def test_measures_bits_per_byte_of_the_whole_text_if_asked(tokens):
    shards, model = open_shards(tokens, "heldout"), network(vocabulary=300)
    ids = torch.from_numpy(shards.slice(0, shards.tokens)).long()
    count = (shards.tokens - 1) // 32
    inputs, targets = (ids[first : first + 32 * count].view(-1, 32) for first in (0, 1))
    nats = float(loss_sum(model, inputs, targets).detach()) / targets.numel() * shards.tokens
    found = Heldout(shards, context=32, tokens=10**6, rows=7).bits_per_byte(model, MACHINE)
    assert found == pytest.approx(nats / math.log(2) / shards.bytes, rel=1e-5)


@pytest.mark.parametrize(("there", "asked"), [(2, 100), (33, 32), (1000, 1), (1000, 100), (1000, 320), (5000, 4096)])
def test_windows_are_spread_over_the_text(there, asked):
    heldout = Heldout(Numbers(there), context=32, tokens=asked, rows=4)
    firsts = [int(row[0]) for ids, _ in heldout._batches for row in ids]
    assert len(firsts) == min(max(1, asked // 32), max(1, (there - 1) // 32))
    assert heldout.bits_per_byte(network(), MACHINE) > 0


@pytest.mark.parametrize("empty", [Numbers(0), Numbers(1), Numbers(5, size=0)])
def test_refuses_a_text_that_is_none(empty):
    with pytest.raises(InputError, match="held-out"):
        Heldout(empty, context=32, tokens=100, rows=4)
