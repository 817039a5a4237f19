from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import generation, sampling
from selftaught.inference.sampling import SamplingSettings
from tests.reference import generator, sampler
from tests.reference.networks import network

LOGITS = st.lists(st.floats(-8, 8), min_size=2, max_size=12, unique_by=lambda value: round(value, 2))


def kept(logits, rules):
    scaled = torch.tensor(logits) / rules.temperature
    return sampling.keep_top_p(sampling.keep_top_k(scaled, rules.top_k), rules.top_p).softmax(-1).tolist()


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.floats(0.3, 3), top_k=st.integers(0, 14), top_p=st.floats(0.05, 1))
def test_the_distribution_is_the_slow_ones(logits, temperature, top_k, top_p):
    rules = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    expected = sampler.distribution(logits, temperature, top_k, top_p)
    near_edge = sampler.distribution(logits, temperature, top_k, min(1.0, top_p + 1e-5)) != pytest.approx(expected)
    near_edge |= sampler.distribution(logits, temperature, top_k, max(1e-9, top_p - 1e-5)) != pytest.approx(expected)
    if not near_edge:
        assert kept(logits, rules) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rules", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9, "top_k": 0}])
def test_what_leaves_one_token_takes_the_first_choice(rules):
    logits = torch.randn(50, generator=compute.generator(1))
    chosen = sampling.choose(logits, SamplingSettings(**rules), compute.generator(2))
    assert chosen == int(logits.argmax())


def test_draws_follow_the_distribution():
    logits, rules = torch.tensor([2.0, 1.0, 0.0, -1.0]), SamplingSettings(top_k=3, temperature=0.8)
    numbers = compute.generator("draws")
    drawn = Counter(sampling.choose(logits, rules, numbers) for _ in range(4000))
    expected = sampler.distribution(logits.tolist(), 0.8, 3, 1.0)
    assert [drawn[token] / 4000 for token in range(4)] == pytest.approx(expected, abs=0.03)
    assert drawn[3] == 0


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 2}]
)
def test_meaningless_settings_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
        SamplingSettings(**wrong)


@pytest.mark.parametrize("length", [1, 5, 31, 32, 33, 90])
@pytest.mark.parametrize("norm", ["before", "after"])
def test_greedy_generation_is_the_one_without_a_cache(length, norm):
    model = network(norm=norm)
    prompt = [(7 * number) % 50 for number in range(length)]
    drawn = generation.draw(model, prompt, SamplingSettings(temperature=0), compute.generator(1))
    assert [next(drawn).token for _ in range(60)] == generator.greedy(model, prompt, 60)


def test_probabilities_are_the_models_own():
    model = network()
    drawn = generation.draw(model, [3, 4], SamplingSettings(top_k=2, temperature=0.5), compute.generator(1))
    one = next(drawn)
    expected = model.logits(model(torch.tensor([[3, 4]])))[0, -1].softmax(-1)[one.token]
    assert one.probability == pytest.approx(float(expected.detach()), abs=1e-5)


def test_ids_that_no_text_has_are_never_drawn():
    rules = SamplingSettings(temperature=5.0, top_k=0)
    drawn = generation.draw(network(), [1], rules, compute.generator(1), 4)
    assert {next(drawn).token for _ in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize("prompt", [[], [50], [-1]])
def test_impossible_prompts_are_refused(prompt):
    with pytest.raises(UsageError):
        next(generation.draw(network(), prompt, SamplingSettings(), compute.generator(1)))
