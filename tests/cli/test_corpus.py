"""`selftaught corpus`: words with files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.cli.main import main
from selftaught.corpus.documents import read_rows
from selftaught.corpus.links import Link


def links(*words: object) -> int:
    return main(["corpus", "links", *map(str, words)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("url,score\nhttp://a.org/1,5\nhttp://b.org/2,5\n", encoding="utf-8")
    return path


def test_a_block_list_is_read_and_known_again(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block, out = tmp_path / "block.txt", tmp_path / "links"
    block.write_text("a.org\n", encoding="utf-8")
    assert links(table, "--block", block, "--out", out) == 0
    assert [row.url for row in read_rows(out / "links.jsonl.zst", Link)] == ["http://b.org/2"]
    assert links(table, "--out", tmp_path / "again", "--plan", out / "plan.json") == 0
    assert [row.url for row in read_rows(tmp_path / "again" / "links.jsonl.zst", Link)] == ["http://b.org/2"]
    capsys.readouterr()
    block.write_text("b.org\n", encoding="utf-8")
    assert links(table, "--block", block, "--out", out) == 5
    assert "another plan" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["links", "local", "extract"])
def test_no_files_at_all_is_a_mistake_of_usage(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", word, "--out", str(tmp_path / "x")]) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("words", [["links"], ["build", "--submissions"]])
def test_a_folder_of_dumps_is_refused_before_it_is_read(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dumps").mkdir()
    assert main(["corpus", *words, str(tmp_path / "dumps"), "--out", str(tmp_path / "x")]) == 3
    assert "is a folder; expected files" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_row_that_is_no_document_is_named_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n\n{"id": 1}\n', encoding="utf-8")
    assert main(["corpus", "clean", str(path), "--out", str(tmp_path / "x")]) == 6
    assert "rows.jsonl:3 cannot be read; expected JSON of a Document" in capsys.readouterr().err
