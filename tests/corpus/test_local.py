"""Folders of text, good and bad."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from selftaught.corpus import local
from selftaught.corpus.documents import Document, Funnel
from selftaught.errors import InputError


def read(*paths: Path) -> tuple[list[Document], dict[str, int]]:
    funnel = Funnel()
    rows = list(local.read_documents(local.find_files(paths), funnel))
    return rows, {reason: count for (_, reason), count in funnel.counts.items() if reason not in ("", "kept")}


def test_reads_every_kind_below_a_folder_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.md").write_text("# A note", encoding="utf-8")
    (tmp_path / "a.txt").write_text("plain", encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "row", "url": "http://x.org/"}).encode()))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    rows, drops = read(tmp_path)
    assert [(row.id, row.text, row.url) for row in rows] == [
        ("a.txt", "plain", "a.txt"),
        ("c.jsonl.gz#1", "row", "http://x.org/"),
        ("b/note.md", "# A note", "b/note.md"),
    ]
    assert drops == {}


def test_names_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.txt").write_text("text", encoding="utf-8")
    assert read(tmp_path / "one")[0] == read(tmp_path / "two")[0]


def test_bad_files_and_rows_are_dropped_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"MZ\x00\x01\x02")
    (tmp_path / "empty.txt").write_bytes(b"  \n")
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "good"}\n{"no": 1}\nnot json\n{"text": 5}\n\n[1]\n')
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    rows, drops = read(tmp_path)
    assert [row.text for row in rows] == ["caf\ufffd", "good"]
    assert drops == {"binary": 1, "empty": 1, "no text": 3, "not JSON": 1}


def test_a_long_text_is_cut_where_it_can_be_and_nothing_is_lost(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 200 for number in range(300))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    rows, _ = read(tmp_path / "book.txt")
    assert len(rows) > 2
    assert "".join(row.text for row in rows) == text
    assert all(len(row.text) <= local.LONGEST_DOCUMENT for row in rows)
    assert all(row.text.endswith("\n\n") for row in rows[:-1])
    assert len({row.url for row in rows}) == len(rows)


def test_one_endless_line_is_read_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST_DOCUMENT", 1000)
    monkeypatch.setattr(local, "_READ_BYTES", 512)
    (tmp_path / "line.txt").write_text("é" * 50_001, encoding="utf-8")
    rows, _ = read(tmp_path)
    assert "".join(row.text for row in rows) == "é" * 50_001
    assert max(len(row.text) for row in rows) == 1000


def test_a_row_that_is_too_long_is_dropped_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LONGEST_ROW_BYTES", 1000)
    long = json.dumps({"text": "x" * 5000})
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "before"}}\n{long}\n{{"text": "after"}}\n', encoding="utf-8")
    rows, drops = read(tmp_path)
    assert [row.text for row in rows] == ["before", "after"]
    assert drops == {"row too long": 1}


def test_nothing_to_read_is_an_error_that_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text in .*expected files ending in \.txt") as problem:
        read(tmp_path)
    assert problem.value.exit_code == 3
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)
