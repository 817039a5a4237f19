from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selftaught import compute, storage
from selftaught.compute import Machine
from selftaught.training import threads
from selftaught.training.checkpoints import TRAINING_FILE
from selftaught.training.pretraining import pretrain
from selftaught.training.progress import Progress
from tests.training.conftest import plan

MACHINE = Machine(device="cpu", precision="float32", threads=4)


def clock(seconds: dict[int, float], asked: list[int]) -> threads.Timed:
    """A step whose time depends on the number of threads as given."""

    def timed() -> float:
        asked.append(torch.get_num_threads())
        return seconds.get(asked[-1], math.inf)

    return timed


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({8: 1.0, 4: 1.2, 2: 1.9}, 8, {8, 4, 2}),
        ({8: 1.0, 4: 2.0}, 8, {8, 4}),
        ({8: 1.0, 4: 0.5, 2: 0.3, 1: 0.4}, 2, {8, 4, 2, 1}),
        ({8: 1.0, 4: 0.99, 2: 0.98, 1: 0.97}, 8, {8, 4, 2, 1}),
    ],
)
def test_the_fastest_number_of_threads_is_found(seconds: dict[int, float], best: int, tried: set[int]) -> None:
    asked, before = list[int](), torch.get_num_threads()
    times = threads.fastest(clock(seconds, asked), 8)
    assert next(iter(times)) == best
    assert set(times) == tried == set(asked[1:])
    assert torch.get_num_threads() == before


def test_a_number_that_was_held_up_once_may_still_be_the_best() -> None:
    held_up = iter([9.0] * 3)
    times = threads.fastest(lambda: next(held_up, 1.0 if torch.get_num_threads() == 2 else 2.0), 2)
    assert list(times.items()) == [(2, 1.0), (1, 2.0)]


def test_a_trial_step_counts_all_micro_batches() -> None:
    whole = plan(batch_size=8, micro_batch_size=8)
    for chosen in (whole, replace(whole, batch_size=80), replace(whole, optimizer="adamw")):
        timed = threads.trial(chosen, 300, MACHINE)
        assert all(0 < timed() < math.inf for _ in range(3))


def test_what_the_plan_says_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "fastest", lambda *_: pytest.fail("tried"))
    assert threads.chosen(plan(threads=3), 300, MACHINE) == 3
    with compute.threads_kept():
        torch.set_num_threads(1)
        assert threads.chosen(plan(threads=0), 300, MACHINE) == 1
        torch.set_num_threads(2)
        assert threads.chosen(plan(threads=0), 300, replace(MACHINE, world_size=2)) == 2
        assert threads.chosen(plan(threads=0), 300, replace(MACHINE, device="cuda:0")) == 2


def progress(checkpoint: Path) -> Progress:
    return storage.read_json(checkpoint / TRAINING_FILE, Progress)


def test_a_run_goes_on_with_the_threads_it_began_with(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = plan(threads=0, keep_every=4, steps=8, checkpoints_kept=9)
    monkeypatch.setattr(compute, "usable_cores", lambda: 4)
    monkeypatch.setattr(threads, "chosen", lambda *_: 3)
    before = torch.get_num_threads()
    last = pretrain(short, tokens=tokens, out=tmp_path)
    assert progress(last).threads == 3
    assert torch.get_num_threads() == before
    monkeypatch.setattr(threads, "chosen", lambda *_: pytest.fail("chosen again"))
    shutil.rmtree(last)
    assert progress(pretrain(short, tokens=tokens, out=tmp_path)).threads == 3
    assert "threads: 3" not in capsys.readouterr().out
    shutil.rmtree(last)
    assert progress(pretrain(replace(short, threads=2), tokens=tokens, out=tmp_path)).threads == 2
    assert "losses are not to the bit those of a run without a break; threads: 3 -> 2" in capsys.readouterr().out
    shutil.rmtree(last)
    monkeypatch.setattr(compute, "usable_cores", lambda: 1)
    assert progress(pretrain(short, tokens=tokens, out=tmp_path)).threads == 1
    assert "threads: 3 -> 1" in capsys.readouterr().out
