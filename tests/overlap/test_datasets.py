"""Table 6 on small data sets of the right form: names, own training text, examples, the paper's values beside ours."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli.main import main
from selftaught.corpus import documents
from selftaught.corpus.documents import Document
from selftaught.errors import InputError
from selftaught.overlap import datasets
from selftaught.overlap.measuring import measure_overlap
from selftaught.overlap.plan import OverlapSettings
from selftaught.report.overlap_records import ExampleOverlap
from selftaught.report.overlapping import table_6
from selftaught.tasks import passages, winograd
from tests.reference.ngrams import ngrams


def prose(seed: int, count: int = 30) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(count))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for split, seeds in {"train": range(10), "heldout": range(10, 12)}.items():
        rows = [Document(id=f"{split}-{seed}", text=prose(seed)) for seed in seeds]
        storage.write_jsonl(documents.split_file(tmp_path / "corpus", split), rows)
    return tmp_path / "corpus"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    lines = {
        "wikitext2/wiki.test.tokens": [" = Title = ", " ", f" {prose(3)} @-@ {prose(50)} . ", f" {prose(51)} "],
        "wikitext2/wiki.train.tokens": [f" {prose(51)} . ", f" {prose(52)} "],
        "wikitext103/wiki.test.tokens": [f" {prose(60)} "],
        "wikitext103/wiki.valid.tokens": [f" {prose(60)} "],
        "lambada/lambada_test.jsonl": [json.dumps({"text": prose(seed)}) for seed in (4, 70)],
        "mine/test.jsonl": [json.dumps({"label": 1, "texts": [prose(80), prose(5)]})],
        "mine/train.jsonl": [json.dumps({"label": 1, "texts": [prose(80)]})],
    }
    for name, rows in lines.items():
        storage.write_text(folder / name, "\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("exact", [False, True])
def test_shares_are_those_of_counting_strings(corpus: Path, data: Path, tmp_path: Path, exact: bool) -> None:
    rows = measure_overlap(corpus, data=data, out=tmp_path / "o", settings=OverlapSettings(exact=exact))
    found = {(row.name, row.against): row for row in rows}
    assert set(found) == {
        ("heldout", "train"),
        ("wikitext2", "train"),
        ("wikitext2", "own train"),
        ("wikitext103", "train"),
        ("wikitext103", "own validation"),
        ("lambada", "train"),
        ("mine", "train"),
        ("mine", "own train"),
    }
    known = {gram for row in documents.read(corpus) for gram in ngrams(row.text, 8)}
    asked = ngrams(f"title {prose(3)} {prose(50)} {prose(51)}", 8)
    assert (found["wikitext2", "train"].ngrams, found["wikitext2", "train"].hits) == (len(asked), 23)
    assert sum(gram in known for gram in asked) == 23
    own = set(ngrams(f"{prose(51)} {prose(52)}", 8))
    assert found["wikitext2", "own train"].hits == sum(gram in own for gram in asked) == 23
    assert found["wikitext103", "own validation"].share == 1.0
    assert found["lambada", "train"].by_document == [1.0, 0.0]
    assert found["mine", "own train"].hits == found["mine", "train"].hits == 23


def test_examples_have_the_names_that_evaluation_gives_them(corpus: Path, data: Path, tmp_path: Path) -> None:
    measure_overlap(corpus, data=data, out=tmp_path / "o")
    rows = storage.read_lines(tmp_path / "o" / "examples-lambada.jsonl", ExampleOverlap)
    assert [row.example for row in rows] == [one.id for one in passages.read_lambada(data)]
    assert [(row.ngrams, row.in_corpus, row.in_own) for row in rows] == [(23, 23, None), (23, 0, None)]
    lines = storage.read_lines(tmp_path / "o" / "examples-wikitext2.jsonl", ExampleOverlap)
    assert [row.example for row in lines] == ["wikitext2-1", "wikitext2-3", "wikitext2-4"]
    assert [row.in_own for row in lines] == [0, 0, 23]


def test_the_table_sets_ours_beside_the_papers(corpus: Path, data: Path, tmp_path: Path) -> None:
    lines = table_6(measure_overlap(corpus, data=data, out=tmp_path / "o"))
    assert [line.cells[0] for line in lines] == ["WikiText-2", "WikiText-103", "mean"]
    assert lines[0].cells[2:] == ("27.38 %", "1.63 %", "27.38 %", "0.66 %")
    assert lines[1].cells[4:] == ("100.00 % (validation)", "9.09 %")
    assert table_6([]) == []


def test_enwik8_is_cut_where_its_test_set_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = prose(1, 400).encode()
    (tmp_path / "enwik8").mkdir()
    (tmp_path / "enwik8" / "enwik8").write_bytes(text)
    (part,) = datasets.find(tmp_path)
    assert part.own is None
    assert "".join(found for _, found in part.test()).encode() == text
    monkeypatch.setattr(datasets.modelling, "ENWIK8_BYTES", len(text))
    monkeypatch.setattr(datasets.modelling, "ENWIK8_TEST_BYTES", 500)
    monkeypatch.setattr(datasets, "_TRAIN_BYTES", 1500)
    monkeypatch.setattr(datasets, "_READ_BYTES", 64)
    (whole,) = datasets.find(tmp_path)
    assert whole.own is not None
    assert "".join(found for _, found in whole.test()).encode() == text[-500:]
    assert "".join(whole.own()).encode() == text[:1500]


def test_schemas_are_looked_up_with_their_pronouns(shared_data: Path) -> None:
    found = {one.name: one for one in datasets.find(shared_data / "zeroshot")}
    examples = list(found["winograd"].test())
    assert len(examples) == 273
    assert examples[0][1].startswith("The city councilmen refused the demonstrators a permit because they")
    choices = winograd.read_schemas(shared_data / "zeroshot" / winograd.WSC273_FILE, "partial")
    assert [one.id.partition("/")[0] for one in choices] == [name for name, _ in examples]
    assert {"lambada", "wikitext2", "wikitext103", "1bw", "enwik8", "cbt", "coqa", "cnndm", "nq"} <= set(found)


OFFICIAL = {
    "coqa/coqa-dev-v1.0.json": json.dumps(
        {
            "data": [
                {
                    "id": "s1",
                    "source": "mctest",
                    "story": "A cat sat.",
                    "questions": [{"input_text": "Who?"}],
                    "answers": [{"input_text": "a cat"}],
                }
            ]
        }
    ),
    "wmt14_en_fr/newstest2014-fren-src.en.sgm": '<seg id="1">A cat &amp; a dog.</seg>\n<seg id="2">Two.</seg>',
    "wmt14_en_fr/newstest2014-fren-ref.fr.sgm": '<seg id="1">Un chat et un chien.</seg>\n<seg id="2">Deux.</seg>',
    "winograd/WSCollection.xml": (
        "<collection><schema><text><txt1>The cat saw the dog because</txt1><pron>it</pron><txt2>was awake.</txt2></text>"
        "<answers><answer>The cat</answer><answer>The dog</answer></answers><correctAnswer>A</correctAnswer></schema>"
        "</collection>"
    ),
    "winograd/PDP60.txt": "Ann saw Eve when [MASK] woke .\n[MASK]\nAnn,Eve\nAnn\n",
}
"""Data sets as their authors hand them on."""


def test_the_authors_own_files_are_read_too(corpus: Path, tmp_path: Path) -> None:
    for name, text in OFFICIAL.items():
        storage.write_text(tmp_path / "data" / name, text)
    found = {one.name: list(one.test()) for one in datasets.find(tmp_path / "data")}
    assert found == {
        "coqa": [("s1", "A cat sat.")],
        "wmt14-en": [("newstest2014-1", "A cat & a dog."), ("newstest2014-2", "Two.")],
        "wmt14-fr": [("newstest2014-1", "Un chat et un chien."), ("newstest2014-2", "Deux.")],
        "winograd": [("WSCollection-1", "The cat saw the dog because it was awake.")],
        "pdp60": [("PDP60-1", "Ann saw Eve when Ann woke .")],
    }
    rows = measure_overlap(corpus, data=tmp_path / "data", out=tmp_path / "o", settings=OverlapSettings())
    assert {row.name for row in rows} == {*found, "heldout"}


def test_a_folder_without_data_sets_is_refused(corpus: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="no data set in"):
            datasets.find(folder)


def test_the_verb_prints_the_table(
    corpus: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["overlap", str(corpus), "--data", str(data), "--out", str(tmp_path / "o")]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "GPT-2 paper, table 6" in shown
    assert "WikiText-103" in shown
    assert main([*argv, "--json"]) == 0
    assert "own train" in capsys.readouterr().out
