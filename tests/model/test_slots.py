"""Texts of different length side by side: each as if it were alone."""

from __future__ import annotations

import pytest
import torch

from selftaught import compute
from selftaught.model.cache import Cache
from selftaught.model.slots import Slots
from tests.reference.networks import network

IDS = torch.randint(50, (5, 32), generator=compute.generator("slots"))


def decoded(model, slots, starts, count):
    """Hidden states of `count` tokens of each row after its own start, with the texts of a few slots side by side."""
    for slot, start in starts.items():
        cache = slots.one(slot)
        model(IDS[slot : slot + 1, :start], cache)
        slots.filled[slot] = cache.filled
    slots.active, states = sorted(starts), []
    for number in range(count):
        ids_B1 = torch.zeros(len(slots.filled), 1, dtype=torch.long)
        for slot, start in starts.items():
            ids_B1[slot] = IDS[slot, start + number]
        states.append(model(ids_B1, slots)[:, 0])
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("changes", [{}, {"norm": "after"}, {"scale_by_layer": True}, {"attention_float32": True}])
@torch.no_grad()
def test_slots_remember_what_a_cache_does(changes):
    model = network(**changes)
    starts = {0: 3, 1: 20, 3: 1, 4: 12}
    states = decoded(model, Slots(model.shape, slots=5, length=32), starts, 8)
    for slot, start in starts.items():
        expected = model(IDS[slot : slot + 1])[0, start : start + 8]
        torch.testing.assert_close(states[slot], expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_company_changes_no_bit():
    model = network()
    together = decoded(model, Slots(model.shape, slots=5, length=32), {0: 3, 1: 20, 3: 1, 4: 12}, 10)
    for slot, start in {0: 3, 1: 20, 3: 1, 4: 12}.items():
        alone = decoded(model, Slots(model.shape, slots=5, length=32), {slot: start}, 10)
        assert torch.equal(alone[slot], together[slot])


@torch.no_grad()
def test_a_slot_is_used_again_without_traces():
    model = network()
    slots = Slots(model.shape, slots=5, length=32)
    decoded(model, slots, {0: 3, 1: 20}, 10)
    slots.filled = [0] * 5
    again = decoded(model, slots, {1: 4}, 10)
    fresh = decoded(model, Slots(model.shape, slots=5, length=32), {1: 4}, 10)
    assert torch.equal(again[1], fresh[1])


@torch.no_grad()
def test_a_slot_seen_alone_is_a_cache():
    model = network()
    slots = Slots(model.shape, slots=2, length=32)
    one, cache = slots.one(1), Cache(model.shape, batch=1, length=32)
    assert torch.equal(model(IDS[:1, :9], one), model(IDS[:1, :9], cache))
    assert torch.equal(model(IDS[:1, 9:], one), model(IDS[:1, 9:], cache))
    assert slots.length == 32
