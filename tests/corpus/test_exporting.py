"""A corpus as files for others, with its card."""

from __future__ import annotations

import dataclasses
import random
from datetime import date
from pathlib import Path

import pytest

from selftaught import storage
from selftaught.cli import corpus as verb
from selftaught.corpus import documents
from selftaught.corpus.documents import Document, Funnel
from selftaught.corpus.exporting import ExportSettings, export_corpus
from selftaught.corpus.finishing import FinishingSettings, finish


def prose(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghij", k=draw.randint(2, 7))) for _ in range(120))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        Document(
            id=f"d{number}",
            url=f"http://news{number % 3}.site{number % 5}.co.uk/{number}",
            text=prose(number),
            source="r|pipe",
            karma=3 + number,
            date=f"20{10 + number % 4}-01-01" if number % 5 else "",
        )
        for number in range(40)
    ]
    finish([*rows, Document(id="short", text="short")], tmp_path / "corpus", Funnel(), FinishingSettings(heldout=0.3))
    return tmp_path / "corpus"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_datasets_loads_what_is_exported(
    corpus: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    verb.run(["export", str(corpus), "--format", kind, "--documents-per-file", "9", "--out", str(tmp_path / "out")])
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for split in documents.SPLITS:
        wanted = list(documents.read(corpus, split))
        assert {name: kind.dtype for name, kind in loaded[split].features.items()} == {
            field.name: {"karma": "int64", "date": "date32"}.get(field.name, "string")
            for field in dataclasses.fields(Document)
        }
        assert list(loaded[split]) == [{**dataclasses.asdict(row), "date": row.day} for row in wanted]
    assert {row["date"] for row in loaded["train"]} >= {None, date(2010, 1, 1)}


def test_all_documents_are_there_in_order_and_the_card_says_what_they_are(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = export_corpus(corpus, out, ExportSettings(format="jsonl", documents_per_file=9, name="Kettles"))
    for split in documents.SPLITS:
        parts = [file for file in files if file.name.startswith(split)]
        assert len(parts) == -(-documents.count(corpus, split) // 9)
        found = [row for part in parts for row in documents.read_rows(part, Document)]
        assert found == list(documents.read(corpus, split))
    card = storage.read_bytes(out / "README.md").decode()
    assert card.startswith("---\nlicense: unknown\n")
    assert "    path: data/train-*.jsonl.gz" in card
    for line in (
        "# Kettles",
        "40 documents, ",
        "| clean | short | 1 |",
        "| site1.co.uk | 8 | 20.0% |",
        "| 2011 | 8 | 20.0% |",
        "| r\\|pipe | 40 | 100.0% |",
        "| 40 | 6 | 12 | 22 | 32 | 38 |",
        "Unknown. Each text belongs to whoever wrote it",
    ):
        assert line in card, line


def test_parquet_files_hold_the_same(corpus: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `corpus`")
    files = export_corpus(corpus, tmp_path / "out", ExportSettings(documents_per_file=100))
    rows = [row for file in files if file.name.startswith("train") for row in parquet.read_table(file).to_pylist()]
    assert rows == [{**dataclasses.asdict(row), "date": row.day} for row in documents.read(corpus)]


@pytest.mark.parametrize(
    ("written", "day"),
    [
        *(("2015-02-03", "2015-02-03"), ("2015-02-03T10:11:12Z", "2015-02-03"), ("2015", ""), ("2015-02-30", "")),
        *(("", ""), ("20150203", ""), ("3 Feb 2015", "")),
    ],
)
def test_the_day_of_a_date(written: str, day: str) -> None:
    found = Document(id="1", text="", date=written).day
    assert (found.isoformat() if found else "") == day
