"""`selftaught classify` from the command line: rows, numbers, pipes and complaints."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.checkpoint import native
from selftaught.cli import classify
from selftaught.cli.main import main
from selftaught.errors import INTERRUPTED
from selftaught.evaluation.classification import Classified, Classifier
from selftaught.evaluation.labelling import Scored
from selftaught.finetuning.plan import FinetuningPlan
from selftaught.finetuning.predicting import FinetunedModel
from selftaught.finetuning.running import finetune
from selftaught.report.page import write_report
from selftaught.report.records import Score
from selftaught.tasks.labelled import Labelled
from tests.evaluation.test_classification import model as tiny

ROWS = [
    {"sentence": "Anna painted", "label": 1},
    {"sentence": " ", "label": 0},
    {"sentence": "money " * 99, "label": 0},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lm = tiny()
    native.save(lm.model, lm.tokenizer, folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    storage.write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return tmp_path / "rows.jsonl"


COLUMNS = ("--labels", "0=sports,1=money", "--text-column", "sentence", "--label-column", "label")


def told(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capfd.readouterr()
    code = main(["classify", *map(str, words)])
    return code, *capfd.readouterr()


def test_rows_go_out_and_words_for_people_beside(model: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capfd, model, data, *COLUMNS)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["line"], row["expected"], row["cut"]) for row in rows] == [
        (1, "1", False),
        (2, "0", False),
        (3, "0", True),
    ]
    assert rows[1]["label"] is None
    assert rows[0]["label"] == max(rows[0]["scores"], key=rows[0]["scores"].get)
    assert "3 texts; 1 empty, which have no label and do not count; 1 cut" in err
    assert "accuracy" in err
    code, out, _ = told(capfd, model, data, *COLUMNS, "--json")
    assert json.loads(out) == rows


def test_a_folder_keeps_rows_and_scores(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert told(capfd, model, data, *COLUMNS, "--out", out)[0] == 0
    scores = storage.read_json(out / "results.json", list[Score])
    assert [(score.task, score.metric, score.n) for score in scores] == [
        ("rows", "accuracy", 2),
        ("rows", "f1_macro", 2),
    ]
    assert (scores[0].baseline, scores[0].baseline_words) == (0.5, "always 0")
    kept = storage.read_lines(out / "classified.jsonl", dict)
    right = [row["label"] == row["expected"] for row in kept if row["label"] is not None]
    assert scores[0].value == sum(right) / 2
    assert "is finished" in told(capfd, model, data, *COLUMNS, "--out", out)[1]
    assert told(capfd, model, data, *COLUMNS, "--calibrate", "--out", out)[0] == 5
    assert told(capfd, model, data, *COLUMNS, "--calibrate", "--out", tmp_path / "other")[0] == 0
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count("<td>rows</td>") == 4  # two numbers of each run, and neither stands for a task of the demo
    assert storage.read_json(tmp_path / "results.json", list[Score]) == []


def test_a_killed_run_goes_on_with_the_rows_it_has(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "BLOCK", 4)
    data = tmp_path / "many.jsonl"
    storage.write_jsonl(data, ({"sentence": "a b" * (n % 5), "label": n % 2} for n in range(30)))
    assert told(capfd, model, data, *COLUMNS, "--out", tmp_path / "whole")[0] == 0
    before, asked = Classifier._chosen, []

    def chosen(self: Classifier, text: str, scored: Scored) -> Classified:
        asked.append(text)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return before(self, text, scored)

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "_chosen", chosen)
        assert told(capfd, model, data, *COLUMNS, "--out", tmp_path / "parts")[0] == INTERRUPTED
        kept = tmp_path / "parts" / "classified.unfinished.jsonl"
        assert len(kept.read_text().splitlines()) == 16
        with open(kept, "a") as stream:
            stream.write('{"line": 17, "text": "cut sh')  # as a kill leaves it
        asked[:] = ["another count"] * 15
        assert told(capfd, model, data, *COLUMNS, "--out", tmp_path / "parts")[0] == 0
        assert len(asked) - 15 == 12  # of the last 14 texts, without the empty ones
    assert not kept.exists()
    rows = [(tmp_path / name / "classified.jsonl").read_bytes() for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    numbers = [storage.read_json(tmp_path / name / "results.json", list[Score]) for name in ("whole", "parts")]
    assert [(one.metric, one.value, one.n) for one in numbers[0]] == [
        (one.metric, one.value, one.n) for one in numbers[1]
    ]


def test_lines_from_a_pipe(model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def piped(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    piped(b"Anna\n\nmoney and {label}\n")
    code, out, err = told(capfd, model, "-", "--labels", "sports,money", "--template", r"{text}\nAbout {}")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, [row["label"] is None for row in rows]) == (0, [False, True, False])
    assert "accuracy" not in err
    piped(b"\xff\n")
    code, _, err = told(capfd, model, "-", "--labels", "sports,money")
    assert (code, "standard input, line 1" in err) == (3, True)


def test_one_class_only_is_pointed_out(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("text,label\nAnna,a\nPeter,a\nmoney,\n")
    code, _, err = told(capfd, model, tmp_path / "x.csv", "--labels", "a,b", "--label-column", "label")
    assert (code, "all labelled texts are of the class a" in err) == (0, True)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ((), (2, "--labels a,b,c")),
        (("--labels", "a"), (2, "at least two labels")),
        (("--labels", "a,a"), (2, "given twice")),
        (("--labels", "0,1"), (2, "has no column text; expected one of sentence, label")),
        (("--labels", "0,2", *COLUMNS[2:]), (3, "line 1 cannot be used; expected one of the labels 0, 2; got 1")),
        (("--labels", "0,1", "--template", "{label}"), (2, "this template cannot be filled in")),
        (("--labels", "0,1", "--format", "csv"), (3, "line")),
    ],
)
def test_complaints(
    model: Path, data: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], answer: tuple[int, str]
) -> None:
    found, _, err = told(capfd, model, data, *words)
    assert (found, answer[1] in err.replace("\n", " ")) == (answer[0], True), err


def test_files_that_are_not_there(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capfd, model, tmp_path / "none.txt", "--labels", "a,b")
    assert (code, "none.txt" in err) == (3, True)
    code, _, err = told(capfd, model, "-", "--labels", "a,b", "--out", tmp_path / "o")
    assert (code, "cannot be kept" in err) == (2, True)


def test_entailment_by_a_fine_tuned_model(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pairs = [("Anna painted the garden", "Anna painted", "entailment"), ("Peter", "money", "not_entailment")] * 4
    rows = [{"sentence1": one, "sentence2": other, "label": label} for one, other, label in pairs]
    for split in ("train", "dev"):
        storage.write_jsonl(tmp_path / f"data/RTE/{split}.jsonl", rows)
    out = tmp_path / "rte"
    finetune(model, "rte", out=out, data=tmp_path / "data", plan=FinetuningPlan(epochs=1, batch_size=4, seeds=1))
    code, written, err = told(capfd, out, data, *COLUMNS, "--method", "entailment")
    assert code == 0
    assert "entailment; template 'This text is about {label}.'" in err
    tuned = FinetunedModel.load(out)
    place = tuned.labels.index("entailment")
    for row in map(json.loads, written.splitlines()):
        for name, word in (("0", "sports"), ("1", "money")):
            if row["label"] is not None:
                asked = Labelled(id="1", first=row["text"], second=f"This text is about {word}.")
                (slow,) = tuned.predict([asked])
                assert row["scores"][name] == pytest.approx(math.log(slow.probabilities[place]), abs=1e-4)
                assert row["cut"] or not slow.truncated
    code, _, err = told(capfd, model, data, *COLUMNS, "--method", "entailment")
    assert (code, "no fine-tuned model" in err) == (3, True)
