"""The same tasks for every kept checkpoint of a run, and what the page makes of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.cli.main import main
from selftaught.errors import DamagedFileError, InputError
from selftaught.evaluation.along import evaluate_along
from selftaught.evaluation.running import evaluate
from selftaught.report import along
from selftaught.report.page import write_report
from selftaught.report.records import ALONG_FILE, LearningPoint, Score, StepScore
from tests.evaluation.test_classification import model
from tests.evaluation.test_heuristics import SENTENCES

STEPS = (5, 10, 100)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training run of three checkpoints, each another network."""
    folder = tmp_path / "runs" / "small"
    for step in STEPS:
        lm = model(seed=step)
        native.save(lm.model, lm.tokenizer, folder / f"step-{step:06}")
    row = LearningPoint(
        step=100, tokens=6400, loss=3.0, rate=0.1, gradient_norm=1.0, tokens_per_second=1.0, seconds=1.0
    )
    storage.append_line(folder / "log.jsonl", msgspec.json.encode(row))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"sentence": text, "label": number % 2} for number, text in enumerate(SENTENCES)]
    storage.write_jsonl(tmp_path / "data/SST-2/dev.jsonl", rows)
    return tmp_path / "data"


def test_each_checkpoint_gives_what_it_gives_alone(run: Path, data: Path, tmp_path: Path) -> None:
    found = evaluate_along(run, "sst2", data=data, out=tmp_path / "out")
    assert [(one.step, one.tokens) for one in found] == [(5, 320), (10, 640), (100, 6400)]
    for step, one in zip(STEPS, found, strict=True):
        (alone,) = evaluate(run / f"step-{step:06}", "sst2", data=data, out=tmp_path / f"alone-{step}")
        assert (one.score.value, one.score.model, one.score.n) == (alone.value, "small", 6)
        kept = storage.read_lines(tmp_path / f"out/step-{step:06}/answers-sst2.jsonl", dict)
        assert kept == storage.read_lines(tmp_path / f"alone-{step}/answers-sst2.jsonl", dict)
    assert storage.read_json(tmp_path / "out" / ALONG_FILE, list[StepScore]) == found
    assert storage.read_json(tmp_path / "out/results.json", list[Score]) == [found[-1].score]


def test_a_damaged_checkpoint_is_left_out(run: Path, data: Path, tmp_path: Path) -> None:
    storage.write_text(run / "step-000010/model.safetensors", "no")
    found = evaluate_along(run, "sst2", data=data, out=tmp_path / "out")
    assert [one.step for one in found] == [5, 100]
    for step in STEPS:
        storage.write_text(run / f"step-{step:06}/model.safetensors", "no")
    with pytest.raises(DamagedFileError):
        evaluate_along(run, "sst2", data=data, out=tmp_path / "other")
    with pytest.raises(InputError, match="no checkpoints"):
        evaluate_along(tmp_path / "nowhere", "sst2", data=data, out=tmp_path / "other")


def test_the_verb_and_the_page(run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "scores"
    words = ["evaluate", str(run), "sst2", "--along", "--data", str(data), "--out", str(out)]
    assert main(words) == 0
    assert capfd.readouterr().out.count("sst2 accuracy") == 3
    assert main(words) == 0
    assert "is finished" in capfd.readouterr().out
    page = write_report(tmp_path / "runs").read_text(encoding="utf-8")
    assert "Untaught tasks along pre-training" in page
    assert "sparse byte mLSTM" in page
    assert main([*words[:1], str(tmp_path / "none"), *words[2:-1], str(tmp_path / "x")]) == 3
    assert "no checkpoints" in capfd.readouterr().err


def scored(step: int, value: float, task: str = "sst2", metric: str = "accuracy") -> StepScore:
    score = Score(
        model="small", parameters=1, task=task, protocol="", metric=metric, value=value, error=0.1, n=9, seconds=1.0
    )
    return StepScore(step=step, tokens=0, score=score)


def test_scores_lie_between_guessing_and_the_best_of_others() -> None:
    found = [scored(20, 0.932), scored(10, 0.5), scored(30, 0.716), scored(10, 3.0, "heldout", "bits_per_byte")]
    sst2, heldout = along.lines(found)
    assert [sst2.normalised(one.score.value) for one in sst2.points] == pytest.approx([0, 1, 0.5])
    assert (sst2.best.step, heldout.scale, heldout.normalised(1.0)) == (20, None, None)
    together, alone = along.all_figures(found)
    assert [point.y for point in together.series[0].points] == pytest.approx([0, 1, 0.5])
    assert (alone.x_label, [point.x for point in alone.series[0].points]) == ("steps", [10, 20, 30])
    assert together.note == f"standard errors at the end: SST-2, zero-shot {0.1 / 0.432:.2f}"
    assert along.all_figures(found[:1]) == []
    fewer = [scored(1, 3.0, "heldout", "bits_per_byte"), scored(2, 2.0, "heldout", "bits_per_byte")]
    assert along.lines(fewer)[0].best.step == 2
