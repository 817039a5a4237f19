"""Console: what goes to which stream."""

from __future__ import annotations

import json

import pytest

from selftaught import console
from selftaught.errors import InputError


def test_json_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json=True)
    console.line("words for a person")
    console.table(["name", "value"], [["a", 1.5]], title="Results")
    console.result({"value": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"value": 1}
    assert "words for a person" in captured.err
    console.configure(json=False)


def test_markup_in_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json=False)
    console.line("[bold]not markup[/bold] [1, 2]")
    assert capsys.readouterr().out == "[bold]not markup[/bold] [1, 2]\n"


def test_a_table_in_a_file_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json=False)
    console.table(["name", "words"], [["a" * 60, "b" * 60]])
    assert capsys.readouterr().out.splitlines()[1].split() == ["a" * 60, "b" * 60]


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    console.configure(json=False)
    console.line("never seen")
    console.result({})
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("RANK")
    console.configure(json=False)


def test_progress_without_a_terminal_writes_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    console.configure(json=False)
    with console.progress("training", 10, unit="steps") as bar:
        bar.advance(5, "loss 3.2")
    assert capsys.readouterr().out.startswith("training 50 % 5 steps")


@pytest.mark.parametrize(
    ("speed", "words"), [(12345.6, "12,346/s"), (3.25, "3.2/s"), (0.4, "2.5 s each"), (0.0, "0.0/s")]
)
def test_slow_work_is_told_by_how_long_each_takes(speed: float, words: str) -> None:
    assert console._rate(speed) == words


def test_an_error_is_one_line_with_what_came_and_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(InputError("no text in x", expected="a folder of .txt files", got="0 files", hint="Type: ls x"))
    assert capsys.readouterr().err == (
        "selftaught: no text in x; expected a folder of .txt files; got 0 files. Type: ls x\n"
    )
