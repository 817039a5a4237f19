from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught import errors, storage
from selftaught.checkpoint import loading, native
from selftaught.cli.main import main
from selftaught.cli.watching import Watch
from selftaught.errors import DamagedFileError, InputError, MismatchError, OutputError, SelftaughtError, UsageError
from selftaught.model.loss import loss_sum
from selftaught.model.transformer import Transformer
from selftaught.report.records import LearningPoint, Sample, Score
from selftaught.training import pretraining
from selftaught.training.activations import checkpoint_blocks
from selftaught.training.heldout import Heldout
from selftaught.training.pretraining import pretrain
from selftaught.training.step import StepResult
from tests.reference.networks import network
from tests.training.conftest import make_tokens, plan


def rows(out: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in ("seconds", "tokens_per_second")} for row in found]


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    names = ("model.safetensors", "optimizer.safetensors")
    return {f"{name}:{key}": value for name in names for key, value in native.read_tensors(checkpoint / name).items()}


def assert_same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    last = [loading.checkpoints(out)[-1] for out in (one, other)]
    assert last[0].name == last[1].name
    first, second = map(tensors, last)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def whole(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    pretrain(plan(), tokens=tokens, out=out)
    return out


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Do something in the middle of a step, when its gradients are there."""
    real, calls = pretraining.train_step, iter(range(10**9))

    def train_step(model: Any, optimizer: Any, *rest: Any, **more: Any) -> StepResult:
        if next(calls) == step:
            act()
        return real(model, optimizer, *rest, **more)

    monkeypatch.setattr(pretraining, "train_step", train_step)


def test_the_log_has_the_rows_that_were_asked_for(whole: Path) -> None:
    points = storage.read_lines(whole / "log.jsonl", LearningPoint)
    assert [point.step for point in points] == [1, 5, 8, 10, 15, 16, 20, 24]
    assert [point.step for point in points if point.heldout_bits_per_byte is not None] == [1, 8, 16, 24]
    assert points[-1].tokens == 24 * 4 * 16
    assert points[-1].loss < points[0].loss
    measured = [point.heldout_bits_per_byte or 0 for point in points if point.heldout_bits_per_byte]
    assert measured[-1] < measured[0]
    assert loading.load(whole).model.shape.channels == 16


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 0), (signal.SIGINT, 13), (signal.SIGTERM, 7), (signal.SIGTERM, 15)]
)
def test_a_stopped_run_continues_to_the_bit(whole, tokens, tmp_path, monkeypatch, number, step):  # noqa: PLR0917
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises((KeyboardInterrupt, SystemExit)) as stopped:
            pretrain(plan(), tokens=tokens, out=tmp_path)
    assert (stopped.type is KeyboardInterrupt) == (number == signal.SIGINT)
    assert stopped.type is KeyboardInterrupt or stopped.value.code == errors.TERMINATED
    assert [folder.name for folder in loading.checkpoints(tmp_path)] == [f"step-{step:06}"]
    pretrain(plan(), tokens=tokens, out=tmp_path)
    assert_same_run(whole, tmp_path)


def test_a_run_killed_between_checkpoints_continues_to_the_bit(
    whole: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    def kill() -> None:
        raise Killed

    often = plan(checkpoint_seconds=0.0)
    for step in (11, 5):
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                pretrain(often, tokens=tokens, out=tmp_path)
    # As if the last checkpoint had not been written yet: its rows are already in the log.
    shutil.rmtree(loading.checkpoints(tmp_path)[-1])
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 17, "tok')
    pretrain(plan(), tokens=tokens, out=tmp_path)
    assert_same_run(whole, tmp_path)


def test_a_second_signal_does_not_wait(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 3, twice)
    with pytest.raises(KeyboardInterrupt):
        pretrain(plan(), tokens=tokens, out=tmp_path)
    assert loading.checkpoints(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_left_alone(whole: Path, tokens: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("step-*/*")}
    assert pretrain(plan(), tokens=tokens, out=whole).name == "step-000024"
    assert {path: path.stat().st_mtime_ns for path in whole.glob("step-*/*")} == before


@pytest.mark.parametrize("size", [1, 3, 4, 64])
def test_micro_batches_change_nothing_but_rounding(whole: Path, tokens: Path, tmp_path: Path, size: int) -> None:
    same = [plan(dropout=0.0), plan(dropout=0.0, micro_batch_size=size)]
    one, other = (pretrain(each, tokens=tokens, out=tmp_path / str(number)) for number, each in enumerate(same))
    assert [row["loss"] for row in rows(one.parent)] == pytest.approx(
        [row["loss"] for row in rows(other.parent)], abs=1e-3
    )
    heldout = [[row["heldout_bits_per_byte"] for row in rows(out.parent)][-1] for out in (one, other)]
    assert heldout[0] == pytest.approx(heldout[1], abs=1e-3)


def test_activations_computed_again_change_nothing(whole: Path, tokens: Path, tmp_path: Path) -> None:
    pretrain(plan(activation_checkpointing=True), tokens=tokens, out=tmp_path)
    assert_same_run(whole, tmp_path)


def kept_for_the_way_back(model: Transformer) -> int:
    """Numbers that a forward pass saves."""
    ids, saved = torch.zeros(4, 64, dtype=torch.long), list[int]()

    def count(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss_sum(model, ids, ids)
    return sum(saved)


def test_blocks_keep_only_what_comes_into_them() -> None:
    model = network(layers=4, context=64).train()
    before = kept_for_the_way_back(model)
    checkpoint_blocks(model)
    assert kept_for_the_way_back(model) < before / 3


def test_another_seed_is_another_run(whole: Path, tokens: Path, tmp_path: Path) -> None:
    pretrain(plan(seed=2), tokens=tokens, out=tmp_path)
    assert rows(tmp_path)[0]["loss"] != rows(whole)[0]["loss"]


def test_keeps_as_many_checkpoints_as_asked(tokens: Path, tmp_path: Path) -> None:
    pretrain(plan(checkpoint_seconds=0.0, checkpoints_kept=3), tokens=tokens, out=tmp_path)
    assert [folder.name for folder in loading.checkpoints(tmp_path)] == ["step-000022", "step-000023", "step-000024"]
    assert not list(tmp_path.glob(".*"))


def test_keeps_every_so_many_and_the_best_besides(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(Heldout, "loss", lambda *_: next(losses))
    pretrain(plan(keep_every=9, keep_best=True, checkpoints_kept=1), tokens=tokens, out=tmp_path)
    assert [int(folder.name[5:]) for folder in loading.checkpoints(tmp_path)] == [8, 9, 18, 24]
    progress = json.loads((tmp_path / "step-000024/training.json").read_text())
    assert (progress["best"], progress["best_step"]) == (1.0, 8)


def test_watching_changes_nothing(whole: Path, tokens: Path, tmp_path: Path) -> None:
    watch = Watch(every=8, out=tmp_path, prompts=("the cat",), tokens=5)
    pretrain(plan(), tokens=tokens, out=tmp_path, watch=watch, watch_every=8)
    assert_same_run(whole, tmp_path)
    texts = [storage.read_lines(path, Sample)[0] for path in sorted((tmp_path / "samples").iterdir())]
    assert [sample.model.split()[-1] for sample in texts] == ["8", "16", "24"]
    assert all(sample.prompt == "the cat" and sample.text for sample in texts)


def test_the_verb_runs_tasks_on_schedule(tokens: Path, tmp_path: Path) -> None:
    words = ["train", *SMALL.split(), "--steps", "20", "--tokens", str(tokens), "--out", str(tmp_path / "run")]
    more = ["--tasks", "heldout", "--corpus", str(tokens.parent / "corpus"), "--watch-every", "10"]
    assert main([*words, *more[:2]]) == UsageError.exit_code
    assert not (tmp_path / "run/log.jsonl").exists()
    assert main([*words, *more]) == 0
    found = [
        storage.read_json(tmp_path / f"run/evaluation/step-0000{step}/results.json", list[Score]) for step in (10, 20)
    ]
    assert [scores[0].task for scores in found] == ["heldout", "heldout"]
    assert found[1][0].value != found[0][0].value


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "training.json"])
def test_a_damaged_newest_checkpoint_costs_only_its_steps(
    whole: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    pretrain(plan(checkpoint_seconds=0.0), tokens=tokens, out=tmp_path)
    damage(loading.checkpoints(tmp_path)[-1] / name)
    pretrain(plan(), tokens=tokens, out=tmp_path)
    assert "damaged" in capsys.readouterr().out
    assert_same_run(whole, tmp_path)
    for folder in loading.checkpoints(tmp_path):
        damage(folder / name)
    with pytest.raises(DamagedFileError, match=name):
        pretrain(plan(), tokens=tokens, out=tmp_path)


def test_a_damaged_checkpoint_takes_the_place_of_no_whole_one(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(plan(keep_every=8, checkpoint_seconds=0.0), tokens=tokens, out=tmp_path)
    names = [folder.name for folder in loading.checkpoints(tmp_path)]
    assert names == ["step-000008", "step-000016", "step-000023", "step-000024"]
    for step in (23, 24):
        damage(tmp_path / f"step-0000{step}/model.safetensors")
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            pretrain(plan(), tokens=tokens, out=tmp_path)
    assert [folder.name for folder in loading.checkpoints(tmp_path)] == ["step-000016", "step-000018"]


def test_refuses_to_continue_with_another_plan(whole: Path, tokens: Path) -> None:
    with pytest.raises(MismatchError, match=r"peak_rate: 0\.01 -> 0\.02"):
        pretrain(plan(peak_rate=2e-2), tokens=tokens, out=whole)
    pretrain(plan(micro_batch_size=2, log_every=7), tokens=tokens, out=whole)


def test_refuses_shards_of_another_tokenizer(whole: Path, tokens: Path, tmp_path: Path) -> None:
    other = make_tokens(tmp_path / "other", vocabulary_size=290)
    with pytest.raises(MismatchError, match="tokenizer"):
        pretrain(plan(), tokens=other, out=whole)
    mixed = shutil.copytree(tokens, tmp_path / "mixed")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copy(other / name, mixed / name)
    with pytest.raises(MismatchError, match="tokenizer"):
        pretrain(plan(), tokens=mixed, out=tmp_path / "run")


def test_refuses_folders_that_hold_nothing_to_learn(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no token shards"):
        pretrain(plan(), tokens=tmp_path, out=tmp_path / "run")
    with pytest.raises(InputError, match="too few"):
        pretrain(plan(context=100_000), tokens=tokens, out=tmp_path / "run")
    short = shutil.copytree(tokens, tmp_path / "short")
    (short / "train-00000.tokens").write_bytes(b"12")
    with pytest.raises(DamagedFileError, match="train-00000"):
        pretrain(plan(), tokens=short, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_seen_before_and_while(
    whole: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(storage.files, "free_bytes", lambda path: 1000)
        with pytest.raises(OutputError, match="not enough space"):
            pretrain(plan(), tokens=tokens, out=tmp_path)
    with monkeypatch.context() as patch:
        at_step(patch, 9, lambda: patch.setattr(storage.files, "free_bytes", lambda path: 1000))
        with pytest.raises(OutputError, match="not enough space"):
            pretrain(plan(checkpoint_seconds=0.0), tokens=tokens, out=tmp_path)
    assert [folder.name for folder in loading.checkpoints(tmp_path)] == ["step-000008", "step-000009"]
    pretrain(plan(), tokens=tokens, out=tmp_path)
    assert_same_run(whole, tmp_path)


def test_divergence_is_an_error_that_says_what_to_do(tokens: Path, tmp_path: Path) -> None:
    wild = replace(plan(), optimizer="adamw", peak_rate=1e30, clip=1e30)
    with pytest.raises(SelftaughtError, match=r"diverged at step \d+.*--peak-rate"):
        pretrain(wild, tokens=tokens, out=tmp_path)
    assert all(value.isfinite().all() for value in tensors(loading.checkpoints(tmp_path)[-1]).values())


def test_tokens_of_one_document_only(whole: Path, tokens: Path, tmp_path: Path) -> None:
    pretrain(plan(attention="documents"), tokens=tokens, out=tmp_path)
    one, other = rows(whole), rows(tmp_path)
    assert [row["loss"] for row in one] != [row["loss"] for row in other]
    assert other[-1]["loss"] < other[0]["loss"]
    with pytest.raises(MismatchError, match="attention: documents -> window"):
        pretrain(plan(), tokens=tokens, out=tmp_path)


def test_a_mixture_is_trained_on_resumes_and_wants_one_tokenizer(tokens: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tokens, tmp_path / "other")
    mixed = plan(mix=(f"{other}=0.3",))
    pretrain(mixed, tokens=tokens, out=tmp_path / "whole")
    pretrain(replace(mixed, steps=24), tokens=tokens, out=tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    with pytest.raises(MismatchError, match="mix"):
        pretrain(plan(mix=(f"{other}=0.4",)), tokens=tokens, out=tmp_path / "run")
    strange = make_tokens(tmp_path / "strange", vocabulary_size=290)
    with pytest.raises(MismatchError, match="another tokenizer"):
        pretrain(plan(mix=(f"{strange}=0.3",)), tokens=tokens, out=tmp_path / "new")


@pytest.mark.parametrize("mix", [("x",), ("x=y",), ("x=0",), ("=0.5",), ("x=1",), ("x=0.5", "y=0.5"), ("x=nan",)])
def test_refuses_mixtures_that_are_none(mix: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--mix"):
        plan(mix=mix).shares()


def test_the_verb_finds_damage_that_no_length_shows(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(tokens, tmp_path / "tokens")
    damage(damaged / "train-00000.tokens")
    words = ["train", *SMALL.split(), "--steps", "2", "--tokens"]
    assert main([*words, str(damaged), "--out", str(tmp_path / "a"), "--verify"]) == DamagedFileError.exit_code
    assert "train-00000.tokens is not what was written" in capsys.readouterr().err
    mixed = [str(tokens), "--out", str(tmp_path / "b"), "--mix", f"{damaged}=0.5"]
    assert main([*words, *mixed, "--verify"]) == DamagedFileError.exit_code
    assert main([*words, *mixed]) == 0


SMALL = "--layers 1 --heads 2 --channels 16 --context 16 --batch-size 4 --log-every 1 --threads 1"
ENDLESS = "--steps 1000000 --checkpoint-seconds 0.02"
"""So that a run never ends by itself, however late somebody comes to kill it."""


def command(tokens: Path, out: Path) -> list[str]:
    return ["train", "--tokens", str(tokens), "--out", str(out), *SMALL.split(), *ENDLESS.split()]


def newest_step(out: Path) -> int:
    return max((int(folder.name[5:]) for folder in loading.checkpoints(out)), default=0)


def killed(argv: list[str], out: Path, draw: random.Random) -> int:
    """Start the command, wait for a further checkpoint, and kill it some moment later; the newest checkpoint's step."""
    before = newest_step(out)
    with subprocess.Popen([sys.executable, "-m", "selftaught", *argv], stdout=subprocess.DEVNULL) as process:
        while newest_step(out) <= before:
            assert process.poll() is None, "ended by itself"
            time.sleep(0.005)
        # At random moments: between steps, in them, and while a checkpoint is written.
        time.sleep(draw.random() / 10)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return newest_step(out)


def stopped(argv: list[str], patch: pytest.MonkeyPatch, *, after: int) -> None:
    """The command in this process, told to stop so many steps after those that were done."""
    with patch.context() as here:
        at_step(here, after, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit, match=str(errors.TERMINATED)):
            main(argv)


@pytest.mark.slow
def test_the_command_survives_kill_9(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, out = random.Random(7), tmp_path / "b"
    steps = [killed(command(tokens, out), out, draw) for _ in range(3)]
    assert 0 < steps[0] < steps[1] < steps[2]
    stopped(command(tokens, out), monkeypatch, after=5)
    whole = [*command(tokens, tmp_path / "a"), "--checkpoint-seconds", "1e9"]
    stopped(whole, monkeypatch, after=newest_step(out))
    assert_same_run(tmp_path / "a", out)


def test_the_command_finds_a_finished_run(tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*command(tokens, tmp_path), "--steps", "9"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 9
    assert main(words) == 0
    assert "finished" in capsys.readouterr().out
