"""Spikes: seen, reported, left out on request, the same however often the run is stopped."""

from __future__ import annotations

import math
import signal
import statistics
from dataclasses import replace

import pytest
import torch

from selftaught import console, storage
from selftaught.checkpoint import loading
from selftaught.cli.main import main
from selftaught.errors import DivergedError
from selftaught.report.records import LearningPoint
from selftaught.tokens.batches import Batches
from selftaught.tokens.shards import open_shards
from selftaught.training import parallel, spikes
from selftaught.training.optimizer import Optimizer
from selftaught.training.pretraining import pretrain
from selftaught.training.progress import Progress
from tests.training.conftest import plan
from tests.training.test_pretraining import assert_same_run, at_step, tensors


def leaping(monkeypatch, at, factor):
    """Multiply the loss of some steps, which have one micro-batch each."""
    real, calls = parallel.Processes.add_gradients, iter(range(10**9))

    def add_gradients(self, micro_batches, tokens):
        total = real(self, micro_batches, tokens)
        return total * factor if next(calls) in at else total

    monkeypatch.setattr(parallel.Processes, "add_gradients", add_gradients)


def test_a_limit_is_so_many_deviations_above_the_mean():
    losses = [3.0, 3.2] * 15
    assert spikes.limit(losses, 6.0) == pytest.approx(3.1 + 6 * statistics.pstdev(losses))
    assert spikes.limit(losses[:19], 6.0) == math.inf
    assert spikes.limit(losses, 0.0) == math.inf


LONG = {"steps": 36, "dropout": 0.0, "log_every": 1}
SHORT = "--steps 3 --warmup-steps 1 --layers 1 --channels 32 --heads 2 --context 16 --batch-size 4"


def test_a_spike_is_reported_and_trained_on(tokens, tmp_path, monkeypatch, capsys):
    leaping(monkeypatch, {30}, 5.0)
    pretrain(plan(**LONG), tokens=tokens, out=tmp_path)
    said = capsys.readouterr().out
    assert "step 31: loss" in said
    assert "left out" not in said
    points = storage.read_lines(tmp_path / "log.jsonl", LearningPoint)
    assert [point.step for point in points if point.spikes] == [31]


@pytest.mark.parametrize("factor", [5.0, math.nan, math.inf])
def test_a_spike_is_left_out_on_request(tokens, tmp_path, monkeypatch, capsys, factor):
    chosen = plan(**LONG, skip_spikes=True, checkpoint_seconds=0.0, checkpoints_kept=40)
    leaping(monkeypatch, {30}, factor)
    pretrain(chosen, tokens=tokens, out=tmp_path)
    assert "left out" in capsys.readouterr().out
    before, after = (tensors(tmp_path / f"step-{step:06}") for step in (30, 31))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    points = storage.read_lines(tmp_path / "log.jsonl", LearningPoint)
    assert [point.step for point in points if point.spikes] == [31]
    assert all(math.isfinite(point.loss) for point in points)


def test_a_run_with_spikes_continues_to_the_bit(tokens, tmp_path, monkeypatch):
    real, batches = parallel.Processes.add_gradients, Batches(open_shards(tokens), seed=1, batch_size=4, context=16)
    bad = {int(batches[step][1].sum()) for step in (24, 30)}

    def add_gradients(self, micro_batches, tokens):
        """Two batches are bad, whenever they come."""
        given = list(micro_batches)
        total = real(self, given, tokens)
        return total * 5 if int(given[0][1].sum()) in bad else total

    monkeypatch.setattr(parallel.Processes, "add_gradients", add_gradients)
    chosen = plan(**LONG, skip_spikes=True, checkpoint_seconds=0.0)
    pretrain(chosen, tokens=tokens, out=tmp_path / "whole")
    assert sum(point.spikes for point in storage.read_lines(tmp_path / "whole/log.jsonl", LearningPoint)) > 0

    class Killed(BaseException): ...

    def kill():
        raise Killed

    for step in (23, 6):
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                pretrain(chosen, tokens=tokens, out=tmp_path / "run")
    pretrain(chosen, tokens=tokens, out=tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_costs_no_row_of_the_log(tokens, tmp_path, monkeypatch, norm):
    """JSON has no such numbers, and a log that cannot be read would be begun anew."""
    chosen = plan(**LONG, skip_spikes=True, checkpoint_seconds=0.0)
    real, calls = Optimizer.gradient_norm, iter(range(10**9))
    monkeypatch.setattr(Optimizer, "gradient_norm", lambda self: norm if next(calls) == 4 else real(self))
    for step in (8, None):
        with monkeypatch.context() as patch:
            if step:
                at_step(patch, step, lambda: signal.raise_signal(signal.SIGINT))
                with pytest.raises(KeyboardInterrupt):
                    pretrain(chosen, tokens=tokens, out=tmp_path)
            else:
                pretrain(chosen, tokens=tokens, out=tmp_path)
        points = storage.read_lines(tmp_path / "log.jsonl", LearningPoint)
        assert [point.step for point in points] == list(range(1, len(points) + 1))
        assert [point.step for point in points if point.gradient_norm is None] == [5]
    assert len(points) == 36


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_measurement_that_is_no_number_is_never_the_best(loss):
    begun = Progress(plan=plan(**LONG), precision="float32")
    assert begun.measured(loss).best is None
    found = replace(begun.measured(loss), step=2).measured(3.0).measured(loss)
    assert (found.best, found.best_step) == (3.0, 2)


def test_too_many_in_a_row_are_divergence(tokens, tmp_path, monkeypatch):
    leaping(monkeypatch, set(range(5, 100)), math.nan)
    with pytest.raises(DivergedError, match="diverged at step 15"):
        pretrain(replace(plan(**LONG), skip_spikes=True), tokens=tokens, out=tmp_path)
    assert loading.checkpoints(tmp_path)[-1].name == "step-000014"


def test_a_run_of_which_every_step_is_left_out_diverged_however_short_it_is(tokens, tmp_path, monkeypatch, capsys):
    leaping(monkeypatch, set(range(9)), math.nan)
    words = ["train", *SHORT.split(), "--tokens", str(tokens), "--out", str(tmp_path / "run"), "--skip-spikes"]
    assert main(words) == DivergedError.exit_code
    assert "diverged at step 3" in capsys.readouterr().err


def test_the_progress_line_says_how_much_of_the_machine_is_used(tokens, tmp_path, monkeypatch, capsys):

    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    pretrain(plan(steps=3), tokens=tokens, out=tmp_path)
    assert "GFLOP/s" in capsys.readouterr().out
