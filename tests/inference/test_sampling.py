from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught import compute
from selftaught.errors import UsageError
from selftaught.inference import sampling
from selftaught.inference.rules import SamplingSettings
from tests.reference import sampler

LOGITS = st.lists(st.floats(-8, 8), min_size=2, max_size=12, unique_by=lambda value: round(value, 2))
PENALTIES = {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": -0.2}


@settings(deadline=None)
@given(logits=LOGITS, temperature=st.floats(0.3, 3), top_k=st.integers(0, 14), top_p=st.floats(0.05, 1))
def test_the_distribution_is_the_slow_ones(logits, temperature, top_k, top_p):
    rules = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    expected = sampler.distribution(logits, temperature, top_k, top_p)
    near_edge = sampler.distribution(logits, temperature, top_k, min(1.0, top_p + 1e-5)) != pytest.approx(expected)
    near_edge |= sampler.distribution(logits, temperature, top_k, max(1e-9, top_p - 1e-5)) != pytest.approx(expected)
    if not near_edge:
        assert sampling.distribution(torch.tensor(logits), rules).tolist() == pytest.approx(expected, abs=1e-5)


@settings(deadline=None)
@given(logits=LOGITS, prompt=st.lists(st.integers(0, 1)), drawn=st.lists(st.integers(0, 1), max_size=5))
def test_penalties_are_the_slow_ones(logits, prompt, drawn):
    rules = SamplingSettings(**PENALTIES)
    expected = sampler.penalised(logits, prompt, drawn, **PENALTIES)
    before = torch.tensor(logits)
    assert sampling.penalised(before, rules, prompt, drawn).tolist() == pytest.approx(expected, abs=1e-5)
    assert before.tolist() == torch.tensor(logits).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_distributions_are_those_of_transformers(seed):
    from transformers.generation import logits_process as theirs

    numbers = compute.generator("settings", seed)
    logits = 3 * torch.randn(1, 300, generator=numbers)
    prompt, drawn = torch.randint(300, (2, 20), generator=numbers).tolist()
    part = [float(value) for value in torch.rand(5, generator=numbers)]
    rules = SamplingSettings(
        temperature=0.3 + part[0],
        top_k=int(3 + 100 * part[1]),
        top_p=0.2 + 0.79 * part[2],
        min_p=0.2 * part[3],
        repetition_penalty=1.01 + part[4],
        logit_bias=((7, 3.5), (prompt[0], -2.0)),
    )
    scores = logits
    for processor in (
        theirs.SequenceBiasLogitsProcessor([[[token], value] for token, value in rules.logit_bias]),
        theirs.RepetitionPenaltyLogitsProcessor(rules.repetition_penalty),
        theirs.TemperatureLogitsWarper(rules.temperature),
        theirs.TopKLogitsWarper(rules.top_k),
        theirs.TopPLogitsWarper(rules.top_p),
        theirs.MinPLogitsWarper(rules.min_p),
    ):
        scores = processor(torch.tensor([prompt + drawn]), scores)
    found = sampling.distribution(logits[0], rules, prompt, drawn)
    assert torch.allclose(found, scores[0].softmax(-1), atol=1e-6)
    assert 1 <= (found > 0).sum() < 120


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_top_p_of_a_large_vocabulary_is_the_slow_one(p, spread):
    logits = spread * torch.randn(3 * sampling.FIRST_SORTED, generator=compute.generator("large", p))
    found = sampling.keep_top_p(logits, p).softmax(-1).tolist()
    expected = sampler.distribution(logits.tolist(), 1.0, 0, p)
    kept = [sum(value > 0 for value in values) for values in (found, expected)]
    assert abs(kept[0] - kept[1]) <= 1  # rounding at the border
    assert found == pytest.approx(expected, abs=2e-3 if kept[0] != kept[1] else 1e-6)


@pytest.mark.parametrize("rules", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9, "top_k": 0}, {"min_p": 1}])
def test_what_leaves_one_token_takes_the_first_choice(rules):
    logits = torch.randn(50, generator=compute.generator(1))
    chosen = sampling.choose(logits, SamplingSettings(**rules), compute.generator(2))
    assert chosen == int(logits.argmax())


@pytest.mark.parametrize("top_k", [0, 3])
def test_draws_follow_the_distribution(top_k):
    logits, rules = torch.tensor([2.0, 1.0, 0.0, -1.0]), SamplingSettings(top_k=top_k, temperature=0.8)
    numbers = compute.generator("draws")
    drawn = Counter(sampling.choose(logits, rules, numbers) for _ in range(4000))
    expected = sampler.distribution(logits.tolist(), 0.8, top_k, 1.0)
    assert [drawn[token] / 4000 for token in range(4)] == pytest.approx(expected, abs=0.03)
    assert (drawn[3] == 0) == (top_k == 3)


def test_a_token_that_has_no_probability_is_never_picked():
    ids, numbers = torch.arange(4), compute.generator("edges")
    for none in range(4):
        probabilities = torch.ones(4).index_fill(0, torch.tensor([none]), 0) / 3
        assert none not in {sampling.pick(ids, probabilities, numbers) for _ in range(200)}


def test_rounding_hardly_ever_changes_what_is_drawn():
    logits, rules = torch.zeros(1000), SamplingSettings(top_k=0)
    other = logits + 1e-6 * torch.randn(1000, generator=compute.generator("rounding"))
    pairs = [
        [sampling.choose(one, rules, compute.generator("draw", number)) for one in (logits, other)]
        for number in range(200)
    ]
    assert sum(one == two for one, two in pairs) >= 198


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 2},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"frequency_penalty": float("nan")},
        {"presence_penalty": float("inf")},
        {"logit_bias": ((-1, 1.0),)},
        {"logit_bias": ((1, float("nan")),)},
    ],
)
def test_meaningless_settings_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
        SamplingSettings(**wrong)


def test_settings_say_what_they_are():
    assert SamplingSettings(temperature=0).words() == "greedy"
    assert SamplingSettings(top_k=2).words() == "top-k 2, temperature 1"
    asked = SamplingSettings(top_k=0, top_p=0.9, min_p=0.1, temperature=0.7, frequency_penalty=0.5)
    assert asked.words() == "top-p 0.9, min-p 0.1, temperature 0.7, frequency penalty 0.5"
    assert SamplingSettings(temperature=0, logit_bias=((5, -100.0),)).words() == "greedy, -100 for token 5"


def test_a_bias_bars_and_forces_tokens_and_leaves_logits_as_they_were():
    logits = torch.randn(50, generator=compute.generator("bias"))
    before, best = logits.tolist(), int(logits.argmax())
    for temperature in (0, 1):
        barred = SamplingSettings(temperature=temperature, logit_bias=((best, -100.0),))
        assert not barred.greedy  # what takes the first choice unseen must not
        assert best not in {sampling.choose(logits, barred, compute.generator(seed)) for seed in range(50)}
        forced = SamplingSettings(temperature=temperature, logit_bias=((3, 100.0),))
        assert sampling.choose(logits, forced, compute.generator(1)) == 3
    assert logits.tolist() == before
    with pytest.raises(UsageError, match="0 to 49; got 50"):
        sampling.biased(logits, ((50, 1.0),))
