"""What a user may get wrong: one clear line, the documented exit code, and the next thing to type."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selftaught.cli.main import main


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path, **named: bytes) -> Path:
    folder.mkdir()
    for name, data in named.items():
        (folder / f"{name}.txt").write_bytes(data)
    return folder


def complaint(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    capfd.readouterr()
    code = main([str(word) for word in words])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("selftaught: ")]
    assert len(lines) == 1, lines
    return code, lines[0]


def test_text_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, contents, words in (
        ("no_files", {}, "no text in"),
        ("empty_file", {"a": b""}, "dropped: 1 empty"),
        ("binary", {"a": b"MZ\0\1"}, "dropped: 1 binary"),
        ("not_utf8", {"a": b"caf\xe9"}, "dropped: 1 short"),
    ):
        text = files(tmp_path / name, **contents)
        code, line = complaint(capfd, "demo", "--text", text, "--out", tmp_path / f"{name}-run")
        assert (code, words in line) == (3, True), line
    code, line = complaint(capfd, "corpus", "local", tmp_path / "nowhere", "--out", tmp_path / "x")
    assert (code, "o such file" in line) == (3, True), line


def test_one_endless_line_becomes_documents_and_equal_ones_are_dropped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = files(tmp_path / "line", a=b"a" * 1_000_000)
    code, line = complaint(capfd, "corpus", "local", text, "--longest-document", 10_000, "--out", tmp_path / "x")
    assert (code, "exact duplicate" in line) == (3, True), line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files(tmp_path / "closed", a=b"text").chmod(0)
    code, line = complaint(capfd, "corpus", "local", tmp_path / "closed", "--out", tmp_path / "x")
    assert (code, "Permission denied" in line) == (3, True), line


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["demo", "--minutes", "0"], 2, "more than 0"),
        (["demmo"], 2, "Did you mean demo?"),
        (["train", "laptp", "--tokens", "x", "--out", "o"], 2, "Did you mean laptop?"),
        (["train", "--tokens", "nowhere", "--out", "o"], 3, "nowhere"),
        (["tokenizer", "lern"], 2, "Did you mean learn?"),
        (["tokenizer", "learn", "nowhere", "--out", "o"], 3, "nowhere"),
        (["pack", "nowhere", "--tokenizer", "nowhere", "--out", "o"], 3, "nowhere"),
        (["evaluate", "nowhere", "--corpus", "nowhere", "--out", "o"], 3, "nowhere"),
        (["overlap", "nowhere", "--out", "o"], 3, "nowhere"),
        (["corpus", "build", "--out", "o"], 2, "--standard-library"),
    ],
)
def test_wrong_words(
    words: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    found, line = complaint(capfd, *words)
    assert (found, said in line) == (code, True), line
    assert not list(empty_folder.glob("**/*.jsonl*"))


def test_output_folders_that_cannot_be_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = files(tmp_path / "text", a=b"some text " * 100)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for out in (tmp_path / "file", text):
        code, line = complaint(capfd, "corpus", "local", text, "--out", out)
        assert code == 4, line
    assert sorted(path.name for path in text.iterdir()) == ["a.txt"]


def test_words_that_are_left_out(empty_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert complaint(capfd, "finetune", "model", "--out", "out") == (
        2,
        "selftaught: no task is named. Type: selftaught finetune MODEL sst2 --data DATA --out DIR",
    )
    assert not (empty_folder / "out").exists()
    assert complaint(capfd, "tokenizer", "show", "--tokenizer", "none")[0] == 2
