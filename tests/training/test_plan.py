from __future__ import annotations

import subprocess
import sys

import pytest

from selftaught import settings
from selftaught.cli import train
from selftaught.errors import UsageError
from selftaught.model import cost
from selftaught.training.plan import TrainingPlan
from selftaught.training.recipes import RECIPES, recipes


@pytest.mark.parametrize(
    "nonsense",
    [
        *({name: 0} for name in ("steps", "batch_size", "micro_batch_size", "layers", "context", "log_every")),
        *({"peak_rate": value} for value in (0.0, -1.0, float("nan"), float("inf"))),
        *({"dropout": 1.0}, {"beta2": 1.0}, {"weight_decay": -0.1}, {"clip": 0.0}, {"final_rate": 2.0}),
        *({"decay_share": value} for value in (0.0, 1.1, float("nan"))),
        *({"warmup_steps": -1}, {"checkpoints_kept": 0}, {"evaluate_tokens": 0}),
    ],
    ids=str,
)
def test_refuses_nonsense_and_names_the_flag(nonsense):
    flag = "--" + next(iter(nonsense)).replace("_", "-")
    with pytest.raises(UsageError, match=flag):
        TrainingPlan(**nonsense)


def test_refuses_heads_that_do_not_divide_channels():
    with pytest.raises(UsageError, match="heads"):
        TrainingPlan(heads=3, channels=256).shape(vocabulary=10)


@pytest.mark.parametrize(
    ("name", "vocabulary", "millions"),
    [
        ("gpt1", 40478, 116.5),
        ("gpt2-small", 50257, 124.4),
        ("gpt2-medium", 50257, 354.8),
        ("gpt2-large", 50257, 774.0),
        ("gpt2-xl", 50257, 1557.6),
    ],
)
def test_recipes_have_the_papers_sizes_and_batches(name, vocabulary, millions):
    plan = RECIPES[name]
    assert cost.parameters(plan.shape(vocabulary)) / 1e6 == pytest.approx(millions, abs=0.05)
    assert plan.step_tokens == (64 * 512 if name == "gpt1" else 512 * 1024)


def test_recipes_are_a_copy_and_settings_of_the_verb():
    found = recipes()
    found.clear()
    assert {"laptop", "gpt1", "gpt2-xl"} <= set(recipes())
    for plan in RECIPES.values():
        assert settings.as_document(plan)["steps"] == plan.steps


def test_styles_change_how_and_not_what_is_trained():
    own, paper, modern = recipes(), recipes("paper"), recipes("modern")
    assert modern["laptop"] == own["laptop"]
    assert paper["gpt2-xl"] == own["gpt2-xl"]
    same = ("layers", "channels", "context", "batch_size", "steps", "seed", "warmup_steps")
    for name, plan in own.items():
        assert {getattr(plan, word) for word in same} == {getattr(modern[name], word) for word in same}
        assert {getattr(plan, word) for word in same} == {getattr(paper[name], word) for word in same}
        assert (paper[name].optimizer, modern[name].optimizer) == ("adamw", "muon")


def test_the_flag_chooses_the_style():
    words = ["gpt2-small", "--tokens", "t", "--out", "o"]
    assert train._resolved(words).command.settings == RECIPES["gpt2-small"]
    chosen = train._resolved([*words, "--recipe-style", "modern", "--peak-rate", "0.1"]).command.settings
    assert (chosen.optimizer, chosen.peak_rate) == ("muon", 0.1)


def test_what_may_change_when_a_run_is_continued():
    assert settings.changeable(TrainingPlan) == {
        *(
            "micro_batch_size",
            "shard_processes",
            "activation_checkpointing",
            "evaluate_every",
            "evaluate_tokens",
            "log_every",
            "checkpoint_seconds",
            "checkpoints_kept",
            "parallel",
            "keep_every",
            "keep_best",
            "compile",
            "threads",
        )
    }


def test_plans_and_the_verbs_help_need_no_torch():
    program = (
        "import selftaught.cli.train, selftaught.training.plan, sys; assert not {'torch', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
