from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from selftaught import settings
from selftaught.errors import InputError, UsageError
from selftaught.model import cost
from selftaught.tokens.shards import open_shards
from selftaught.training import ladder
from selftaught.training.plan import TrainingPlan
from selftaught.training.recipes import RECIPES


@pytest.fixture(autouse=True)
def no_end_of_text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The few thousand tokens of these tests stand for as many as a ladder wants, but where that is tested."""
    if "epochs" not in request.node.name:
        monkeypatch.setattr(ladder, "MOST_EPOCHS", 10**9)
        monkeypatch.setattr(ladder, "PARAMETERS_PER_TEXT_TOKEN", 10**9)


def speed(flops_per_second: float):
    """A machine that computes every size equally well."""
    return lambda plan, vocabulary: flops_per_second / cost.training_flops_per_token(plan.shape(vocabulary))


def parameters(plans: dict[str, TrainingPlan], vocabulary: int) -> list[int]:
    return [cost.parameters(plan.shape(vocabulary)) for plan in plans.values()]


@pytest.mark.parametrize("minutes", [1, 6, 18, 120])
@pytest.mark.parametrize("flops", [2e10, 2e11, 2e13])
def test_four_sizes_on_the_same_tokens_within_the_minutes(tokens: Path, minutes: float, flops: float) -> None:
    vocabulary = open_shards(tokens).vocabulary_size
    plans = ladder.plan_for(minutes=minutes, tokens=tokens, seed=3, speed=speed(flops))
    sizes = parameters(plans, vocabulary)
    assert len(plans) == 4
    assert sizes == sorted(set(sizes))
    schedules = {(p.steps, p.batch_size, p.context, p.seed, p.warmup_steps, p.evaluate_every) for p in plans.values()}
    assert len(schedules) == 1
    seconds = 0.0
    for plan in plans.values():
        measured = (plan.steps // plan.evaluate_every + 2) * plan.evaluate_tokens / 3
        seconds += (plan.tokens + measured) / speed(flops)(plan, vocabulary) + ladder.START_SECONDS
    assert 0.85 < seconds / 60 / minutes < 1.1


def test_more_time_buys_larger_sizes_and_a_larger_size_a_lower_rate(tokens: Path) -> None:
    vocabulary = open_shards(tokens).vocabulary_size
    short, long = (ladder.plan_for(minutes=minutes, tokens=tokens, speed=speed(2e11)) for minutes in (1, 200))
    assert parameters(long, vocabulary)[-1] > 5 * parameters(short, vocabulary)[-1]
    rates = [plan.peak_rate for plan in long.values()]
    assert rates == sorted(rates, reverse=True)
    top = list(long.values())[-1]
    assert top.tokens > ladder.TOKENS_PER_PARAMETER * parameters(long, vocabulary)[-1] * 0.8


@pytest.mark.parametrize("minutes", [0.001, 0.05, 0.2])
def test_next_to_no_time_still_gives_plans_that_run(tokens: Path, minutes: float) -> None:
    for plan in ladder.plan_for(minutes=minutes, tokens=tokens, speed=speed(1e9)).values():
        assert plan.steps >= 1
        assert plan.shape(300).channels % plan.heads == 0


def test_few_tokens_are_not_seen_for_more_epochs_than_help(tokens: Path) -> None:
    there = open_shards(tokens)
    plans = list(ladder.plan_for(minutes=600, tokens=tokens, speed=speed(2e13)).values())
    assert 3 * there.tokens < plans[0].tokens <= 4 * there.tokens
    assert plans[-1].channels == 192  # the smallest ladder


def test_a_small_text_gets_no_network_that_could_learn_it_by_heart() -> None:
    rungs = [ladder.plan_of(rung, 1) for rung in ladder.RUNGS]
    chosen = ladder.choose(rungs, 1e6, 4096, speed(2e13), largest=4e6)
    assert 2e6 < cost.parameters(chosen[-1].shape(4096)) < 4e6


def test_names_say_the_size_and_flags_give_the_plan_back(tokens: Path) -> None:
    for name, plan in ladder.plan_for(minutes=6, tokens=tokens, speed=speed(2e11)).items():
        assert name == f"{plan.layers}x{plan.channels}"
        words = settings.as_flags(plan, RECIPES["laptop"])
        assert f"--channels {plan.channels}" in " ".join(words) or plan.channels == RECIPES["laptop"].channels


def test_rungs_grow_and_their_heads_fit() -> None:
    plans = [ladder.plan_of(rung, 1) for rung in ladder.RUNGS]
    sizes = [cost.parameters(plan.shape(4096)) for plan in plans]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("vocabulary", [4096, 8192, 50257])
@pytest.mark.parametrize("seconds", [10, 300, 3600, 1e6])
def test_sizes_stand_apart_like_the_papers(vocabulary: int, seconds: float) -> None:
    rungs = [ladder.plan_of(rung, 1) for rung in ladder.RUNGS]
    sizes = [cost.parameters(plan.shape(vocabulary)) for plan in ladder.choose(rungs, seconds, vocabulary, speed(2e11))]
    assert all(1.5 < larger / smaller < 4 for smaller, larger in itertools.pairwise(sizes))


def test_measures_this_machine() -> None:
    assert ladder.measure_speed(ladder.plan_of((1, 32), 1), 300, seconds=0.0) > 0


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_refuses_no_time(tokens: Path, minutes: float) -> None:
    with pytest.raises(UsageError, match="minutes"):
        ladder.plan_for(minutes=minutes, tokens=tokens)


def test_refuses_a_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        ladder.plan_for(minutes=1, tokens=tmp_path)
