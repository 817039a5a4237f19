from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.training.recipes import RECIPES
from selftaught.training.schedule import rate
from tests.training.conftest import plan


def test_gpt1s_rises_for_2000_steps_and_falls_as_a_cosine_to_zero():
    recipe = RECIPES["gpt1"]
    assert rate(recipe, 0) == pytest.approx(2.5e-4 / 2000)
    assert rate(recipe, 999) == pytest.approx(1.25e-4)
    assert rate(recipe, 1999) == rate(recipe, 2000) == pytest.approx(2.5e-4)
    halfway = 2000 + (recipe.steps - 2000) // 2
    assert rate(recipe, halfway) == pytest.approx(1.25e-4, rel=1e-4)
    assert rate(recipe, recipe.steps - 1) == pytest.approx(0, abs=1e-12)


def test_linear_and_a_final_rate():
    chosen = plan(steps=110, warmup_steps=10, peak_rate=1.0, schedule="linear", final_rate=0.1)
    assert rate(chosen, 60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert rate(plan(steps=2, warmup_steps=0, peak_rate=1.0), 1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_warm_up_stable_decay():
    chosen = plan(steps=110, warmup_steps=10, peak_rate=1.0, schedule="linear", decay_share=0.2)
    assert [rate(chosen, step) for step in (9, 10, 50, 90)] == [1.0] * 4
    assert rate(chosen, 100) == pytest.approx(0.5)
    assert rate(chosen, 109) == pytest.approx(0.05)


@given(
    steps=st.integers(1, 300),
    warmup=st.integers(0, 400),
    kind=st.sampled_from(["cosine", "linear"]),
    final=st.floats(0, 1),
    decay=st.floats(0.01, 1),
)
def test_rises_then_falls_and_stays_within_bounds(steps, warmup, kind, final, decay):
    chosen = plan(steps=steps, warmup_steps=warmup, schedule=kind, final_rate=final, decay_share=decay, peak_rate=1.0)
    rates = [rate(chosen, step) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < max(rates) <= 1
    assert min(rates[top:]) >= final - 1e-12
