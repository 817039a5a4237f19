"""Whole runs: learned, resumed to the bit, kept, refused, seen to fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selftaught.checkpoint import loading, native
from selftaught.cli.main import main
from selftaught.errors import DamagedFileError, InputError, MismatchError, SelftaughtError, UsageError
from selftaught.finetuning import fitting, saving
from selftaught.finetuning.plan import FinetuningPlan, ablations, layer_curve
from selftaught.finetuning.predicting import FinetunedModel
from selftaught.finetuning.running import average, finetune
from selftaught.report.records import FineTuned
from selftaught.tasks.labelled import Labelled

QUICK = FinetuningPlan(epochs=3, batch_size=8, peak_rate=1e-2, precision="float32", lstm_units=16, log_every=5)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def given(pretrained: Path, data: Path) -> tuple[Path, Path]:
    return pretrained, data


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = saving.load(folder)
    return found.model.state_dict()


def assert_same_run(one: Path, other: Path) -> None:
    a, b = (tensors(folder / "sst2/full/seed-1/best") for folder in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    logs = [
        [
            {**json.loads(line), "seconds": 0}
            for line in (folder / "sst2/full/seed-1/log.jsonl").read_text().splitlines()
        ]
        for folder in (one, other)
    ]
    assert logs[0] == logs[1]
    results = [
        json.loads((folder / "sst2/full/seed-1/result.json").read_bytes()) | {"seconds": 0} for folder in (one, other)
    ]
    assert results[0] == results[1]
    assert not (other / "sst2/full/seed-1/last").exists()


@pytest.fixture(scope="module")
def whole(pretrained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    finetune(pretrained, "sst2", out=out, data=data, plan=QUICK)
    return out


def test_a_task_is_learned_and_every_set_measured(whole: Path) -> None:
    found = {
        (row["split"], row["metric"]): row["median"] for row in json.loads((whole / "finetuned.json").read_bytes())
    }
    assert found == {("dev", "accuracy"): 1.0, ("test", "accuracy"): 1.0, ("train", "accuracy"): 1.0}
    losses = [json.loads(line)["task_loss"] for line in (whole / "sst2/full/seed-1/log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.2 < losses[0]


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act) -> None:
    before = fitting.Fitting._step

    def step(self) -> None:
        before(self)
        if self.progress.step == number:
            act()

    monkeypatch.setattr(fitting.Fitting, "_step", step)


@pytest.mark.parametrize("step", [3, 12, 17])
def test_an_interrupted_run_ends_with_the_same_weights(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, given: tuple[Path, Path]
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM if step == 12 else signal.SIGINT))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            finetune(given[0], "sst2", out=tmp_path, data=given[1], plan=QUICK)
    finetune(given[0], "sst2", out=tmp_path, data=given[1], plan=QUICK)
    assert_same_run(whole, tmp_path)


def test_results_of_another_model_or_other_examples_are_not_taken_for_these(
    whole: Path, pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole / "sst2", tmp_path / "done/sst2")
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            finetune(pretrained, "sst2", out=tmp_path / "begun", data=data, plan=QUICK)
    found = loading.load(pretrained)
    with torch.no_grad():
        found.model.positions.weight[3, 2] += 1
    native.save(found.model, found.tokenizer, tmp_path / "tiny")
    shutil.copytree(data, tmp_path / "data")
    films = tmp_path / "data/SST-2/train.jsonl"
    films.write_text(films.read_text().replace(" good", " fine", 1))
    for folder in ("done", "begun"):
        for model, rows in ((tmp_path / "tiny", data), (pretrained, tmp_path / "data")):
            with pytest.raises(MismatchError, match="another model or other examples"):
                finetune(model, "sst2", out=tmp_path / folder, data=rows, plan=QUICK)
        finetune(pretrained, "sst2", out=tmp_path / folder, data=data, plan=QUICK)


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def test_a_killed_run_goes_on_after_its_last_checkpoint(
    whole: Path, pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise Killed

    for step, seconds in ((7, 0.0), (15, 1000.0), (23, 0.0)):
        with monkeypatch.context() as patch:
            at_step(patch, step, die)
            with pytest.raises(Killed):
                finetune(pretrained, "sst2", out=tmp_path, data=data, plan=replace(QUICK, checkpoint_seconds=seconds))
    finetune(pretrained, "sst2", out=tmp_path, data=data, plan=QUICK)
    assert_same_run(whole, tmp_path)


def test_a_damaged_checkpoint_begins_the_run_anew(
    whole: Path, pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            finetune(pretrained, "sst2", out=tmp_path, data=data, plan=QUICK)
    weights = tmp_path / "sst2/full/seed-1/last/optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5] + b"wrong")
    warned: list[str] = []
    monkeypatch.setattr(fitting.console, "warn", warned.append)
    finetune(pretrained, "sst2", out=tmp_path, data=data, plan=QUICK)
    assert "begun anew" in warned[0]
    assert_same_run(whole, tmp_path)


def test_parts_of_batches_change_nothing_but_rounding(pretrained: Path, data: Path, tmp_path: Path) -> None:
    still = replace(QUICK, epochs=1, peak_rate=1e-3, dropout=0.0, classifier_dropout=0.0)
    for name, plan in (("a", still), ("b", replace(still, micro_batch_tokens=20))):
        finetune(pretrained, "sst2", out=tmp_path / name, data=data, plan=plan)
    a, b = (
        [json.loads(line) for line in (tmp_path / name / "sst2/full/seed-1/log.jsonl").read_text().splitlines()]
        for name in "ab"
    )
    for name in ("task_loss", "language_loss", "gradient_norm"):
        assert [row[name] for row in a[:2]] == pytest.approx([row[name] for row in b[:2]], abs=1e-3)


def test_every_kind_of_task_and_ablation_runs(pretrained: Path, data: Path, tmp_path: Path) -> None:
    plans = ablations(replace(QUICK, epochs=1)) + layer_curve(replace(QUICK, epochs=1), 2)
    found = finetune(pretrained, ["stsb", "race"], out=tmp_path, data=data, plans=plans)
    assert {row.variant for row in found} == {plan.variant for plan in plans}
    assert {row.metric for row in found if row.task == "stsb"} == {"pearson", "spearman"}
    assert {row.split for row in found if row.task == "race"} == {"dev", "test", "high", "train"}
    assert all(-1 <= row.median <= 1 for row in found)
    full, all_layers = (saving.load(tmp_path / "race" / name / "seed-1/best") for name in ("full", "layers-2"))
    assert torch.equal(full.model.output.weight, all_layers.model.output.weight)
    lstm = saving.load(tmp_path / "stsb/lstm/seed-1/best")
    assert lstm.model.network.lstm.hidden_size == 16


def test_regression_learns_scores(pretrained: Path, data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, scores="regression", epochs=6, dropout=0.0, auxiliary=False)
    found = finetune(pretrained, "stsb", out=tmp_path, data=data, plan=plan)
    assert {(row.variant, row.split) for row in found} == {
        ("no-auxiliary", split) for split in ("dev", "test", "train")
    }
    (pearson,) = (row.median for row in found if (row.split, row.metric) == ("dev", "pearson"))
    assert pearson > 0.8


def test_seeds_give_a_median_and_a_spread(pretrained: Path, data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, epochs=1, peak_rate=2e-3)
    finetune(pretrained, "sst2", out=tmp_path, data=data, plan=replace(plan, seeds=2))
    before = (tmp_path / "sst2/full/seed-1/result.json").stat().st_mtime_ns
    (row, *_) = finetune(pretrained, "sst2", out=tmp_path, data=data, plan=replace(plan, seeds=3))
    assert (tmp_path / "sst2/full/seed-1/result.json").stat().st_mtime_ns == before
    assert len(row.by_seed) == 3
    assert sorted(row.by_seed) == [row.lowest, row.median, row.highest]
    assert len(set(row.by_seed)) > 1


def test_what_is_transferred_is_the_pretrained_weights(pretrained: Path) -> None:
    from selftaught.checkpoint import loading
    from selftaught.finetuning import networks

    model = loading.load(pretrained).model
    size = model.shape.vocabulary
    for layers in range(3):
        network = networks.begin(FinetuningPlan(layers_transferred=layers), model, seed=1)
        assert torch.equal(network.tokens.weight[:size], model.tokens.weight)
        assert network.tokens.weight.shape[0] == size + 3
        assert float(network.tokens.weight[size:].detach().std()) == pytest.approx(0.02, rel=0.5)
        for number, block in enumerate(network.blocks):
            same = torch.equal(block.feed.inner.weight, model.blocks[number].feed.inner.weight)
            assert same == (number < layers)
        assert torch.equal(network.norm.weight, model.norm.weight) == (layers == 2)
    scratch = networks.begin(FinetuningPlan(from_scratch=True), model, seed=1)
    assert not torch.equal(scratch.tokens.weight[:size], model.tokens.weight)
    with pytest.raises(UsageError, match="at most 2"):
        networks.begin(FinetuningPlan(layers_transferred=3), model, seed=1)


def test_results_of_another_plan_are_not_taken_for_these(whole: Path, pretrained: Path, data: Path) -> None:
    with pytest.raises(MismatchError, match=r"clip: 1\.0 -> 2\.0"):
        finetune(pretrained, "sst2", out=whole, data=data, plan=replace(QUICK, clip=2.0))
    finetune(pretrained, "sst2", out=whole, data=data, plan=replace(QUICK, log_every=7, micro_batch_tokens=99))


def test_several_processes_are_refused(
    pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes"):
        finetune(pretrained, "sst2", out=tmp_path, data=data, plan=QUICK)


def test_a_loss_that_is_no_number_stops_the_run(pretrained: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SelftaughtError, match=r"diverged at step \d+.*--peak-rate|no numbers.*--peak-rate"):
        finetune(pretrained, "sst2", out=tmp_path, data=data, plan=replace(QUICK, peak_rate=1e30, clip=1e30))


def test_outputs_that_are_no_numbers_are_seen(
    pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fitting.run_all
    monkeypatch.setattr(fitting, "run_all", lambda *arguments: before(*arguments) * float("nan"))
    with pytest.raises(SelftaughtError, match="on dev are no numbers"):
        finetune(pretrained, "sst2", out=tmp_path, data=data, plan=QUICK)


def test_predictions_are_those_that_were_marked(whole: Path, data: Path) -> None:
    model = FinetunedModel.load(whole)
    assert model.labels == ("negative", "positive")
    said = model.predict([" x good", " bad", " x x bad" + " y" * 50])
    assert [one.label for one in said] == [
        "positive",
        "negative",
        "positive" if said[2].label == "positive" else "negative",
    ]
    assert all(sum(one.probabilities) == pytest.approx(1, abs=1e-5) for one in said)
    assert [one.truncated > 0 for one in said] == [False, False, True]
    alone = [model.predict([text])[0].probabilities for text in (" x good", " bad")]
    assert alone == [pytest.approx(one.probabilities, abs=1e-5) for one in said[:2]]
    with pytest.raises(InputError, match="no text"):
        model.predict([" "])


def test_predictions_of_choices_and_scores(pretrained: Path, data: Path, tmp_path: Path) -> None:
    finetune(pretrained, ["stsb", "race"], out=tmp_path, data=data, plan=QUICK)
    with pytest.raises(InputError, match="several kinds"):
        FinetunedModel.load(tmp_path)
    scores = FinetunedModel.load(tmp_path / "stsb").predict([Labelled(id="1", first="aaa", second="b")])
    assert 0 <= scores[0].label <= 5
    choices = FinetunedModel.load(tmp_path / "race")
    asked = [Labelled(id=str(n), first="it is b", second="?", options=("a", "b", "c", "d")[:n]) for n in (2, 4, 3)]
    said = choices.predict(asked)
    assert [len(one.probabilities) for one in said] == [2, 4, 3]
    assert all(one.label == "b" for one in said)
    with pytest.raises(InputError, match="at least two"):
        choices.predict([Labelled(id="1", first="x", options=("a",))])
    with pytest.raises(UsageError, match="choice"):
        choices.predict(["text"])


def run(*words: object) -> int:
    return main([str(word) for word in words])


FLAGS = ["--epochs", "3", "--batch-size", "8", "--peak-rate", "1e-2", "--precision", "float32", "--lstm-units", "8"]


def test_the_verbs(pretrained: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", pretrained, "sst2", "--data", data, "--out", tmp_path / "run", *FLAGS]
    assert run(*command) == 0
    assert "accuracy" in capfd.readouterr().out
    assert run(*command, "--json") == 0
    (row, *_) = json.loads(capfd.readouterr().out)
    assert (row["task"], row["variant"], row["split"]) == ("sst2", "full", "dev")
    assert run(*command, "--ablations") == 0
    capfd.readouterr()
    assert run(*command, "--ablations", "--json") == 0
    out = capfd.readouterr()
    assert {row["variant"] for row in json.loads(out.out)} == {plan.variant for plan in ablations(FinetuningPlan())}
    assert "is finished" in out.err
    assert run(*command, "--clip", "2") == 5
    assert "clip: 1.0 -> 2.0" in capfd.readouterr().err

    full = tmp_path / "run/sst2/full"
    (tmp_path / "films.txt").write_text(" x good\n\n bad\n")
    assert run("predict", full, tmp_path / "films.txt") == 0
    out = capfd.readouterr()
    assert [json.loads(line)["label"] for line in out.out.splitlines()] == ["positive", "negative"]
    assert [json.loads(line)["id"] for line in out.out.splitlines()] == ["films-1", "films-3"]
    assert run("predict", full, data / "SST-2/test.jsonl") == 0
    out = capfd.readouterr()
    assert len(out.out.splitlines()) == 16
    assert "accuracy 1.0000" in out.err
    (tmp_path / "films.csv").write_text("film,sentence\n1, good\n2,\n")
    assert run("predict", full, tmp_path / "films.csv") == 3
    assert "films.csv, line 3" in capfd.readouterr().err
    assert run("predict", tmp_path / "run", tmp_path / "films.txt") == 3
    assert "several kinds" in capfd.readouterr().err
    assert run("predict", pretrained, tmp_path / "films.txt") == 3
    assert "no fine-tuned model" in capfd.readouterr().err


def test_ones_own_task_from_the_command_line(
    pretrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = "".join(
        f"{label},{' x' * (n % 3)} {word}\n" for n in range(24) for label, word in (("ja", "good"), ("nein", "bad"))
    )
    (tmp_path / "a.csv").write_text("answer,words\n" + texts)
    names = ["--train", tmp_path / "a.csv", "--text", "words", "--label", "answer"]
    assert run("finetune", pretrained, "own", *names, "--out", tmp_path / "run", *FLAGS) == 0
    capfd.readouterr()
    (tmp_path / "b.jsonl").write_text('{"words": "x good"}\n')
    assert run("predict", tmp_path / "run", tmp_path / "b.jsonl") == 0
    assert json.loads(capfd.readouterr().out)["label"] in ("ja", "nein")


@pytest.mark.parametrize(
    "wrong",
    [
        (["sst"], 2, "Did you mean sst2"),
        (["cola"], 3, "no training examples of cola"),
        (["own"], 2, "--train"),
        (["sst2", "--epochs", "0"], 2, "--epochs"),
        (["sst2", "--context", "3"], 2, "context"),
        (["sst2", "--from-scratch", "--layers-transferred", "1"], 2, "--from-scratch"),
        (["sst2", "--layers-transferred", "9"], 2, "at most 2"),
    ],
)
def test_what_a_user_may_get_wrong(
    pretrained: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: tuple[list[str], int, str]
) -> None:
    words, code, said = wrong
    assert run("finetune", pretrained, *words, "--data", data, "--out", tmp_path / "run") == code
    assert said in capfd.readouterr().err


def test_a_task_without_its_folder(pretrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("finetune", pretrained, "sst2", "--out", tmp_path / "run") == 2
    assert "--data" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_damaged_model_is_refused(whole: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(whole / "sst2/full/seed-1/best", tmp_path / "best")
    data = bytearray((copy / "output.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "output.safetensors").write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"output\.safetensors"):
        FinetunedModel.load(copy)


def test_an_lstm_is_not_taken_for_a_transformer(pretrained: Path, data: Path, tmp_path: Path) -> None:
    from selftaught.checkpoint import loading

    finetune(pretrained, "sst2", out=tmp_path, data=data, plan=replace(QUICK, epochs=1, network="lstm"))
    with pytest.raises((DamagedFileError, InputError, MismatchError)):
        loading.load(tmp_path / "sst2/lstm/seed-1/best")


def test_the_average_is_over_glues_tasks_by_the_papers_measures() -> None:
    def row(task: str, metric: str, value: float, variant: str = "full") -> FineTuned:
        empty = dict.fromkeys(("lowest", "highest", "error", "seconds"), 0.0)
        return FineTuned(
            model="m", parameters=1, task=task, variant=variant, split="dev", metric=metric, median=value,
            by_seed=(value,), n=1, protocol="", **empty,
        )  # fmt: skip

    rows_ = [
        row("sst2", "accuracy", 0.9),
        row("mrpc", "f1", 0.7),
        row("mrpc", "accuracy", 0.1),
        row("race", "accuracy", 0),
    ]
    assert average([*rows_, row("rte", "accuracy", 0.5, "lstm")]) == {"full": (pytest.approx(0.8), 2), "lstm": (0.5, 1)}


WAITS = """
import sys, time
from selftaught.cli.main import main
from selftaught.finetuning import fitting
step = fitting.Fitting._step
def step_or_wait(self):
    while self.progress.step >= 40 and (self.out / fitting.LAST).is_dir():
        time.sleep(0.01)
    step(self)
fitting.Fitting._step = step_or_wait
sys.exit(main(sys.argv[1:]))
"""
"""The command, which waits to be killed once there is something to go on from."""


@pytest.mark.slow
def test_the_command_survives_kill_9(pretrained: Path, data: Path, tmp_path: Path) -> None:
    flags = [*FLAGS, "--epochs", "12", "--checkpoint-seconds", "0.02"]

    def command(out: Path) -> list[str]:
        return ["finetune", str(pretrained), "sst2", "--data", str(data), "--out", str(out), *flags]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", "selftaught"]
    subprocess.run([*whole, *command(tmp_path / "a")], check=True, stdout=subprocess.DEVNULL, env=environment)
    killed = [sys.executable, "-c", WAITS, *command(tmp_path / "b")]
    process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, env=environment)
    while not (tmp_path / "b/sst2/full/seed-1/last").is_dir():
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*whole, *command(tmp_path / "b")], check=True, stdout=subprocess.DEVNULL, env=environment)
    assert_same_run(tmp_path / "a", tmp_path / "b")
