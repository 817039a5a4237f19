"""What bfloat16 changes of each score is what two evaluations apart say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli import evaluate as cli
from selftaught.errors import UsageError
from selftaught.evaluation.protocols import EvaluateSettings
from selftaught.evaluation.running import evaluate
from selftaught.report.records import Score
from selftaught.tasks import modelling, questions

FASTER = EvaluateSettings(precision="bfloat16", stride=16, question_tokens=4, example_questions=1, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    lines = [f" Anna sold {number} kettles to the white cat . " for number in range(12)]
    storage.write_text(folder / modelling.WIKITEXT2_FILE, "\n".join(lines) + "\n")
    rows = [{"question": f"who is number {number}", "answer": ["Ann"]} for number in range(9)]
    storage.write_jsonl(folder / questions.NQ_FILE, rows)
    return folder


@pytest.mark.parametrize("sample", [0, 5])
def test_the_difference_is_that_of_two_evaluations(model: Path, data: Path, tmp_path: Path, sample: int) -> None:
    tasks = ("wikitext2", "nq")
    rules = replace(FASTER, float32_questions=sample)
    found = evaluate(model, tasks, data=data, out=tmp_path / "o", settings=rules)
    apart = [
        evaluate(model, tasks, data=data, out=tmp_path / name, settings=replace(rules, precision=name, limit=sample))
        for name in ("bfloat16", "float32")
    ]
    for score, less, exact in zip(found, *apart, strict=True):
        assert score.float32_difference == less.value - exact.value
        assert math.isclose(less.value, exact.value, rel_tol=0.05, abs_tol=0.05)
        assert score.float32_n == exact.n
        assert exact.float32_difference is None
        if not sample:
            assert score.value == less.value
    assert any(score.float32_difference for score in found)
    for folder in ("float32", *(["bfloat16"] if sample else [])):
        lines = (tmp_path / "o" / folder / "answers-nq.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == (sample or 8)
    assert not list((tmp_path / "o").rglob("*.unfinished.jsonl"))


def test_the_verb_shows_it(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(model), "wikitext2", "--data", str(data), "--out", str(tmp_path / "o"), "--device", "cpu"]
    cli.run([*words, "--precision", "bfloat16", "--float32-questions", "3"])
    scores = storage.read_json(tmp_path / "o" / "results.json", list[Score])
    assert [score.float32_n for score in scores] == [30, 30]
    shown = "".join(capsys.readouterr().out.split())
    assert "lessfloat32" in shown
    assert "(30)" in shown
    with pytest.raises(UsageError, match="--float32-questions"):
        EvaluateSettings(float32_questions=-1)
